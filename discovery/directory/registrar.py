"""A directory, as a node announces itself in it: one file, refreshed for as long as the node lives."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from discovery.config import RegistryConfig
from discovery.directory.files import file_name, sweep, write
from discovery.facts import checked
from discovery.instance import Instance, Status
from discovery.keeper import Keeper

LEAVE_SECONDS = 2.0  # a hung disk must not hold a node that leaves

log = logging.getLogger(__name__)


class DirectoryRegistrar:
    """Keeps one file young, and writes it again when somebody wiped the directory."""

    def __init__(self, folder: Path, config: RegistryConfig) -> None:
        self._folder = folder
        self._refresh_seconds = config.refresh_seconds
        self._wanted: Instance | None = None
        self._written: Instance | None = None
        self._failing = False
        self._keeper = Keeper(self._round, "directory-registrar")

    async def announce(self, instance: Instance) -> None:
        """See Registrar. Raises ValueError for facts no reader would believe."""
        if self._wanted and self._wanted.id != instance.id:
            raise ValueError(f"already announced as {self._wanted.id}")
        if self._wanted is None:
            sweep(self._folder, time.time())
        self._wanted = checked(instance)
        await self._keeper.settle(LEAVE_SECONDS)

    async def withdraw(self) -> None:
        """See Registrar."""
        if self._wanted is not None:
            self._wanted = msgspec.structs.replace(self._wanted, status=Status.MAINTENANCE)
            await self._keeper.settle(LEAVE_SECONDS)

    async def close(self) -> None:
        """See Registrar."""
        await self._keeper.stop()
        if self._wanted is not None:
            with suppress(OSError):
                self._path(self._wanted).unlink(missing_ok=True)

    async def _round(self) -> float:
        """One refresh; on the loop, as a local file costs microseconds and nothing may be written after close."""
        try:
            self._refresh()
        except OSError as error:
            if not self._failing:
                log.warning("cannot announce in %s; serving on, trying again: %s", self._folder, error.strerror)
            self._failing = True
        else:
            if self._failing:
                log.info("announced in %s again", self._folder)
            self._failing = False
        return self._refresh_seconds

    def _refresh(self) -> None:
        instance = self._wanted
        if instance is None:
            return
        path = self._path(instance)
        if self._written == instance:
            try:
                os.utime(path)
                return
            except FileNotFoundError:
                log.warning("%s was removed; writing it again", path)
        write(path, instance)
        self._written = instance

    def _path(self, instance: Instance) -> Path:
        return self._folder / file_name(instance.id)
