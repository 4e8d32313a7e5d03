"""Put the project on the virtual environment's path, with the `fleetgate` command, without building anything.

An editable install would fetch a build backend; all that a checkout needs are one path file, the metadata that
`importlib.metadata` reads, and a script.
"""

from __future__ import annotations

import stat
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Write the three files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    site = Path(sysconfig.get_paths()["purelib"])
    (site / "fleetgate-checkout.pth").write_text(f"{ROOT}\n")
    info = site / f"fleetgate-{project['version']}.dist-info"
    for old in site.glob("fleetgate-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fleetgate\nVersion: {project['version']}\n")
    (info / "RECORD").write_text("")
    script = Path(sys.executable).parent / "fleetgate"
    script.write_text(f"#!{sys.executable}\nimport sys\n\nfrom fleetgate.main import main\n\nsys.exit(main())\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    main()
