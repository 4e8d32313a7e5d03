"""The older forms of an ORCA load report: `TEXT` and `BIN`, read into plain dictionaries."""

from __future__ import annotations

import binascii
from base64 import b64decode
from struct import Struct

Fields = dict[str, float | dict[str, float]]

# Field numbers of orca_load_report.proto; 3 (rps) is deprecated and 4 (request_cost) of no use to us.
_SCALARS = {1: "cpu_utilization", 2: "mem_utilization", 6: "rps_fractional", 7: "eps", 9: "application_utilization"}
_MAPS = {5: "utilization", 8: "named_metrics"}
_SCALAR_NAMES, _MAP_NAMES = frozenset(_SCALARS.values()), frozenset(_MAPS.values())

_DOUBLE = Struct("<d")
# Wire types of protocol buffers.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_text(text: str) -> Fields:
    """`name=1, map.key=2`, with `=` or `:`; what is unknown or no number is passed over."""
    fields: Fields = {}
    for entry in text.split(","):
        name, separator, number = entry.partition("=" if "=" in entry else ":")
        try:
            value = float(number) if separator else None
        except ValueError:
            value = None
        if value is not None:
            _put(fields, name.strip(), value)
    return fields


def _put(fields: Fields, name: str, value: float) -> None:
    if name in _SCALAR_NAMES:
        fields[name] = value
        return
    group, dot, key = name.partition(".")
    if dot and group in _MAP_NAMES:
        _entry_of(fields, group)[key] = value


def _entry_of(fields: Fields, group: str) -> dict[str, float]:
    entries = fields.setdefault(group, {})
    assert isinstance(entries, dict)
    return entries


def read_binary(text: str) -> Fields:
    """Base64 of the protocol buffer, padded or not. Raises ValueError for what is none."""
    try:
        message = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    fields: Fields = {}
    for number, value in _fields_of(message):
        if number in _SCALARS and isinstance(value, float):
            fields[_SCALARS[number]] = value
        elif number in _MAPS and isinstance(value, bytes):
            key, double = _map_entry(value)
            _entry_of(fields, _MAPS[number])[key] = double
    return fields


def _map_entry(message: bytes) -> tuple[str, float]:
    key, double = "", 0.0
    for number, value in _fields_of(message):
        if number == 1 and isinstance(value, bytes):
            key = value.decode()
        elif number == 2 and isinstance(value, float):
            double = value
    return key, double


def _fields_of(message: bytes) -> list[tuple[int, float | bytes | None]]:
    """(field number, value) in order; values of wire types that the schema does not use are None."""
    fields: list[tuple[int, float | bytes | None]] = []
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: float | bytes | None = None
        if tag & 7 == _VARINT:
            _, at = _varint(message, at)
        elif tag & 7 == _FIXED64:
            value, at = _DOUBLE.unpack(_piece(message, at, 8))[0], at + 8
        elif tag & 7 == _BYTES:
            length, at = _varint(message, at)
            value, at = _piece(message, at, length), at + length
        elif tag & 7 == _FIXED32:
            _piece(message, at, 4)
            at += 4
        else:
            raise ValueError("not a protocol buffer")
        fields.append((tag >> 3, value))
    return fields


def _piece(message: bytes, at: int, length: int) -> bytes:
    piece = message[at : at + length]
    if len(piece) < length:
        raise ValueError("a protocol buffer that ends too early")
    return piece


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = _piece(message, at, 1)[0]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number longer than 64 bits")
