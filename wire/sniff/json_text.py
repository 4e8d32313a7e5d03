"""The image is base64 in a JSON string, wherever it stands: the document is searched, not parsed.

So `{"inputs": "…"}`, TensorFlow Serving's `{"instances": [{"b64": "…"}]}` and `{"examples": …}`, and the Open
Inference Protocol's `"data": ["…"]` are all read alike: the first string that begins as an image does is the image.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from math import prod

from wire.image_header import HeaderReader, ImageHeader, Unknown
from wire.oip_tensors import BYTES, ITEM_BYTES, MAX_STRINGS
from wire.sniff.result import TENSOR, Sniffed

# How JPEG, PNG, GIF, WebP, BMP and TIFF begin in base64; a slash may be escaped, or be the one of file names.
_SLASH = rb"(?:\\?/|\\u002[fF]|_)"
_MAGIC = _SLASH + b"9j" + _SLASH + rb"|iVBORw0KGg|R0lGOD[dl]h|UklGR|Qk[0-3]|SUk[qr]A|TU0AK"
_COLON = rb"\s{0,8}:\s{0,8}"
_IMAGE = rb"(?P<image>(?=" + _MAGIC + rb"))"
# Every mark begins with a quote, which is found fast, and none is longer than _LONGEST_MARK: so it does not matter
# where the body is cut.
_LONGEST_MARK = 256
_OIP_MARK = re.compile(
    b'"(?:'
    + _IMAGE
    + b'|shape"'
    + _COLON
    + rb"\[(?P<shape>[0-9,\s]{0,160})\]"
    + b'|datatype"'
    + _COLON
    + b'"(?P<datatype>[A-Z0-9]{2,6})"'
    + b'|timeout"'
    + _COLON
    + rb"(?P<timeout>[0-9]{1,15})[\s,}])"
)
_TFS_MARK = re.compile(
    b'"(?:'
    + _IMAGE
    + rb'|(?P<numbers>(?:instances|inputs)"'
    + _COLON
    + rb'(?:\{\s{0,8}"[^"\\]{1,64}"'
    + _COLON
    + rb")?[\[\s]{0,32}-?[0-9]))"
)
# A tensor of more numbers is what the call is about; below, an image may still follow it.
_MANY_NUMBERS = 4096
# Bodies made of nothing but marks must not cost us the time to look at each.
_MOST_MARKS = 512

# The inside of a string as far as it is complete: it stops before the closing quote or a cut escape.
_CONTENT = re.compile(rb'(?:[^"\\]++|\\[^u]|\\u[0-9A-Fa-f]{4})*+')
_DIGITS = re.compile(rb"[0-9]+")
_ESCAPE = re.compile(rb"\\(?:u00([0-9A-Fa-f]{2})|u....|(.))", re.DOTALL)
_LONGEST_ESCAPE = 6
_QUOTE = ord('"')
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_NOT_BASE64 = bytes(sorted(set(range(256)) - set(_ALPHABET)))
_FIRST_SLICE, _LAST_SLICE = 1024, 65_536


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1]:
        return bytes.fromhex(escape[1].decode())
    # Line breaks and the like between base64 lines; only an escaped slash is part of it.
    return b"/" if escape[2] == b"/" else b""


class Base64Image:
    """Reads the header of an image from the base64 inside one string, a little at a time, up to the string's end."""

    __slots__ = ("_group", "_reader", "_slice")

    def __init__(self) -> None:
        self._group = b""  # of four characters, as far as it has come
        self._reader: HeaderReader | None = HeaderReader()  # None: it is no image after all
        self._slice = _FIRST_SLICE  # most headers are found in the first

    @property
    def format(self) -> str:
        """The format as far as it is known."""
        return self._reader.format if self._reader else ""

    def read(self, text: bytes, at: int) -> tuple[ImageHeader | None, int, bool]:
        """(header, where to go on, whether the string has ended)."""
        while True:
            content = _CONTENT.match(text[at : at + self._slice])
            assert content is not None  # it matches the empty text as well
            at += content.end()
            if header := self._header(content[0]):
                return header, at, False
            left = len(text) - at
            if left and text[at] == _QUOTE:
                return None, at, True
            if not left or (not content[0] and left < _LONGEST_ESCAPE):
                return None, at, False
            if not content[0]:  # a broken escape
                return None, at, True
            self._slice = min(4 * self._slice, _LAST_SLICE)

    def _header(self, content: bytes) -> ImageHeader | None:
        if self._reader is None:
            return None
        try:
            return self._reader.feed(self._decoded(content))
        except Unknown:
            self._reader = None
            return None

    def _decoded(self, content: bytes) -> bytes:
        if b"\\" in content:
            content = _ESCAPE.sub(_unescaped, content)
        text = self._group + content.translate(_TO_STANDARD, _NOT_BASE64)
        whole = len(text) & ~3
        self._group = text[whole:]
        return a2b_base64(text[:whole])


