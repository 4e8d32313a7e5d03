"""What the first bytes of a body told, and what a finder is: one per encoding."""

from __future__ import annotations

from typing import Protocol

import msgspec

from wire.image_header import ImageHeader

TENSOR = "numbers, not an image"


class Sniffed(msgspec.Struct, frozen=True):
    """The opinion on a body. Without a header, `why` says why; it is a sentence of ours, never the client's text."""

    header: ImageHeader | None = None
    why: str = ""
    format: str = ""  # of the image, when its magic bytes were seen though its size was not
    elements: int = 0  # numbers in the tensors whose shapes were seen
    images: int = 1  # in the batch that the header is the first of, as far as it was told
    timeout_us: int = 0  # `parameters.timeout` of the Open Inference Protocol; 0: not seen


class Finder(Protocol):
    """Looks for the image in one encoding, in bounded memory."""

    def feed(self, data: bytes) -> Sniffed | None:
        """The opinion, or None while more bytes are needed."""
        ...

    def end(self, why: str) -> Sniffed:
        """The opinion when no more comes, or no more is looked at, which `why` says."""
        ...
