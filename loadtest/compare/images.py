"""Emulated images: a true JPEG header of a true size, then filling; what a node reads to know how long it must work.

A comment inside says how far this image's work is off what its pixels promise, which nobody between client and node
can know. Bodies are a fiftieth of a real JPEG's size, as two cores must carry generator, proxy and fleet at once.
"""

from __future__ import annotations

from math import sqrt

from loadtest.simulate.synthetic import BASE_MS, MS_PER_MP
from wire.image_header import read_header

BYTES_PER_PIXEL = 0.3 / 50  # JPEG at common quality, over fifty
SIDE_MAX = 65_535  # of a JPEG
HEAD_BYTES = 64  # enough of a body to know both
_START = b"\xff\xd8\xff\xfe"
_NOISE = b"noise="


def head(pixels: int, noise: float) -> bytes:
    """The first bytes of an image of about so many pixels (4:3), whose work is `noise` times what they promise."""
    width, height = sides(pixels)
    comment = _NOISE + f"{noise:.6f}".encode()
    frame = b"\xff\xc0\x00\x0b\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    return _START + (2 + len(comment)).to_bytes(2, "big") + comment + frame


def body_bytes(pixels: int) -> int:
    """The length of the whole body, as Content-Length says it."""
    return max(HEAD_BYTES, round(pixels * BYTES_PER_PIXEL))


def sides(pixels: int) -> tuple[int, int]:
    """Width and height."""
    width = min(SIDE_MAX, max(1, round(sqrt(pixels * 4 / 3))))
    return width, min(SIDE_MAX, max(1, round(pixels / width)))


def read(start: bytes) -> tuple[int, float]:
    """Pixels and noise of a body from its first bytes. Raises ValueError for anything else."""
    header = read_header(start, complete=True)
    assert header is not None
    length = int.from_bytes(start[4:6], "big")
    comment = start[6 : 4 + length]
    if not comment.startswith(_NOISE):
        raise ValueError("no image of this benchmark")
    return header.pixels, float(comment[len(_NOISE) :])


def work_ms(pixels: int, noise: float) -> float:
    """True work on a node of speed 1."""
    return (BASE_MS + MS_PER_MP * pixels * 1e-6) * noise
