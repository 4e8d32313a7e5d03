"""The body is the image."""

from __future__ import annotations

from wire.image_header import HeaderReader, Unknown
from wire.sniff.result import Sniffed


class RawImage:
    """See Finder."""

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        self._reader = HeaderReader()

    def feed(self, data: bytes) -> Sniffed | None:
        """See Finder."""
        try:
            header = self._reader.feed(data)
        except Unknown as error:
            return Sniffed(None, str(error), self._reader.format)
        return Sniffed(header, "", header.format) if header else None

    def end(self, why: str) -> Sniffed:
        """See Finder."""
        return Sniffed(None, why, self._reader.format)
