"""Tensors of the Open Inference Protocol: datatypes, and data as JSON or as little-endian bytes. No numpy here.

A numeric tensor's data is a memoryview of little-endian bytes when it came binary, a flat list when it came as JSON.
A BYTES tensor's data is a list of elements: memoryviews when it came binary, str when it came as JSON. No standard
says whether such a str is text or base64: who knows what the model wants decides.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any

import msgspec

from wire.errors import BadRequest, TooLarge

BYTES = "BYTES"
# Size of one element, and its letter in `struct`; BF16 has none: it travels only as bytes.
ITEM_BYTES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
LETTER = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}

MAX_RANK = 8
MAX_TENSORS = 64  # in one request
# A number in a Python list is 32 bytes: whoever sends more of them should send them binary.
MAX_JSON_NUMBERS = 4_000_000
MAX_STRINGS = 65_536

_LENGTH = struct.Struct("<I")
_OPENING = re.compile(rb"\s*((?:\[\s*)+)")

Data = memoryview | bytes | list[Any]


class Tensor(msgspec.Struct, frozen=True):
    """One tensor; what was decoded has as many elements as its shape says."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Data

    @property
    def elements(self) -> int:
        """How many numbers or strings it has."""
        return prod(self.shape)


def checked_shape(name: str, shape: Sequence[int], datatype: str) -> tuple[int, ...]:
    """The shape, once it and the datatype can be real. Raises BadRequest."""
    if datatype != BYTES and datatype not in ITEM_BYTES:
        raise BadRequest(f"input {name!r}: unknown datatype")
    if len(shape) > MAX_RANK or any(side < 0 for side in shape):
        raise BadRequest(f"input {name!r}: a shape has at most {MAX_RANK} sides, none negative")
    if prod(shape) > 1 << 40:
        raise TooLarge(f"input {name!r}: its shape is too large")
    return tuple(shape)


def from_binary(name: str, shape: Sequence[int], datatype: str, data: memoryview) -> Tensor:
    """A tensor from its little-endian bytes. Raises BadRequest when they are not as many as the shape says."""
    sides = checked_shape(name, shape, datatype)
    count = prod(sides)
    if datatype == BYTES:
        return Tensor(name, datatype, sides, _split(name, count, data))
    if len(data) != count * ITEM_BYTES[datatype]:
        raise BadRequest(
            f"input {name!r}: {count} elements of {datatype} are {count * ITEM_BYTES[datatype]} bytes,"
            f" but {len(data)} came"
        )
    return Tensor(name, datatype, sides, data)


def _split(name: str, count: int, data: memoryview) -> list[memoryview]:
    """Elements of a BYTES tensor: each is its length (uint32, little-endian) and that many bytes."""
    _bounded_strings(name, count)
    elements: list[memoryview] = []
    at = 0
    while at < len(data) and len(elements) < count:
        if at + 4 > len(data):
            raise BadRequest(f"input {name!r}: an element's length is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            raise BadRequest(f"input {name!r}: an element of {length} bytes is cut off after {len(data) - at}")
        elements.append(data[at : at + length])
        at += length
    if len(elements) != count or at != len(data):
        raise BadRequest(f"input {name!r}: its shape says {count} elements, its data does not hold exactly these")
    return elements


def from_json(name: str, shape: Sequence[int], datatype: str, data: bytes | memoryview) -> Tensor:
    """A tensor from JSON text, flat or nested as its shape. Raises BadRequest or TooLarge."""
    sides = checked_shape(name, shape, datatype)
    if datatype not in LETTER and datatype != BYTES:
        raise BadRequest(f"input {name!r}: {datatype} can only be sent as binary data")
    count, text = prod(sides), bytes(data)
    _check_cost(name, datatype, count, text)
    opening = _OPENING.match(text)
    depth = opening[1].count(b"[") if opening else 0
    if depth not in (1, len(sides) or 1):
        raise BadRequest(f"input {name!r}: data is a flat list, or nested as the shape says")
    try:
        values = _decoder(_leaf(datatype), depth).decode(text)
    except ValueError as error:
        raise BadRequest(f"input {name!r}: data is not as its datatype says: {error}") from None
    values = _flat(name, values, sides if depth > 1 else (count,))
    if datatype.removeprefix("U").startswith("INT"):
        _check_range(name, datatype, values)
    return Tensor(name, datatype, sides, values)


def _check_cost(name: str, datatype: str, count: int, text: bytes) -> None:
    """Before anything is parsed: lists of numbers have one comma less than numbers, however they are nested."""
    if datatype == BYTES:
        _bounded_strings(name, count)
        if text.count(b'"') > 4 * MAX_STRINGS:
            raise TooLarge(f"input {name!r}: too many strings")
        return
    if count > MAX_JSON_NUMBERS:
        raise TooLarge(f"input {name!r}: more than {MAX_JSON_NUMBERS} numbers; send them as binary data")
    if count and text.count(b",") != count - 1:
        raise BadRequest(f"input {name!r}: its shape says {count} elements, its data holds another number")
    if not count and len(text) > 1024:
        raise BadRequest(f"input {name!r}: its shape says that there is nothing in it")


def _bounded_strings(name: str, count: int) -> None:
    if count > MAX_STRINGS:
        raise TooLarge(f"input {name!r}: more than {MAX_STRINGS} elements of BYTES")


def _leaf(datatype: str) -> type:
    if datatype == BYTES:
        return str
    if datatype == "BOOL":
        return bool
    return float if datatype.startswith("FP") else int


@lru_cache(maxsize=4 * MAX_RANK)
def _decoder(leaf: type, depth: int) -> msgspec.json.Decoder[list[Any]]:
    nested: Any = leaf
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def _flat(name: str, values: list[Any], sides: Sequence[int]) -> list[Any]:
    if len(values) != sides[0]:
        raise BadRequest(f"input {name!r}: its shape says another number of elements than its data holds")
    for side in sides[1:]:
        if any(len(row) != side for row in values):
            raise BadRequest(f"input {name!r}: data is not nested as the shape says")
        values = list(chain.from_iterable(values))
    return values


def _check_range(name: str, datatype: str, values: list[int]) -> None:
    bits = 8 * ITEM_BYTES[datatype]
    low, high = (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if values and not (low <= min(values) and max(values) <= high):
        raise BadRequest(f"input {name!r}: a number is beyond the range of {datatype}")


def numbers(tensor: Tensor) -> list[Any]:
    """A numeric tensor's data as a flat list, for JSON. Raises BadRequest for BF16, which JSON cannot carry."""
    if isinstance(tensor.data, list):
        return tensor.data
    if tensor.datatype not in LETTER:
        raise BadRequest(f"{tensor.datatype} can only be sent as binary data")
    return list(struct.unpack(f"<{tensor.elements}{LETTER[tensor.datatype]}", tensor.data))


def strings(tensor: Tensor) -> list[str]:
    """A BYTES tensor's elements as text, for JSON."""
    elements = tensor.data if isinstance(tensor.data, list) else []
    return [e if isinstance(e, str) else bytes(e).decode("utf-8", "replace") for e in elements]


def packed(tensor: Tensor) -> bytes | memoryview:
    """A tensor's data as the binary extension carries it."""
    if not isinstance(tensor.data, list):
        return tensor.data
    if tensor.datatype != BYTES:
        return struct.pack(f"<{len(tensor.data)}{LETTER[tensor.datatype]}", *tensor.data)
    elements = [e.encode() if isinstance(e, str) else e for e in tensor.data]
    return b"".join([part for e in elements for part in (_LENGTH.pack(len(e)), e)])
