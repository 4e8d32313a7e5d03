"""What a JPEG will cost to decode, read from its markers: scans, coefficients kept, and the scale to decode at.

Progressive files make libjpeg keep every coefficient and walk over all of them once per scan: a file of 267 KB
with 1,000 scans costs 29 s, whatever the limit on pixels says. So scans are counted before anything is decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wire.errors import Undecodable

# Of a scan's data: the next marker that is neither a stuffed FF00, a restart nor a fill byte (ITU-T T.81, B.1.1.5).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SEARCH_BYTES = 1 << 20  # a search holds the interpreter; this much takes about 0.4 ms
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_MOST_SEGMENTS = 65_536
# One progressive scan over one megapixel takes about 0.6 ms: 2.5 s at this product.
MOST_SCANNED_PIXELS = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header says."""

    progressive: bool
    coefficients: float  # per pixel, all components; 1.5 for 4:2:0, 3 for 4:4:4


def frame(data: bytes) -> Frame:
    """The first frame's kind. A header that cannot be followed counts as the most expensive."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        code, start, end = _segment(data, at)
        if code in _FRAMES:
            return Frame(code in _PROGRESSIVE, _coefficients(data[start:end]))
        if code in (0, _START_OF_SCAN, _END_OF_IMAGE):
            break
        at = end
    return Frame(True, 4.0)


def refuse_bomb(data: bytes, pixels: int, most_scans: int) -> None:
    """Raises Undecodable when the file has more scans than `most_scans`, or too many for its pixels."""
    scans = count_scans(data, most_scans)
    if scans > most_scans:
        raise Undecodable(f"the JPEG has more than {most_scans} scans")
    if frame(data).progressive and scans * pixels > MOST_SCANNED_PIXELS:
        raise Undecodable(f"the JPEG has {scans} scans over {pixels} pixels: too much work")


def count_scans(data: bytes, enough: int) -> int:
    """Scans in the file; stops counting above `enough`. Takes about 0.4 ms per MiB."""
    scans = 0
    at = 2
    for _ in range(_MOST_SEGMENTS):
        code, _, end = _segment(data, at)
        if code in (0, _END_OF_IMAGE) or scans > enough:
            break
        if code == _START_OF_SCAN:
            scans += 1
            end = _next_marker(data, end)
        at = end
    return scans


def scale(width: int, height: int, need_width: float, need_height: float) -> int:
    """The largest of 8, 4, 2, 1 that leaves at least `need_width` x `need_height`: libjpeg's own reductions."""
    for divisor in (8, 4, 2):
        if width >= divisor * need_width and height >= divisor * need_height:
            return divisor
    return 1


def _segment(data: bytes, at: int) -> tuple[int, int, int]:
    """Code, start and end of the segment at or after `at`; code 0 at the end of the data."""
    at = data.find(b"\xff", at)
    while 0 <= at < len(data) - 1 and data[at + 1] in (0x00, 0xFF):
        at = data.find(b"\xff", at + 1 + (data[at + 1] == 0x00))
    if at < 0 or at + 1 >= len(data):
        return 0, len(data), len(data)
    code = data[at + 1]
    if code in _BARE or code == _END_OF_IMAGE:
        return code, at + 2, at + 2
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    return code, at + 4, at + 2 + max(length, 2)


def _next_marker(data: bytes, at: int) -> int:
    while at < len(data):
        found = _MARKER.search(data, at, at + _SEARCH_BYTES + 1)
        if found:
            return found.start()
        at += _SEARCH_BYTES
    return len(data)


def _coefficients(segment: bytes) -> float:
    """Coefficients per pixel, from the sampling factors of the components (T.81, B.2.2)."""
    count = segment[5] if len(segment) > 5 else 0
    factors = [(segment[7 + 3 * n] >> 4) * (segment[7 + 3 * n] & 15) for n in range(count) if len(segment) > 7 + 3 * n]
    widest = max(factors, default=0)
    return sum(factors) / widest if widest else 4.0
