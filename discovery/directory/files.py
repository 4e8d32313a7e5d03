"""One instance, one file: named safely, written whole or not at all, read with suspicion."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from discovery.facts import checked
from discovery.instance import Instance

SWEEP_SECONDS = 3600.0  # a living node whose file is swept by a clock that jumped writes it again
FILE_BYTES = 64 << 10  # an instance is half a kilobyte


def file_name(instance_id: str) -> str:
    """A plain file name for any id; ids that need changing stay apart by their hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", instance_id).lstrip(".")[:150]
    if plain != instance_id:
        plain += "-" + hashlib.sha256(instance_id.encode()).hexdigest()[:12]
    return f"{plain}.json"


def read_instance(path: Path, info: os.stat_result) -> Instance:
    """One file's instance. Raises ValueError for anything that is not a plain small file with true facts."""
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("not a plain file")
    if info.st_size > FILE_BYTES:
        raise ValueError(f"longer than {FILE_BYTES >> 10} KiB")
    try:
        # NONBLOCK and NOFOLLOW: it may have been swapped for a pipe or a link since it was looked at.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(number, "rb") as file:
            return checked(msgspec.json.decode(file.read(FILE_BYTES), type=Instance))
    except FileNotFoundError:
        raise
    except (OSError, RecursionError) as error:
        raise ValueError(f"unreadable: {error.__class__.__name__}") from error


def write(path: Path, instance: Instance) -> None:
    """Whole or not at all: written beside, then renamed. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(msgspec.json.encode(instance))
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def sweep(folder: Path, wall: float) -> None:
    """Remove what dead processes left long ago, so that the directory does not grow with every crash."""
    with suppress(OSError):
        for path in [*folder.glob("*.json"), *folder.glob(".*.tmp")]:
            with suppress(OSError):
                if wall - path.lstat().st_mtime > SWEEP_SECONDS:
                    path.unlink()
