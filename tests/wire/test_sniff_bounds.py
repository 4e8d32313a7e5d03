"""Looking for an image ends after a bounded number of bytes, and however the body is cut, the opinion is the same."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.sent import (
    FOUND,
    NOT_FOUND,
    OIP,
    PLAIN,
    TFS,
    Sent,
    as_json,
)
from wire.image_header import NO_IMAGE
from wire.paths import Call
from wire.sniff import LOOK_BYTES, TIFF_LOOK_BYTES, Sniffed, Sniffer


def endless(start: bytes, filler: bytes = b"\0" * 65_536) -> list[bytes]:
    return [start, *[filler] * (2 * LOOK_BYTES // len(filler))]


@pytest.mark.parametrize(
    ("call", "content_type", "head", "start", "filler"),
    [
        (PLAIN, None, None, b'{"inputs": "', b"A" * 65_536),
        (PLAIN, None, None, b'{"x": "', b'"' * 65_536),
        (PLAIN, "multipart/form-data; boundary=b", None, b"--b\r\n\r\n", b"\r\n--" * 16_384),
        (PLAIN, "multipart/form-data; boundary=b", None, b"--b\r\n\r\n", b"\r\n--b\r\n\r\n" * 8192),
        (OIP, None, 60_000_000, b'{"inputs": [', b"[" * 65_536),
        (
            OIP,
            None,
            75,
            b'{"inputs":[{"datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":99999999}}]}',
            bytes(65_536),
        ),
    ],
)
def test_looking_ends_after_a_bounded_number_of_bytes_and_keeps_little(
    call: Call, content_type: str | None, head: int | None, start: bytes, filler: bytes
) -> None:
    head = start.index(b"}]}") + 3 if head == 75 else head
    sniffer, fed = Sniffer(call, content_type, head, None), 0
    for chunk in endless(start, filler):
        sniffed = sniffer.feed(chunk)
        fed += len(chunk)
        if sniffed:
            break
    assert sniffed is not None
    assert sniffed.header is None
    assert fed <= LOOK_BYTES + len(start) + len(filler)


def test_looking_into_a_tiff_ends_too() -> None:
    sniffer, fed = Sniffer(PLAIN, None, None, None), 0
    sniffed = sniffer.feed(b"II*\0\xff\xff\xff\x7f")
    while sniffed is None:
        sniffed = sniffer.feed(bytes(1 << 20))
        fed += 1 << 20
    assert (sniffed.header, sniffed.format) == (None, "tiff")
    assert fed <= TIFF_LOOK_BYTES + (1 << 20)


def test_a_tiff_that_tells_its_size_at_its_end_is_read_to_there() -> None:
    entry = struct.Struct("<HHII")
    picture = bytes(3 << 20)
    directory = struct.pack("<H", 2) + entry.pack(256, 4, 1, 10_000) + entry.pack(257, 4, 1, 9_000) + bytes(4)
    tiff = b"II*\0" + struct.pack("<I", 8 + len(picture)) + picture + directory
    sniffer = Sniffer(PLAIN, None, None, None)
    opinions = [sniffer.feed(tiff[at : at + 65_536]) for at in range(0, len(tiff), 65_536)]
    assert opinions[-2] is None
    assert opinions[-1] is not None
    assert opinions[-1].header is not None
    assert opinions[-1].header.pixels == 90_000_000


def test_a_bomb_is_not_unpacked_further_than_is_looked_at() -> None:
    bomb = gzip.compress(b'{"inputs": "' + bytes(200_000_000), compresslevel=1)
    sniffed = Sniffer(PLAIN, None, None, "gzip").feed(bomb)
    assert sniffed is not None
    assert "first" in sniffed.why


def test_bodies_made_of_marks_are_given_up_soon() -> None:
    tensor_spam = as_json({"inputs": [{"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}}] * 65})
    for sent in (
        Sent(PLAIN, b'{"x":[' + b'"/9j/",' * 5000),
        Sent(OIP, b'{"x":[' + b'"shape":[],' * 5000),
        Sent(PLAIN, b"--b\r\n\r\n" * 5000, "multipart/form-data; boundary=b"),
        Sent(OIP, tensor_spam, None, len(tensor_spam)),
    ):
        sniffer = Sniffer(sent.call, sent.content_type, sent.head, None)
        assert sniffer.feed(sent.body) is not None


def test_what_is_no_image_at_all_is_told_apart_from_a_broken_one() -> None:
    assert NOT_FOUND["text"].sniff().why == NO_IMAGE
    assert NOT_FOUND["a form with a file of text"].sniff().why == NO_IMAGE
    assert Sent(PLAIN, b"\xff\xd8\xff\xd9" + bytes(9)).sniff().why != NO_IMAGE


ALL = [*FOUND.values(), *NOT_FOUND.values()]


@given(st.sampled_from(ALL), st.lists(st.integers(0, 2**20), max_size=12))
def test_cuts_do_not_change_the_opinion(sent: Sent, cuts: list[int]) -> None:
    assert sent.sniff(cuts) == sent.sniff()


@pytest.mark.parametrize("index", range(len(ALL)))
def test_single_bytes_do_not_change_the_opinion(index: int) -> None:
    sent = ALL[index]
    if len(sent.body) < 600_000:
        short = Sent(sent.call, sent.body[:3000], sent.content_type, sent.head, sent.coding)
        assert short.sniff(list(range(3000))) == short.sniff()


@given(
    st.sampled_from([PLAIN, OIP, TFS]),
    st.sampled_from(
        [None, "multipart/form-data; boundary=b", "application/json", "multipart/mixed; boundary=\ud800", "\0"]
    ),
    st.none() | st.integers(-2, 60),
    st.sampled_from(["", "gzip", "deflate"]),
    st.lists(
        st.binary(max_size=20)
        | st.sampled_from(
            [
                b"{",
                b'"',
                b"\\",
                b"/9j/",
                b"\r\n--b",
                b"\r\n\r\n",
                b'"shape":[',
                b"]",
                b'"datatype":"FP32"',
                b"\xff\xd8\xff",
            ]
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_any_bytes_give_an_opinion(
    call: Call, content_type: str | None, head: int | None, coding: str, pieces: list[bytes], cuts: list[int]
) -> None:
    sent = Sent(call, b"".join(pieces), content_type, head, coding)
    sniffed = sent.sniff(cuts)
    # zlib gives nothing of a piece in which it finds a fault, so there the cuts do matter.
    if "coding" not in sent.sniff().why:
        assert sniffed == sent.sniff()
    assert isinstance(sniffed, Sniffed)
    assert bool(sniffed.why) == (sniffed.header is None)
    assert sniffed.elements >= 0
    assert sniffed.images >= 1
