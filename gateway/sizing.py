"""From the first bytes of a body to a ticket: how big the image is, and whether anybody could ever serve it (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateway.ticket import Ticket
from wire.errors import BadRequest, TooLarge, Undecodable, UnsupportedMedia
from wire.headers import INFERENCE_HEADER_LENGTH
from wire.image_header import NO_IMAGE, Unknown, read_header
from wire.paths import Call, Kind
from wire.sniff import Sniffed, Sniffer

_HEADER_LENGTH = INFERENCE_HEADER_LENGTH.lower()
_CODINGS = "gzip, deflate"
_READABLE = "image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff"


class Reach(Protocol):
    """Who knows how large an image any node takes; the fleet."""

    def max_pixels(self, model: str, version: str = "") -> int:
        """The most pixels any known node takes for this model."""
        ...


def first_look(call: Call, said: Mapping[str, str], start: bytes) -> Sniffed | None:
    """The opinion on a plain image whose header is in its first bytes: nearly all, in a tenth of a sniffer's time."""
    if call.kind is not Kind.PREDICT or "content-encoding" in said:
        return None
    try:
        header = read_header(start)
    except Unknown:
        return None
    return None if header is None else Sniffed(header)


class Look:
    """Shown a body's chunks: the short way if the first holds a plain image's header, else a sniffer's."""

    __slots__ = ("_call", "_head_length", "_said", "_sniffer")

    def __init__(self, call: Call, said: Mapping[str, str]) -> None:
        """Raises BadRequest, and UnsupportedMedia for codings upon codings: two programs may undo different ones."""
        if "," in said.get("content-encoding", ""):
            raise UnsupportedMedia("one content coding is undone, not several", headers={"Accept-Encoding": _CODINGS})
        length = said.get(_HEADER_LENGTH)
        if length is not None and not (length.isascii() and length.isdigit() and len(length) <= 12):
            raise BadRequest(f"{INFERENCE_HEADER_LENGTH} must be a whole number")
        self._head_length = None if length is None else int(length)
        self._call = call
        self._said = said
        self._sniffer: Sniffer | None = None

    def feed(self, chunk: bytes) -> Sniffed | None:
        """The opinion, or None while more bytes are needed."""
        if self._sniffer is None:
            sniffed = first_look(self._call, self._said, chunk)
            if sniffed is not None:
                return sniffed
            self._sniffer = self._new_sniffer()
        return self._sniffer.feed(chunk)

    def end(self) -> Sniffed:
        """The opinion when no more comes."""
        return (self._sniffer or self._new_sniffer()).end()

    def _new_sniffer(self) -> Sniffer:
        said = self._said
        return Sniffer(self._call, said.get("content-type"), self._head_length, said.get("content-encoding"))


def apply(sniffed: Sniffed, call: Call, ticket: Ticket, fleet: Reach) -> None:
    """Write down what the image's header says. An image that no node can serve is refused.

    Raises UnsupportedMedia (plain endpoint only: the other protocols carry tensors too), Undecodable, TooLarge.
    """
    header = sniffed.header
    if header is None:
        if call.kind is Kind.PREDICT and sniffed.why == NO_IMAGE:
            raise UnsupportedMedia("the body is no image of a known format", headers={"Accept": _READABLE})
        return
    if not header.width or not header.height:
        raise Undecodable(f"an image of {header.width} x {header.height} pixels has nothing to decode")
    pixels = header.pixels
    limit = fleet.max_pixels(call.model, call.version)
    if limit and pixels > limit:
        size = f"{pixels} pixels ({header.width} x {header.height})"
        raise TooLarge(f"the image has {size}; no node takes more than {limit}", limit_pixels=limit)
    ticket.pixels = pixels
    ticket.image_format = header.format
