"""Answers kept for inputs that repeat: the outputs of a row, by what went in and which model version ran it.

Below the protocols: the same picture asked for in another protocol, or with another top_k, is the same row. A version's
engine is part of the key, so nothing is ever answered for another version. Of equal rows in progress at the same time
one is computed and the others follow it. Whatever ends it without outputs (it failed, its deadline passed, its client
hung up) ends it alone: the next of them is computed in its place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from node.config import Cache as Options
from node.engine import Engine
from node.work import Arrays, Row, Stage

Key = tuple[Engine, bytes]

_DIGEST_BYTES = 24
_ENTRY_BYTES = 500  # key, containers and headers of arrays
_LARGEST_SHARE = 1 / 8  # of all bytes; one answer must not push out all others


def digest(image: bytes, arrays: Arrays) -> bytes:
    """What goes into a row, told apart by content: its picture, and names, shapes, types and values of its tensors."""
    told = blake2b(len(image).to_bytes(8, "big"), digest_size=_DIGEST_BYTES)  # so that no picture can spell a tensor
    told.update(image)
    for name in sorted(arrays):
        array = arrays[name]
        told.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        if array.dtype.kind == "O":
            for element in array.ravel().tolist():
                text = element if isinstance(element, bytes) else str(element).encode()
                told.update(len(text).to_bytes(8, "big") + text)
        else:
            told.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return told.digest()


class Cache:
    """Bounded by bytes and by entries; what was not asked for the longest goes first.

    Counted are rows: `hits` were kept, `coalesced` came out of an equal row in progress, `misses` were to be computed.
    """

    def __init__(self, options: Options) -> None:
        self.bytes = self.hits = self.coalesced = self.misses = 0
        self._options = options
        self._kept: OrderedDict[Key, tuple[Arrays, int]] = OrderedDict()
        self._lines: dict[Key, list[Row]] = {}  # in progress: who is computed, and who follows

    def __len__(self) -> int:
        return len(self._kept)

    def answer(self, engine: Engine, rows: Sequence[Row]) -> None:
        """Give rows the outputs that are kept for them: they are done. Neither they nor those that will follow cost."""
        to_come = set()
        for row in rows:
            key = engine, row.digest
            found = self._kept.get(key)
            if found is not None:
                self.hits += 1
                self._kept.move_to_end(key)
                row.outputs, row.stage = found[0], Stage.DONE
                row.image = row.inputs = None
            if found is not None or key in self._lines or key in to_come:
                row.decode_ms = row.run_ms = 0.0
            to_come.add(key)

    def follows(self, row: Row) -> bool:
        """Whether an equal row is being computed, to whose end `row` waits; else it is computed itself."""
        line = self._lines.setdefault((row.job.engine, row.digest), [])
        line.append(row)
        if line[0] is row:
            self.misses += 1
        return line[0] is not row

    def ended(self, row: Row) -> list[Row]:
        """`row` is done with. Its outputs, if it has any, are kept; those that followed it are returned."""
        key = row.job.engine, row.digest
        line = self._lines.get(key)
        if not line or line[0] is not row:
            return []
        del self._lines[key]
        followers = [each for each in line[1:] if each.stage is Stage.WAITING and not each.job.over]
        if row.outputs is not None:
            self._keep(key, row.outputs)
            self.coalesced += len(followers)
        return followers

    def forget(self, engine: Engine) -> None:
        """It is not served any more."""
        for key in [key for key in self._kept if key[0] is engine]:
            self.bytes -= self._kept.pop(key)[1]

    def _keep(self, key: Key, outputs: Arrays) -> None:
        size = _ENTRY_BYTES + sum(_size(array) for array in outputs.values())
        if key in self._kept or size > self._options.bytes * _LARGEST_SHARE:
            return
        # A copy: what the row has is a view of its whole batch.
        self._kept[key] = {name: array.copy() for name, array in outputs.items()}, size
        self.bytes += size
        while self.bytes > self._options.bytes or len(self._kept) > self._options.entries:
            self.bytes -= self._kept.popitem(last=False)[1][1]


def _size(array: np.typing.NDArray[np.generic]) -> int:
    inner = sum(len(element) for element in array.ravel().tolist()) if array.dtype.kind == "O" else 0
    return array.nbytes + inner
