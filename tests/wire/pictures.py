"""Real image files of every format we read, made by Pillow, and the odd ones it does not make."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def picture(image_format: str, width: int = 37, height: int = 21, mode: str = "RGB", **options: Any) -> bytes:
    """A file of noise, so that it is as long as a photo of its size."""
    noise = random.Random(7).randbytes(width * height * 3)
    image = Image.frombytes("RGB", (width, height), noise).convert(mode)
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def jpeg_with_segments(*segments: bytes, width: int = 640, height: int = 480) -> bytes:
    """A JPEG with metadata segments (APP1) of these contents before everything else."""
    plain = picture("JPEG", width, height)
    metadata = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
    return plain[:2] + metadata + plain[2:]


def tiff_with_directory_last(width: int, height: int, *, order: str = "<", gap: int = 5000) -> bytes:
    """A classic TIFF (no pixels that make sense) whose directory lies behind `gap` bytes of data."""
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HI", 42, 8 + gap)
    return head + bytes(gap) + _directory(order, width, height)


def big_tiff(width: int, height: int, order: str = "<") -> bytes:
    """A BigTIFF header and directory."""
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    entries = [struct.pack(order + "HHQQ", tag, 16, 1, value) for tag, value in ((256, width), (257, height))]
    return head + struct.pack(order + "Q", len(entries)) + b"".join(entries) + bytes(8)


def _directory(order: str, width: int, height: int) -> bytes:
    entries = [
        struct.pack(order + "HHII", 254, 4, 1, 0),
        struct.pack(order + "HHIHH", 256, 3, 1, width, 0),
        struct.pack(order + "HHII", 257, 4, 1, height),
    ]
    return struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


def bmp_core(width: int, height: int) -> bytes:
    """The header of OS/2 1.x: 16-bit sides."""
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 26) + struct.pack("<IHHHH", 12, width, height, 1, 24) + bytes(64)


def bmp_info(width: int, height: int) -> bytes:
    """The header of Windows, with a height that may be negative."""
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHH", 40, width, height, 1, 24) + bytes(64)
