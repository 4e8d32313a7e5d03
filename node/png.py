"""Damage in a PNG that Pillow does not look for: it skips the checksums of the pixel data."""

from __future__ import annotations

import zlib

from wire.errors import Undecodable

_SIGNATURE_BYTES = 8
_CHECKED = frozenset({b"IHDR", b"PLTE", b"IDAT"})
_MOST_CHUNKS = 1_000_000


def refuse_damage(data: bytes) -> None:
    """Raises Undecodable when a checksum of what makes the picture is wrong. About 1 ms per MB."""
    view = memoryview(data)
    at = _SIGNATURE_BYTES
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(data):
            return  # the decoder will say that it is cut off
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if kind == b"IEND":
            return
        if kind in _CHECKED and end + 4 <= len(data) and zlib.crc32(view[at + 4 : end]) != _stated(view, end):
            raise Undecodable(f"the PNG is damaged: the checksum of its {kind.decode()} is wrong")
        at = end + 4


def _stated(view: memoryview, at: int) -> int:
    return int.from_bytes(view[at : at + 4], "big")
