"""The image is found in whatever way a client sends it, from the first bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.wire.pictures import FORMATS, bmp_info, picture, tiff_with_directory_last
from tests.wire.sent import (
    FOUND,
    HEADER,
    JPEG,
    NOT_FOUND,
    OIP,
    PLAIN,
    TFS,
    Sent,
    as_json,
    b64,
    form,
    images,
    oip_json,
    tensor,
    with_triton,
)
from wire.image_header import ImageHeader
from wire.sniff import Sniffer


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
