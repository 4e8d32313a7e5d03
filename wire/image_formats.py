"""Where each format keeps its width and height: one walk per format, over bytes that may not all be there yet.

`step` returns the header, or the position (maybe beyond the data) from which it needs bytes that have not come.
Sizes are reported as found, however absurd: the caller judges.
"""

from __future__ import annotations

from struct import Struct
from typing import ClassVar, Protocol

import msgspec

Data = bytes | bytearray | memoryview

# Real files have a few dozen; one made of tiny parts must not cost us the time to walk it.
MAX_JPEG_SEGMENTS = 4096
MAX_GIF_BLOCKS = 4096
MAX_TIFF_ENTRIES = 512

_BIG_16 = Struct(">HH")
_BIG_32 = Struct(">II")
_LITTLE_16 = Struct("<HH")
_LITTLE_SIGNED_32 = Struct("<ii")


class Unknown(ValueError):
    """No image of a format we know, or one whose header is broken."""


class ImageHeader(msgspec.Struct, frozen=True, gc=False):
    """What the first bytes say: jpeg, png, gif, webp, bmp or tiff, and the size in pixels."""

    format: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.width * self.height


class Walk(Protocol):
    """One format; a walk belongs to one image."""

    @property
    def format(self) -> str:
        """The word of ImageHeader."""
        ...

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """The header, or where to go on. Raises Unknown."""
        ...


class JpegWalk:
    """From marker to marker up to the frame header (ITU-T T.81, B.1.1); metadata is jumped over."""

    __slots__ = ("_left",)
    format = "jpeg"
    _FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
    _WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
    _ODD = _WITHOUT_LENGTH | {0xD9, 0xDA, 0xFF}

    def __init__(self) -> None:
        self._left = MAX_JPEG_SEGMENTS

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """See Walk."""
        size = len(data)
        while at + 4 <= size:
            if data[at] != 0xFF:
                # Pillow and libjpeg pass over junk between segments, so do we.
                data = bytes(data)
                at = data.find(b"\xff", at)
                if at < 0:
                    return size
                continue
            code = data[at + 1]
            if code in self._FRAMES:
                if at + 9 > size:
                    return at
                height, width = _BIG_16.unpack_from(data, at + 5)
                return ImageHeader("jpeg", width, height)
            length = data[at + 2] << 8 | data[at + 3]
            at += self._odd(code) if length < 2 or code in self._ODD else 2 + length
            self._left -= 1
            if not self._left:
                raise Unknown("JPEG without a frame header among its first segments")
        return at

    def _odd(self, code: int) -> int:
        if code == 0xFF:  # fill byte
            return 1
        if code in self._WITHOUT_LENGTH:
            return 2
        raise Unknown("JPEG without a frame header before its data")


class PngWalk:
    """IHDR comes first (PNG specification, 5.6)."""

    __slots__ = ()
    format = "png"

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """See Walk."""
        if len(data) < 24:
            return at
        if data[12:16] != b"IHDR":
            raise Unknown("PNG that does not begin with IHDR")
        width, height = _BIG_32.unpack_from(data, 16)
        return ImageHeader("png", width, height)


class GifWalk:
    """The logical screen, and the first frame (GIF89a, sections 18 and 20), which may reach beyond it.

    Pillow takes the larger of both: a screen of 32 x 32 with a frame of 65,535 x 66,601 is a known bomb.
    """

    __slots__ = ("_in_extension", "_left", "_screen")
    format = "gif"
    _EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B

    def __init__(self) -> None:
        self._in_extension = False
        self._left = MAX_GIF_BLOCKS
        self._screen: tuple[int, int] | None = None

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """See Walk."""
        if self._screen is None:
            if len(data) < 13:
                return at
            self._screen = _LITTLE_16.unpack_from(data, 6)
            colours = 3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0
            at = 13 + colours
        while at < len(data):
            if not self._in_extension and data[at] == self._FRAME:
                return self._header(self._screen, data, at) if at + 9 <= len(data) else at
            at = self._next(data, at)
            self._left -= 1
            if not self._left:
                raise Unknown("GIF without a frame among its first blocks")
        return at

    def _next(self, data: Data, at: int) -> int:
        if self._in_extension:  # at the length of a sub-block; 0 ends them
            self._in_extension = data[at] > 0
            return at + 1 + data[at]
        if data[at] == self._TRAILER:
            raise Unknown("GIF without a frame")
        self._in_extension = data[at] == self._EXTENSION
        return at + 2 if self._in_extension else at + 1

    def _header(self, screen: tuple[int, int], data: Data, at: int) -> ImageHeader:
        left, top = _LITTLE_16.unpack_from(data, at + 1)
        width, height = _LITTLE_16.unpack_from(data, at + 5)
        return ImageHeader("gif", max(screen[0], left + width), max(screen[1], top + height))


