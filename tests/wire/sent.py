"""Requests as the sniffer sees them: images in every encoding, and what is none, with the opinion on each."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from typing import Any

import numpy as np
import requests
import tritonclient.http as triton
from urllib3 import encode_multipart_formdata

from tests.wire.pictures import jpeg_with_segments, picture
from wire.image_header import ImageHeader
from wire.paths import Call, Kind
from wire.sniff import Sniffed, Sniffer

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
