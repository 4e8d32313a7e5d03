"""An image's format, width and height, read from its first bytes; nothing is decoded.

A header may arrive in pieces: only what is still needed is kept, and no byte is walked over twice.
"""

from __future__ import annotations

from collections.abc import Callable

from wire.image_formats import (
    BmpWalk,
    Data,
    GifWalk,
    ImageHeader,
    JpegWalk,
    PngWalk,
    TiffWalk,
    Unknown,
    Walk,
    WebpWalk,
)

__all__ = ["CUT_SHORT", "NO_IMAGE", "HeaderReader", "ImageHeader", "Unknown", "read_header", "starts_image"]

# What Unknown says when not even the magic bytes are right; other sentences are about broken images.
NO_IMAGE = "not the beginning of a JPEG, PNG, WebP, GIF, BMP or TIFF image"
# What it says of an image that is one by its magic bytes, and ends too early to tell its size.
CUT_SHORT = "the image ends before its size is told"

_MAGIC: tuple[tuple[bytes, Callable[[], Walk]], ...] = (
    (b"\xff\xd8\xff", JpegWalk),
    (b"\x89PNG\r\n\x1a\n", PngWalk),
    (b"RIFF", WebpWalk),
    (b"GIF89a", GifWalk),
    (b"GIF87a", GifWalk),
    (b"BM", BmpWalk),
    (b"II*\0", TiffWalk),
    (b"MM\0*", TiffWalk),
    (b"II+\0", TiffWalk),
    (b"MM\0+", TiffWalk),
)
_LONGEST_MAGIC = max(len(magic) for magic, _ in _MAGIC)


class HeaderReader:
    """Reads the header of one image in constant memory, whatever lies before the size."""

    __slots__ = ("_at", "_kept", "_walk")

    def __init__(self) -> None:
        self._at = 0  # where the walk goes on, counted from the first kept byte
        self._kept = b""
        self._walk: Walk | None = None

    @property
    def format(self) -> str:
        """What the magic bytes say, "" until they have come."""
        return self._walk.format if self._walk else ""

    @property
    def kept_bytes(self) -> int:
        """How much of the image is held for the next piece: a few bytes, never metadata."""
        return len(self._kept)

    def feed(self, chunk: Data) -> ImageHeader | None:
        """The header as soon as it is complete; None while more is needed. Raises Unknown."""
        data = self._kept + chunk if self._kept else chunk
        if self._walk is None:
            self._walk = _walk_for(data)
            if self._walk is None:
                self._kept = bytes(data)
                return None
        found = self._walk.step(data, self._at)
        if isinstance(found, ImageHeader):
            return found
        keep = min(found, len(data))
        self._kept, self._at = bytes(data[keep:]), found - keep
        return None


def read_header(data: Data, *, complete: bool = False) -> ImageHeader | None:
    """The header of the image that begins with `data`; None when more bytes are needed to tell.

    `complete` says that no more will come: then None is never the answer. Raises Unknown.
    """
    walk = _walk_for(data)
    found = walk.step(data, 0) if walk else 0
    if isinstance(found, ImageHeader):
        return found
    if complete:
        raise Unknown(CUT_SHORT)
    return None


def starts_image(data: Data) -> bool | None:
    """Whether `data` begins with the magic bytes of a format we know; None when it is too short to tell."""
    try:
        return True if _walk_for(data) else None
    except Unknown:
        return False


def _walk_for(data: Data) -> Walk | None:
    start = bytes(data[:_LONGEST_MAGIC])
    for magic, begin_walk in _MAGIC:
        if start.startswith(magic):
            return begin_walk()
    if any(magic.startswith(start) for magic, _ in _MAGIC):
        return None
    raise Unknown(NO_IMAGE)
