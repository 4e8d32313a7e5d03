"""Answers kept for inputs that repeat: the outputs of a row, by what went in and which model version ran it.

Below the protocols: the same picture asked for in another protocol, or with another top_k, is the same row. A version's
engine is part of the key, so nothing is ever answered for another version. Identical rows that are in progress at the
same time are each computed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from node.config import Cache as Options
from node.engine import Engine
from node.work import Arrays, Row, Stage

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
    """Bounded by bytes and by entries; what was not asked for the longest goes first. `hits` and `misses` are rows."""

    def __init__(self, options: Options) -> None:
        self.bytes = self.hits = self.misses = 0
        self._options = options
        self._kept: OrderedDict[tuple[Engine, bytes], tuple[Arrays, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def answer(self, engine: Engine, rows: Sequence[Row]) -> None:
        """Give rows the outputs that are kept for them: they are done, at no cost."""
        for row in rows:
            found = self._kept.get((engine, row.digest))
            if found is None:
                self.misses += 1
                continue
            self.hits += 1
            self._kept.move_to_end((engine, row.digest))
            row.outputs, row.stage = found[0], Stage.DONE
            row.image = row.inputs = None
            row.decode_ms = row.run_ms = 0.0

    def keep(self, engine: Engine, rows: Sequence[Row]) -> None:
        """Remember the outputs of rows that were computed."""
        for row in rows:
            key = engine, row.digest
            if row.outputs is None or key in self._kept:
                continue
            size = _ENTRY_BYTES + sum(_size(array) for array in row.outputs.values())
            if size > self._options.bytes * _LARGEST_SHARE:
                continue
            # A copy: what the row has is a view of its whole batch.
            self._kept[key] = {name: array.copy() for name, array in row.outputs.items()}, size
            self.bytes += size
            while self.bytes > self._options.bytes or len(self._kept) > self._options.entries:
                self.bytes -= self._kept.popitem(last=False)[1][1]

    def forget(self, engine: Engine) -> None:
        """It is not served any more."""
        for key in [key for key in self._kept if key[0] is engine]:
            self.bytes -= self._kept.pop(key)[1]


def _size(array: np.typing.NDArray[np.generic]) -> int:
    inner = sum(len(element) for element in array.ravel().tolist()) if array.dtype.kind == "O" else 0
    return array.nbytes + inner