class JsonImage:
    """See Finder. `oip`: shapes, datatypes and the timeout of the Open Inference Protocol are read as well."""

    __slots__ = (
        "_datatype",
        "_elements",
        "_format",
        "_images",
        "_kept",
        "_left",
        "_marks",
        "_shape",
        "_string",
        "_timeout_us",
    )

    def __init__(self, *, oip: bool) -> None:
        self._marks = _OIP_MARK if oip else _TFS_MARK
        self._kept = b""
        self._left = _MOST_MARKS
        self._string: Base64Image | None = None  # the string we are in, if it began as an image does
        self._shape: int | None = None  # elements of the tensor whose datatype has not come
        self._datatype = ""  # of the tensor whose shape has not come
        self._elements = 0
        self._format = ""  # of the last string that began as an image does, though it ended too early
        self._images = 1
        self._timeout_us = 0

    def feed(self, data: bytes) -> Sniffed | None:
        """See Finder."""
        text, at = self._kept + data, 0
        while True:
            if self._string is not None:
                header, at = self._read(self._string, text, at)
                if header:
                    return self._sniffed(header, "", header.format)
                if self._string is not None:
                    break
            mark = self._marks.search(text, at)
            if mark is None:
                at = max(at, len(text) - _LONGEST_MARK)
                break
            at = mark.end()
            self._left -= 1
            if self._noted(mark):
                return self._sniffed(None, TENSOR)
            if not self._left:
                return self.end("no image among the first strings that may be one")
        self._kept = text[at:]
        return None

    def end(self, why: str) -> Sniffed:
        """See Finder."""
        image_format = self._string.format if self._string else self._format
        return self._sniffed(None, TENSOR if self._elements and not image_format else why, image_format)

    def _read(self, string: Base64Image, text: bytes, at: int) -> tuple[ImageHeader | None, int]:
        """Go on in the string, and leave it when it ends."""
        header, at, ended = string.read(text, at)
        if ended:
            self._format, self._string = string.format, None
        return header, at

    def _noted(self, mark: re.Match[bytes]) -> bool:
        """Take down what the mark says; True when the call is about numbers."""
        said = mark.groupdict()
        if said["image"] is not None:
            self._string = Base64Image()
        elif said.get("timeout"):
            self._timeout_us = int(said["timeout"])
        elif said.get("shape") is not None:
            self._shape = prod(int(side) for side in _DIGITS.findall(said["shape"]))
        elif said.get("datatype"):
            self._datatype = said["datatype"].decode()
        else:
            return True
        if self._shape is not None and self._datatype:
            self._tensor(self._shape, self._datatype)
            self._shape, self._datatype = None, ""
        return self._elements >= _MANY_NUMBERS

    def _tensor(self, elements: int, datatype: str) -> None:
        if datatype == BYTES:
            self._images = min(max(elements, 1), MAX_STRINGS)
        elif datatype in ITEM_BYTES:
            self._elements += elements

    def _sniffed(self, header: ImageHeader | None, why: str, image_format: str = "") -> Sniffed:
        return Sniffed(header, why, image_format, self._elements, self._images, self._timeout_us)
