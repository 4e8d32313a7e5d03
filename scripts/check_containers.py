"""Check what we cannot run here, for no container engine does: Dockerfiles by hadolint, Compose by its schema."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def main() -> int:
    """0 when both are content."""
    dockerfiles = [str(file.relative_to(ROOT)) for file in sorted(ROOT.glob("*/Dockerfile"))]
    commands = (
        [str(BIN / "hadolint"), *dockerfiles],
        [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
    )
    return max(subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
