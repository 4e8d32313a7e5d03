"""The image is an element of a BYTES tensor behind a JSON head (Open Inference Protocol, binary tensor extension)."""

from __future__ import annotations

from math import prod

import msgspec

from wire.image_header import HeaderReader, Unknown
from wire.oip_tensors import BYTES, MAX_RANK, MAX_STRINGS, MAX_TENSORS
from wire.sniff.json_text import JsonImage
from wire.sniff.result import TENSOR, Sniffed

# Each element of a BYTES tensor begins with its length.
_LENGTH_BYTES = 4
_NOTHING = "no image among the tensors"


class _InputParameters(msgspec.Struct):
    binary_data_size: int | None = None


class _Input(msgspec.Struct):
    datatype: str
    shape: list[int]
    parameters: _InputParameters | None = None


class _Parameters(msgspec.Struct):
    timeout: int = 0


class _Head(msgspec.Struct):
    inputs: list[_Input]
    parameters: _Parameters | None = None


# A timeout is a number of a client: bounded, so that it can be made a float.
_LONGEST_US = 1 << 53
_DECODER = msgspec.json.Decoder(_Head)


class BinaryTensors:
    """See Finder."""

    __slots__ = ("_at", "_elements", "_head", "_head_length", "_reader", "_spans", "_timeout_us")

    def __init__(self, head_length: int) -> None:
        self._head = bytearray()
        self._head_length = head_length
        self._at = 0  # how much has come of what is behind the head
        self._reader = HeaderReader()
        self._spans: list[tuple[int, int, int]] = []  # where images may be: start, end, how many
        self._elements = 0
        self._timeout_us = 0

    def feed(self, data: bytes) -> Sniffed | None:
        """See Finder."""
        if len(self._head) < self._head_length:
            self._head += data
            if len(self._head) < self._head_length:
                return None
            data = bytes(self._head[self._head_length :])
            if sniffed := self._read_head(bytes(self._head[: self._head_length])):
                return sniffed
        return self._read_tail(data)

    def end(self, why: str) -> Sniffed:
        """See Finder."""
        return Sniffed(None, why, self._reader.format, self._elements, timeout_us=self._timeout_us)

    def _read_head(self, text: bytes) -> Sniffed | None:
        try:
            head = _DECODER.decode(text)
        except (ValueError, RecursionError):
            return self.end("the JSON head is not one of an inference")
        if len(head.inputs) > MAX_TENSORS:
            return self.end("more tensors than a request may have")
        self._timeout_us = min(max(head.parameters.timeout, 0), _LONGEST_US) if head.parameters else 0
        at, strings_inside = 0, False
        for tensor in head.inputs:
            size = tensor.parameters.binary_data_size if tensor.parameters else None
            count = prod(tensor.shape) if len(tensor.shape) <= MAX_RANK and min(tensor.shape, default=0) >= 0 else 0
            if tensor.datatype != BYTES:
                self._elements += count
            elif size is None:
                strings_inside = True
            else:
                self._spans.append((at + _LENGTH_BYTES, at + size, min(max(count, 1), MAX_STRINGS)))
            at += max(size or 0, 0)
        if strings_inside and (sniffed := JsonImage(oip=True).feed(text)):
            return sniffed
        return None if self._spans else self.end(TENSOR if self._elements else _NOTHING)

    def _read_tail(self, data: bytes) -> Sniffed | None:
        while self._spans:
            start, end, images = self._spans[0]
            piece = data[max(start - self._at, 0) : max(end - self._at, 0)]
            try:
                header = self._reader.feed(piece)
            except Unknown:
                header, end = None, 0
            if header:
                return Sniffed(header, "", header.format, self._elements, images, self._timeout_us)
            if self._at + len(data) < end:
                self._at += len(data)
                return None
            # This one is none, or has ended: perhaps the next.
            self._spans.pop(0)
            self._reader = HeaderReader()
        return self.end(_NOTHING)
