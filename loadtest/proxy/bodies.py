"""Bodies of exact sizes that are images by their header: a small JPEG, and as much padding behind it as it takes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

SIZES = {"1 KB": 1_000, "100 KB": 100_000, "1 MB": 1_000_000, "8 MB": 8_000_000}


def image(size: int) -> bytes:
    """One of so many bytes."""
    out = BytesIO()
    Image.new("RGB", (16, 16), "orange").save(out, "JPEG", quality=30)
    return out.getvalue().ljust(size, b"\0")


def write(folder: Path) -> dict[str, Path]:
    """One file per size."""
    files = {}
    for name, size in SIZES.items():
        files[name] = folder / f"{size}.jpg"
        files[name].write_bytes(image(size))
    return files
