"""The image is found in whatever way a client sends it, from the first bytes."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import encode_multipart_formdata

from tests.wire.pictures import FORMATS, bmp_info, jpeg_with_segments, picture, tiff_with_directory_last
from wire.image_header import NO_IMAGE, ImageHeader
from wire.paths import Call, Kind
from wire.sniff import LOOK_BYTES, TIFF_LOOK_BYTES, Sniffed, Sniffer

PLAIN, OIP, TFS = Call(Kind.PREDICT), Call(Kind.OIP_INFER, "m"), Call(Kind.TFS_PREDICT, "m")
JPEG = picture("JPEG", 640, 480)
HEADER = ImageHeader("jpeg", 640, 480)


class Sent:
    """A request as far as the sniffer sees it."""

    def __init__(
        self, call: Call, body: bytes, content_type: str | None = None, head: int | None = None, coding: str = ""
    ):
        self.call, self.body, self.content_type, self.head, self.coding = call, body, content_type, head, coding

    def sniff(self, cuts: list[int] | None = None) -> Sniffed:
        """The opinion on the body, cut at these places."""
        sniffer = Sniffer(self.call, self.content_type, self.head, self.coding)
        start = 0
        for cut in [*sorted(cut % (len(self.body) + 1) for cut in cuts or []), len(self.body)]:
            sniffed = sniffer.feed(self.body[start:cut])
            if sniffed is not None:
                assert sniffer.feed(b"more") is sniffed is sniffer.end()
                return sniffed
            start = cut
        return sniffer.end()


def form(*parts: tuple[str, Any], boundary: str | None = None) -> tuple[bytes, str]:
    return encode_multipart_formdata(list(parts), boundary)


def with_requests(image: bytes) -> tuple[bytes, str]:
    prepared = requests.Request("POST", "http://x/", files={"f": image}, data={"top_k": "3"}).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["Content-Type"]


def with_triton(*tensors: Any, **options: Any) -> Sent:
    body, head = triton.InferenceServerClient.generate_request_body(list(tensors), **options)
    return Sent(OIP, body, None, head)


def tensor(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> Any:
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def images(*contents: bytes, name: str = "image") -> Any:
    return tensor(name, np.array(contents, dtype=object), "BYTES")


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def as_json(document: object, **options: Any) -> bytes:
    return json.dumps(document, **options).encode()


def oip_json(*data: str, **more: object) -> bytes:
    return as_json({"inputs": [{"name": "i", "shape": [len(data)], "datatype": "BYTES", "data": data}], **more})


LINES = encodebytes(JPEG).decode()
NUMBERS = tensor("x", np.zeros((1, 3, 2), np.float32), "FP32")
FOUND = {
    "curl --data-binary": Sent(PLAIN, JPEG, "application/x-www-form-urlencoded"),
    "curl -T": Sent(PLAIN, JPEG),
    "Hugging Face, bytes": Sent(PLAIN, JPEG, "image/jpeg"),
    "an image that is called JSON": Sent(PLAIN, JPEG, "application/json"),
    "an image that is called a form": Sent(PLAIN, JPEG, "multipart/form-data; boundary=x"),
    "a form of requests, with a field": Sent(PLAIN, *with_requests(JPEG)),
    "a form of urllib3": Sent(PLAIN, *form(("file", ("cat.jpg", JPEG, "image/jpeg")))),
    "a form whose field comes first": Sent(PLAIN, *form(("k", "3"), ("file", ("c.jpg", JPEG)), ("z", "4"))),
    "a form without a file name": Sent(PLAIN, *form(("k", "3"), ("file", JPEG))),
    "a form with a preamble": Sent(
        PLAIN, b"hello\r\n" + form(("f", JPEG), boundary="xYx")[0], "multipart/form-data; boundary=xYx"
    ),
    "a form with a quoted boundary": Sent(
        PLAIN, form(("f", JPEG), boundary="x y")[0], 'Multipart/Form-Data; Boundary="x y"'
    ),
    "Hugging Face, top_k": Sent(PLAIN, as_json({"inputs": b64(JPEG), "parameters": {"top_k": 3}}), "application/json"),
    "JSON after a mark and blanks": Sent(PLAIN, b"\xef\xbb\xbf \r\n" + as_json({"inputs": b64(JPEG)})),
    "JSON with the image last": Sent(PLAIN, as_json({"parameters": {"top_k": 3, "note": "\\"}, "inputs": b64(JPEG)})),
    "JSON called a form": Sent(TFS, as_json({"inputs": b64(JPEG)}), "application/x-www-form-urlencoded"),
    "TensorFlow Serving, its own client": Sent(TFS, f'{{"instances" : [{{"b64": "{b64(JPEG)}"}}]}}'.encode()),
    "TensorFlow Serving, columns": Sent(TFS, as_json({"inputs": {"image": {"b64": b64(JPEG)}}})),
    "TensorFlow Serving, classify": Sent(
        Call(Kind.TFS_CLASSIFY, "m"), as_json({"examples": [{"image": {"b64": b64(JPEG)}}]}, indent=4)
    ),
    "JSON of PHP, with escaped slashes": Sent(TFS, as_json({"instances": [{"b64": b64(JPEG)}]}).replace(b"/", b"\\/")),
    "JSON with slashes as code points": Sent(TFS, as_json({"inputs": b64(JPEG)}).replace(b"/", b"\\u002F")),
    "base64 in lines": Sent(PLAIN, as_json({"inputs": LINES})),
    "base64 of file names": Sent(PLAIN, as_json({"inputs": urlsafe_b64encode(JPEG).decode()})),
    "OIP, JSON": Sent(OIP, oip_json(b64(JPEG))),
    "OIP, text that only looks like an image": Sent(OIP, oip_json("Qk0x but no bitmap", b64(JPEG))),
    "Triton's client": with_triton(images(JPEG)),
    "Triton's client, numbers before": with_triton(NUMBERS, images(JPEG)),
    "Triton's client, text before": with_triton(images(b"a caption", name="text"), images(JPEG)),
    "Triton's client, an empty text before": with_triton(images(b"", name="text"), images(JPEG)),
    "OIP, raw": Sent(OIP, JPEG, "application/octet-stream", 0),
    "gzip": Sent(PLAIN, gzip.compress(JPEG), None, None, "gzip"),
    "deflate": Sent(PLAIN, zlib.compress(JPEG), None, None, "deflate"),
    "bare deflate": Sent(PLAIN, zlib.compress(JPEG, wbits=-15), None, None, "Deflate"),
    "identity": Sent(PLAIN, JPEG, None, None, "identity"),
    "a compressed form": Sent(
        PLAIN, gzip.compress(form(("f", JPEG), boundary="b")[0]), "multipart/form-data; boundary=b", None, "gzip"
    ),
    "much metadata": Sent(PLAIN, jpeg_with_segments(*[bytes(60_000)] * 10)),
    "much metadata in base64": Sent(PLAIN, as_json({"inputs": b64(jpeg_with_segments(*[b"\xff" * 60_000] * 6))})),
}


def _head_with_data_inside() -> Sent:
    """A head whose BYTES tensor has its data in the JSON, while another tensor follows as bytes."""
    head = as_json(
        {
            "inputs": [
                {"name": "n", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
                {"name": "i", "shape": [1], "datatype": "BYTES", "data": [b64(JPEG)]},
            ]
        }
    )
    return Sent(OIP, head + b"ab", None, len(head))


FOUND["OIP, image in the head, numbers behind it"] = _head_with_data_inside()


@pytest.mark.parametrize("name", FOUND)
def test_the_image_is_found_however_it_is_sent(name: str) -> None:
    assert FOUND[name].sniff().header == HEADER


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_before_the_body_has_come(name: str) -> None:
    sent = FOUND[name]
    sniffer = Sniffer(sent.call, sent.content_type, sent.head, sent.coding)
    needed = len(sent.body) * 9 // 10
    step = 997
    opinions = (sniffer.feed(sent.body[i : min(i + step, needed)]) for i in range(0, needed, step))
    found = next((opinion for opinion in opinions if opinion), None)
    if not any(word in name for word in ("metadata", "behind it")):
        assert found is not None
        assert found.header == HEADER


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_found_in_every_encoding(image_format: str) -> None:
    data = picture(image_format, 300, 200)
    if image_format == "TIFF":
        data = tiff_with_directory_last(300, 200)
    for sent in (
        Sent(PLAIN, data),
        Sent(PLAIN, *form(("f", ("f", data)))),
        Sent(PLAIN, as_json({"inputs": b64(data)})),
        Sent(OIP, oip_json(b64(data))),
        with_triton(images(data)),
        Sent(OIP, data, None, 0),
    ):
        assert sent.sniff().header == ImageHeader(image_format.lower(), 300, 200)


def test_big_tiff_and_bitmaps_are_seen_in_base64() -> None:
    for data in (b"MM\0+" + bytes(4), b"II+\0" + bytes(4), bmp_info(5, 5)[:18]):
        sniffed = Sent(PLAIN, as_json({"inputs": b64(data)})).sniff()
        assert sniffed.header is None


def test_what_the_client_of_triton_says_besides_is_read() -> None:
    sniffed = with_triton(images(JPEG, JPEG, JPEG), timeout=2_500_000).sniff()
    assert (sniffed.images, sniffed.timeout_us) == (3, 2_500_000)
    sniffed = Sent(OIP, as_json({"parameters": {"timeout": 7}, **json.loads(oip_json(b64(JPEG), "x"))})).sniff()
    assert (sniffed.images, sniffed.timeout_us) == (2, 7)


def test_the_size_of_numeric_tensors_is_told() -> None:
    zeros = np.zeros((2, 224, 224, 3), np.float32)
    small = np.zeros((2, 3), np.int8)
    for sent, elements in (
        (with_triton(tensor("x", zeros, "FP32")), zeros.size),
        (with_triton(tensor("x", zeros, "FP32", binary=False)), zeros.size),
        (with_triton(tensor("x", small, "INT8", binary=False), tensor("y", small, "INT8", binary=False)), 12),
        (with_triton(tensor("x", small, "INT8"), tensor("y", small, "INT8"), timeout=9), 12),
    ):
        sniffed = sent.sniff()
        assert (sniffed.header, sniffed.why, sniffed.elements) == (None, "numbers, not an image", elements)


@pytest.mark.parametrize(
    "document",
    [{"instances": [[[0.5, 1], [2, 3]]]}, {"inputs": {"x": [[1.5]]}}, {"inputs": [-1]}, {"instances": [1, 2]}],
)
def test_numbers_of_tensorflow_serving_are_no_image(document: object) -> None:
    sniffed = Sent(TFS, as_json(document)).sniff()
    assert (sniffed.header, sniffed.why) == (None, "numbers, not an image")


NOT_FOUND = {
    "a shape that is none": Sent(OIP, b'{"inputs":[{"shape":[1 2,],"datatype":"INT8"'),
    "an image inside a text": Sent(PLAIN, as_json({"x": 'Qk0 "/9j/ ' + b64(JPEG)})),
    "nothing": Sent(PLAIN, b""),
    "blanks": Sent(PLAIN, b" " * 3000),
    "text": Sent(PLAIN, b"hello, world, this is no image"),
    "HTML": Sent(PLAIN, b"<html>", "image/jpeg"),
    "JSON without an image": Sent(PLAIN, b'{"inputs": "hello"}'),
    "JSON that ends in an escape": Sent(PLAIN, b'{"inputs": "\\/9j\\/4AAQ\\'),
    "JSON with a broken escape": Sent(PLAIN, b'{"inputs": "/9j/4AAQ\\uZZZZSkZJRg", "x": 1}'),
    "a cut image": Sent(PLAIN, JPEG[:100]),
    "a cut image in JSON": Sent(PLAIN, as_json({"inputs": b64(JPEG[:100])})),
    "a cut image in a form": Sent(PLAIN, *form(("f", ("f", JPEG[:100])))),
    "a form without an image": Sent(PLAIN, *form(("k", "3"))),
    "a form with a file of text": Sent(PLAIN, *form(("f", ("f.txt", "hello, world")))),
    "a form that names no boundary": Sent(PLAIN, form(("f", JPEG))[0], "multipart/form-data"),
    "a form with an endless head": Sent(PLAIN, b"--b\r\nx: " + b"y" * 20_000, "multipart/form-data; boundary=b"),
    "a coding we do not read": Sent(PLAIN, JPEG, None, None, "br"),
    "two codings": Sent(PLAIN, JPEG, None, None, "gzip, gzip"),
    "a broken coding": Sent(PLAIN, JPEG, None, None, "gzip"),
    "a head that is no JSON": Sent(OIP, b"hello" + JPEG, None, 5),
    "a head of another shape": Sent(OIP, b'{"inputs":7}' + JPEG, None, 12),
    "a head nested too deeply": Sent(OIP, b'{"x":' + b"[" * 50_000, None, 50_005),
    "a head longer than the body": Sent(OIP, b"{}", None, 500),
    "a head without inputs": Sent(OIP, b'{"inputs":[]}' + JPEG, None, 13),
    "a negative head": Sent(OIP, b"{}", None, -1),
    "elements that are no images": with_triton(images(b"some text", b"more")),
    "a size that lies": Sent(
        OIP,
        b'{"inputs":[{"datatype":"BYTES","shape":[-1],"parameters":{"binary_data_size":-5}}]}' + JPEG,
        None,
        83,
    ),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_where_there_is_no_image_the_reason_is_told(name: str) -> None:
    sniffed = NOT_FOUND[name].sniff()
    assert sniffed.header is None
    assert sniffed.why
    assert sniffed.why.isprintable()


def test_the_format_of_a_cut_image_is_known() -> None:
    assert NOT_FOUND["a cut image"].sniff().format == "jpeg"
    assert NOT_FOUND["a cut image in JSON"].sniff().format == "jpeg"
    assert NOT_FOUND["a cut image in a form"].sniff().format == "jpeg"


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
