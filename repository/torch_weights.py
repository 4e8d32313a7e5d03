"""Tensors out of a PyTorch state file (the legacy format) without PyTorch, and without trusting it.

A state file is a row of pickles followed by raw numbers. A pickle can name any function to be called; ours may
name the four that a state dict of floats and integers needs, and everything else is refused.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
Array = NDArray[Any]


class _Storage:
    """A row of numbers that tensors are views of; its bytes come after the pickles."""

    def __init__(self, dtype: str, size: int) -> None:
        self.dtype, self.size = np.dtype(dtype), size
        self.numbers: Array = np.empty(0, dtype)

    def read(self, stream: BinaryIO) -> None:
        size = int.from_bytes(stream.read(8), "little")
        if size != self.size:
            raise pickle.UnpicklingError(f"a storage of {size} numbers, promised were {self.size}")
        self.numbers = np.frombuffer(stream.read(size * self.dtype.itemsize), self.dtype)


class _View:
    """A tensor not yet built: which numbers of which storage."""

    def __init__(
        self, storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), strides

    def array(self) -> Array:
        last = self.offset + sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))
        if math.prod(self.shape) and not 0 <= self.offset <= last < self.storage.numbers.size:
            raise pickle.UnpicklingError("a tensor reaches beyond its storage")
        numbers, item = self.storage.numbers[self.offset :], self.storage.dtype.itemsize
        return as_strided(numbers, self.shape, [stride * item for stride in self.strides]).copy()


ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _View,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(stream)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """Called for every global that the pickle names."""
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused: {module}.{name}") from None

    def persistent_load(self, pid: Any) -> _Storage:
        """Called for every storage that the pickle names."""
        _, dtype, key, _, size = pid[:5]
        return self._storages.setdefault(key, _Storage(dtype, size))


def load(path: Path) -> dict[str, Array]:
    """The tensors by name; raises `pickle.UnpicklingError` for anything but a legacy state file of plain tensors."""
    storages: dict[str, _Storage] = {}
    with path.open("rb") as stream:
        if _Unpickler(stream, storages).load() != MAGIC:
            raise pickle.UnpicklingError(f"{path.name} is no legacy PyTorch file")
        for _ in ("protocol", "system"):
            _Unpickler(stream, storages).load()
        state = _Unpickler(stream, storages).load()
        for key in _Unpickler(stream, storages).load():
            storages[key].read(stream)
    return {name: view.array() for name, view in state.items()}
