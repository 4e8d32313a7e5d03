"""How many connections each worker has, in memory that all of them see: so that new ones go where fewest are.

A socket that several processes accept from wakes them in a fixed order, and most connections would go to one of them
(measured: 148 of 200 to the first of four). So whoever has more than another leaves the next client to it for a moment.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

PLACES = 256
_ABSENT = -1
_ALL = struct.Struct(f"={PLACES}q")
_ONE = struct.Struct("=q")


class Loads:
    """One number per worker, in a file of the private folder."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _ALL.size)

    @classmethod
    def make(cls, path: Path) -> Loads:
        """A new file, without any worker."""
        path.write_bytes(_ALL.pack(*[_ABSENT] * PLACES))
        return cls(path)

    def set(self, place: int, connections: int) -> None:
        """A worker's own number."""
        _ONE.pack_into(self._memory, place * _ONE.size, connections)

    def leave(self, place: int) -> None:
        """Nobody is at this place; it is written by the parent too, since the dead do not write."""
        self.set(place, _ABSENT)

    def fewest(self) -> int:
        """Connections of the worker that has fewest."""
        return min((each for each in _ALL.unpack_from(self._memory) if each != _ABSENT), default=0)

    def close(self) -> None:
        """See it no more."""
        self._memory.close()
