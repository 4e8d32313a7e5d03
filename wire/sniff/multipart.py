"""The image is a part of a form (RFC 7578): the first that is a file, or begins as an image does."""

from __future__ import annotations

import re

from wire.image_header import HeaderReader, Unknown
from wire.sniff.result import Sniffed

_BOUNDARY = re.compile(r"""\bboundary\s*=\s*(?:"([^"]{1,200})"|([^\s;,"]{1,200}))""", re.IGNORECASE)
_FILE = re.compile(
    rb"^content-disposition:[^\r\n]*;\s*filename\*?\s*=|^content-type:\s*image/", re.IGNORECASE | re.MULTILINE
)
_LONGEST_HEAD = 8192
_MOST_PARTS = 100


def boundary_of(content_type: str) -> str:
    """The boundary that a multipart type names, "" for any other type or without one."""
    if not content_type.lower().lstrip().startswith("multipart/"):
        return ""
    match = _BOUNDARY.search(content_type)
    return (match[1] or match[2]) if match else ""


class MultipartImage:
    """See Finder."""

    __slots__ = ("_delimiter", "_in_head", "_is_file", "_kept", "_parts", "_reader")

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("ascii", "replace")
        self._kept = b"\r\n"  # so that the first delimiter is one like the others
        self._in_head = False
        self._is_file = False
        self._parts = 0
        self._reader: HeaderReader | None = None  # of the part we are in, while it may be the image

    def feed(self, data: bytes) -> Sniffed | None:
        """See Finder."""
        text, at = self._kept + data, 0
        found: Sniffed | int | None = at
        while isinstance(found, int):
            at = found
            found = self._head(text, at) if self._in_head else self._content(text, at)
        return found

    def end(self, why: str) -> Sniffed:
        """See Finder."""
        return Sniffed(None, why, self._reader.format if self._reader else "")

    def _head(self, text: bytes, at: int) -> Sniffed | int | None:
        """What stands between a delimiter and a part's content."""
        if text.startswith(b"--", at):
            return Sniffed(None, "no image among the parts of the form")
        end = text.find(b"\r\n\r\n", at)
        if (end if end >= 0 else len(text)) - at > _LONGEST_HEAD:
            return Sniffed(None, "a part of the form has too long a head")
        if end < 0:
            self._kept = text[at:]
            return None
        self._parts += 1
        if self._parts > _MOST_PARTS:
            return Sniffed(None, "no image among the first parts of the form")
        self._in_head = False
        self._is_file = _FILE.search(text[at:end]) is not None
        self._reader = HeaderReader()
        return end + 4

    def _content(self, text: bytes, at: int) -> Sniffed | int | None:
        delimiter = text.find(self._delimiter, at)
        # What may be the beginning of a delimiter is left for the next time.
        end = delimiter if delimiter >= 0 else max(at, len(text) - len(self._delimiter) + 1)
        sniffed = self._read(text[at:end])
        if sniffed is None and delimiter >= 0:
            if self._is_file:
                return self.end("the image ends before its size is told")
            self._in_head, self._reader = True, None
            return delimiter + len(self._delimiter)
        self._kept = text[end:]
        return sniffed

    def _read(self, content: bytes) -> Sniffed | None:
        if self._reader is None:
            return None
        try:
            header = self._reader.feed(content)
        except Unknown as error:
            if self._is_file:
                return self.end(str(error))
            self._reader = None  # a field of the form; another part may be the image
            return None
        return Sniffed(header, "", header.format) if header else None
