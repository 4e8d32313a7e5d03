"""A directory, as the gateway watches it: looked at five times a second, as inotify is not everywhere.

A file that is not refreshed for `stale_seconds` belongs to a dead process. Ages are counted by what is seen to
change, not by comparing clocks: a clock that jumps, or a machine that sleeps, ends nobody.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from discovery.config import RegistryConfig
from discovery.directory.files import read_instance
from discovery.facts import distinct, shown
from discovery.instance import Instance, Snapshot
from discovery.notes import ChangeNote, RefusalNote
from discovery.trust import Trust

POLL_SECONDS = 0.2

log = logging.getLogger(__name__)


@dataclass
class _Seen:
    """A file as last read."""

    mark: tuple[int, int, int]  # inode, size, mtime: any rewrite or refresh changes it
    instance: Instance | None
    refused: str
    age: float  # seconds since the mark changed, counted while watching


class Look(NamedTuple):
    """What the directory says now."""

    instances: frozenset[Instance]
    expired: frozenset[str]  # ids of dead processes' files
    refused: list[str]  # files that could not be read, each with why


class Shelf:
    """The instances in a directory, read again only where a file changed. Blocking: for a thread."""

    def __init__(self, folder: Path, stale_seconds: float) -> None:
        self._folder = folder
        self._stale_seconds = stale_seconds
        self._seen: dict[str, _Seen] = {}

    def look(self, passed: float, wall: float) -> Look:
        """After `passed` seconds of watching, at clock time `wall`. Raises OSError when it cannot be listed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, _Seen] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):  # left between listing and looking
                        found[entry.name] = self._file(entry, passed, wall)
        self._seen = found
        young = {name: one for name, one in found.items() if one.age <= self._stale_seconds}
        instances = distinct(one.instance for one in young.values() if one.instance)
        ids = {instance.id for instance in instances}
        return Look(
            instances,
            frozenset(one.instance.id for one in found.values() if one.instance and one.instance.id not in ids),
            [f"{shown(name)}: {one.refused}" for name, one in young.items() if one.refused],
        )

    def _file(self, entry: os.DirEntry[str], passed: float, wall: float) -> _Seen:
        info = entry.stat(follow_symlinks=False)
        mark = (info.st_ino, info.st_size, info.st_mtime_ns)
        old = self._seen.get(entry.name)
        if old and old.mark == mark:
            old.age += passed
            return old
        # Only of a file never seen before must its clock be believed.
        age = 0.0 if old else max(0.0, wall - info.st_mtime)
        try:
            return _Seen(mark, read_instance(Path(entry.path), info), "", age)
        except ValueError as error:
            return _Seen(mark, None, str(error), age)


class DirectoryWatcher:
    """Whole snapshots of a directory, looked at five times a second (inotify is not everywhere)."""

    def __init__(self, folder: Path, config: RegistryConfig) -> None:
        self._shelf = Shelf(folder, config.stale_seconds)
        self._trust = Trust()
        self._refusals = RefusalNote(log)
        self._changes = ChangeNote(log, f"registry directory {folder}")
        self._looked_at = time.monotonic()
        self._answered_at = -math.inf
        self._closed = asyncio.Event()

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See Watcher."""
        last: Snapshot | None = None
        while not self._closed.is_set():
            snapshot = await self._round()
            self._changes.note(snapshot)
            if snapshot != last:
                last = snapshot
                yield snapshot
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._closed.wait()

    def age(self) -> float:
        """See Watcher."""
        return time.monotonic() - self._answered_at

    async def close(self) -> None:
        """End the snapshots."""
        self._closed.set()

    async def _round(self) -> Snapshot:
        now = time.monotonic()
        # Time in which we were stopped ourselves ages nobody: they may have been stopped with us.
        passed, self._looked_at = min(now - self._looked_at, 5 * POLL_SECONDS), now
        try:
            look = await asyncio.to_thread(self._shelf.look, passed, time.time())
        except OSError as error:
            return self._trust.failed(f"the directory cannot be read: {error.strerror}")
        self._refusals.note(look.refused, now)
        snapshot = self._trust.answered(look.instances, look.expired)
        if not snapshot.stale:
            self._answered_at = now
        return snapshot
