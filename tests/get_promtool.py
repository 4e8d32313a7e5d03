"""Finds or fetches promtool for the tests, and prints its path: as get_consul.py does, from Debian's prometheus."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.get_consul import NotObtainable, mirror, tell, write_private_apt

FOLDER = Path(__file__).resolve().parent.parent / "var" / "promtool"


def obtain(folder: Path = FOLDER) -> Path:
    """Path of the program; at once when there is one already. Raises NotObtainable."""
    on_path = shutil.which("promtool")
    if on_path:
        return Path(on_path)
    program = folder / "promtool"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch it once
            if not program.exists():
                _fetch(folder)
    return program


def _fetch(folder: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NotObtainable("the tests need promtool: put it on PATH (macOS: brew install prometheus)")
    apt = folder / "apt"
    environment = {**os.environ, "APT_CONFIG": str(write_private_apt(apt, mirror()))}
    try:
        for command in (("update", "--quiet"), ("download", "--quiet", "prometheus")):
            subprocess.run(["apt-get", *command], cwd=apt, env=environment, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise NotObtainable(f"the tests need promtool; apt could not fetch it: {error.stderr!r}") from error
    subprocess.run(["dpkg", "-x", str(max(apt.glob("prometheus_*.deb"))), str(apt / "unpacked")], check=True)
    (apt / "unpacked" / "usr" / "bin" / "promtool").rename(folder / "promtool")
    shutil.rmtree(apt)


if __name__ == "__main__":
    sys.exit(tell(obtain))
