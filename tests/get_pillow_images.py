"""Finds or fetches the images that Pillow tests itself with, and prints their folder: some of them are hostile.

They come with Pillow's source distribution, got by pip from the index that this machine already uses, checked against
the digest below and unpacked below `var/pillow-images`. Nothing of it is built or run but its metadata, by pip.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.get_consul import NotObtainable, tell

VERSION = "13.0.0"
SHA256 = "cdcd1ba258178f7356d74170c9a81ba4eab6a5d55748bc402a5a2a6fe6be3510"
FOLDER = Path(__file__).resolve().parent.parent / "var" / "pillow-images"
_WITHIN = f"pillow-{VERSION}/Tests/images/"


def obtain(folder: Path = FOLDER) -> Path:
    """The folder of images; at once when it is there. Raises NotObtainable."""
    images = folder / VERSION
    if not images.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch them once
            if not images.exists():
                _fetch(folder, images)
    return images


def _fetch(folder: Path, images: Path) -> None:
    download = folder / "download"
    wanted = ["--no-deps", "--no-binary", ":all:", f"pillow=={VERSION}", "--dest", str(download)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotObtainable(f"the tests need Pillow's source distribution; pip says: {done.stderr.strip()[-300:]}")
    archive = download / f"pillow-{VERSION}.tar.gz"
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise NotObtainable(f"{archive} is not what we pinned")
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as packed:
        members = [member for member in packed if member.isfile() and member.name.startswith(_WITHIN)]
        # Debian 12's Python 3.11.2 knows no filters yet; it is what we pinned, so none is needed there.
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(unpacked, members)
    (unpacked / _WITHIN).rename(images)
    shutil.rmtree(unpacked)
    shutil.rmtree(download)


if __name__ == "__main__":
    sys.exit(tell(obtain))