class WebpWalk:
    """The first chunk: VP8 (RFC 6386, 9.1), VP8L or VP8X (RFC 9649, 2.7 and 3.4)."""

    __slots__ = ()
    format = "webp"

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """See Walk."""
        if len(data) < 25:
            return at
        if data[8:12] != b"WEBP":
            raise Unknown("RIFF that is not WebP")
        if data[12:16] == b"VP8L":
            return self._lossless(data)
        if len(data) < 30:
            return at
        if data[12:16] == b"VP8X":
            width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
            return ImageHeader("webp", width, height)
        if data[12:16] != b"VP8 " or data[23:26] != b"\x9d\x01\x2a":
            raise Unknown("WebP that does not begin with a picture")
        width, height = _LITTLE_16.unpack_from(data, 26)
        return ImageHeader("webp", width & 0x3FFF, height & 0x3FFF)

    def _lossless(self, data: Data) -> ImageHeader:
        if data[20] != 0x2F:
            raise Unknown("WebP with a broken lossless picture")
        bits = int.from_bytes(data[21:25], "little")
        return ImageHeader("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)


class BmpWalk:
    """The core header, or one of the info headers, whose height is negative when rows run downwards."""

    __slots__ = ()
    format = "bmp"
    _CORE, _INFO = 12, frozenset({16, 40, 52, 56, 64, 108, 124})

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """See Walk."""
        if len(data) < 26:
            return at
        header_size = int.from_bytes(data[14:18], "little")
        if header_size == self._CORE:
            width, height = _LITTLE_16.unpack_from(data, 18)
            return ImageHeader("bmp", width, height)
        width, height = _LITTLE_SIGNED_32.unpack_from(data, 18)
        # Two letters are little proof: text may begin with BM as well.
        if header_size not in self._INFO or width < 0:
            raise Unknown("BMP with an unknown header")
        return ImageHeader("bmp", width, abs(height))


class TiffWalk:
    """The first directory (TIFF 6.0, section 2, and BigTIFF): it may lie anywhere in the file, often at its end."""

    __slots__ = ("_big", "_left", "_order", "_sides")
    format = "tiff"
    _WIDTH, _HEIGHT = 256, 257
    _BYTES_OF_TYPE: ClassVar = {1: 1, 3: 2, 4: 4, 16: 8}  # BYTE, SHORT, LONG, LONG8

    def __init__(self) -> None:
        self._big = False
        self._left = -1  # entries still to read; -1 before their count is known
        self._order = ""
        self._sides: dict[int, int] = {}

    def step(self, data: Data, at: int) -> ImageHeader | int:
        """See Walk."""
        if not self._order:
            if len(data) < 16:
                return at
            at = self._start(data)
        count_bytes, entry_bytes = (8, 20) if self._big else (2, 12)
        if self._left < 0:
            if len(data) < at + count_bytes:
                return at
            self._left = min(self._number(data, at, count_bytes), MAX_TIFF_ENTRIES)
            at += count_bytes
        while self._left and len(self._sides) < 2:
            if len(data) < at + entry_bytes:
                return at
            self._entry(data, at)
            at += entry_bytes
            self._left -= 1
        if len(self._sides) < 2:
            raise Unknown("TIFF whose first directory names no size")
        return ImageHeader("tiff", self._sides[self._WIDTH], self._sides[self._HEIGHT])

    def _start(self, data: Data) -> int:
        self._order = "little" if data[0] == 0x49 else "big"
        self._big = 43 in (data[2], data[3])
        offset = self._number(data, 8, 8) if self._big else self._number(data, 4, 4)
        if offset < 8:
            raise Unknown("TIFF whose directory lies inside its header")
        return offset

    def _entry(self, data: Data, at: int) -> None:
        tag = self._number(data, at, 2)
        size = self._BYTES_OF_TYPE.get(self._number(data, at + 2, 2), 0)
        if tag in (self._WIDTH, self._HEIGHT) and size:
            self._sides[tag] = self._number(data, at + (12 if self._big else 8), size)

    def _number(self, data: Data, at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little" if self._order == "little" else "big")
