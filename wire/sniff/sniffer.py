"""Chooses how to look for the image: by what the body begins with, not by what its headers say alone.

curl calls an image a form, the official Triton client says nothing at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from wire.image_header import starts_image
from wire.paths import Call, Kind
from wire.sniff.binary import BinaryTensors
from wire.sniff.json_text import JsonImage
from wire.sniff.multipart import MultipartImage, boundary_of
from wire.sniff.raw import RawImage
from wire.sniff.result import Finder, Sniffed

# Metadata before the size is rarely more. Looking costs no memory: a finder keeps a few hundred bytes.
LOOK_BYTES = 1 << 20
# A TIFF may tell its size at its end, and compressed ones do.
TIFF_LOOK_BYTES = 64 << 20
# A longer JSON head is searched like a JSON body, which needs no copy of it.
LONGEST_HEAD = 256 << 10
# Blanks may stand before JSON; more of them is no request.
_LONGEST_BLANK = 1024
_BLANK = b" \t\r\n\xef\xbb\xbf"
# Most opinions need no more than this of a first chunk, so the rest is not touched before.
_FIRST_PIECE = 4096
_PIECE = 65_536


class Sniffer:
    """Is shown a body's chunks until it has an opinion; the opinion stays."""

    __slots__ = ("_call", "_content_type", "_finder", "_head_length", "_inflater", "_seen", "_sniffed", "_start")

    def __init__(
        self,
        call: Call,
        content_type: str | None,
        inference_header_length: int | None,
        content_encoding: str | None,
    ) -> None:
        self._call = call
        self._content_type = content_type or ""
        self._head_length = inference_header_length if call.kind is Kind.OIP_INFER else None
        self._finder: Finder | None = None
        self._start = b""  # what has come before it was enough to choose a finder
        self._seen = 0
        self._sniffed: Sniffed | None = None
        coding = (content_encoding or "").strip().lower()
        self._inflater = Inflater(coding) if coding not in ("", "identity") else None
        if self._inflater and not self._inflater.known:
            self._sniffed = Sniffed(None, "a content coding we do not read")

    def feed(self, chunk: bytes) -> Sniffed | None:
        """The opinion as soon as there is one; None while more is needed."""
        if self._sniffed is None and self._inflater is None:
            self._sniffed = self._look(chunk)
        elif self._sniffed is None and self._inflater is not None:
            self._sniffed = self._look_inflated(self._inflater, chunk)
        return self._sniffed

    def end(self) -> Sniffed:
        """The opinion when the body has ended."""
        if self._sniffed is None:
            finder = self._finder or RawImage()
            empty = not self._seen and not self._start
            self._sniffed = finder.end("the body is empty" if empty else "the body ends before an image's size is told")
        return self._sniffed

    def _look_inflated(self, inflater: Inflater, chunk: bytes) -> Sniffed | None:
        try:
            for data in inflater.pieces(chunk):
                if sniffed := self._look(data):
                    return sniffed
        except zlib.error:
            return Sniffed(None, "a broken content coding")
        return None

    def _look(self, data: bytes) -> Sniffed | None:
        if self._finder is None:
            data = self._start + data
            self._finder = self._choose(data)
            if self._finder is None:
                self._start = data
                return None
            if len(data) > _FIRST_PIECE:
                return self._show(self._finder, data[:_FIRST_PIECE]) or self._show(self._finder, data[_FIRST_PIECE:])
        return self._show(self._finder, data)

    def _show(self, finder: Finder, data: bytes) -> Sniffed | None:
        room = LOOK_BYTES - self._seen
        if 0 < room < len(data):
            return self._show(finder, data[:room]) or self._show(finder, data[room:])
        self._seen += len(data)
        sniffed = finder.feed(data)
        if sniffed is None and self._seen >= LOOK_BYTES:
            given_up = finder.end(f"no image's size in the first {LOOK_BYTES} bytes")
            if given_up.format != "tiff" or self._seen >= TIFF_LOOK_BYTES:
                return given_up
        return sniffed

    def _choose(self, data: bytes) -> Finder | None:
        """None while too little has come to tell."""
        if self._head_length is not None and 0 < self._head_length <= LONGEST_HEAD:
            return BinaryTensors(self._head_length)
        image = starts_image(data)
        if image or self._head_length == 0:
            return RawImage()
        text = data[:_LONGEST_BLANK].lstrip(_BLANK)
        if text.startswith(b"{"):
            return JsonImage(oip=self._call.kind is Kind.OIP_INFER)
        if (image is None or not text) and len(data) < _LONGEST_BLANK:
            return None
        boundary = boundary_of(self._content_type)
        return MultipartImage(boundary) if boundary else RawImage()


class Inflater:
    """Undoes gzip and deflate, a bounded piece at a time: a bomb is never unpacked further than is looked at."""

    __slots__ = ("_coding", "_stream", "known")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self.known = coding in ("gzip", "x-gzip", "deflate")
        self._stream: zlib._Decompress | None = None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What `chunk` unpacks to. Raises zlib.error."""
        if self._stream is None and chunk:
            self._stream = zlib.decompressobj(self._window_bits(chunk[0]))
        longest = _FIRST_PIECE
        while chunk and self._stream is not None and not self._stream.eof:
            piece = self._stream.decompress(chunk, longest)
            chunk, longest = self._stream.unconsumed_tail, _PIECE
            if piece:
                yield piece

    def _window_bits(self, first: int) -> int:
        if self._coding != "deflate":
            return 16 + zlib.MAX_WBITS
        # Some clients send the bare format (RFC 1951) instead of zlib's, which begins with 8 in its low half.
        return zlib.MAX_WBITS if first & 0xF == 8 else -zlib.MAX_WBITS
