"""Requests as the official client builds them, and as nobody should."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import np_to_triton_dtype

from wire.errors import BadRequest, TooLarge
from wire.oip import InferRequest, RequestedOutput, decode

JPEG = b"\xff\xd8\xff\xe0 not really"


def triton_body(inputs: list[Any], **options: Any) -> tuple[bytes, int | None]:
    body, length = triton.InferenceServerClient.generate_request_body(inputs, **options)
    return body, length


def images(*contents: bytes, shape: list[int] | None = None) -> Any:
    tensor = triton.InferInput("image", shape or [len(contents)], "BYTES")
    array = np.array(contents, dtype=object).reshape(shape or [len(contents)])
    return tensor.set_data_from_numpy(array)


def document(*inputs: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def one(datatype: str, shape: list[int], data: object, name: str = "x") -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


@pytest.mark.parametrize("shape", [[1], [1, 1]])
def test_an_image_of_triton_client_is_one_element(shape: list[int]) -> None:
    request = decode(*triton_body([images(JPEG, shape=shape)]))
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("image", "BYTES", tuple(shape))
    assert tensor.data == [JPEG]
    assert request.binary
    assert not request.raw


def test_a_batch_of_images_and_what_is_asked_of_it() -> None:
    outputs = [
        triton.InferRequestedOutput("scores", binary_data=False, class_count=3),
        triton.InferRequestedOutput("raw"),
    ]
    request = decode(
        *triton_body([images(JPEG, b"", b"abc")], outputs=outputs, request_id="r1", priority=2, timeout=5_000_000)
    )
    assert request.inputs[0].data == [JPEG, b"", b"abc"]
    assert request.outputs == (RequestedOutput("scores", False, 3), RequestedOutput("raw", True, 0))
    assert (request.id, request.priority, request.timeout_us) == ("r1", 2, 5_000_000)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("binary", [True, False])
def test_whole_numbers_arrive_either_way(dtype: str, binary: bool) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    check_numbers(array, binary)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("binary", [True, False])
def test_fractions_arrive_either_way(dtype: str, binary: bool) -> None:
    check_numbers(np.array([[0.5, -1.25, 3]], dtype=dtype), binary)


def check_numbers(array: np.ndarray, binary: bool) -> None:
    name = np_to_triton_dtype(array.dtype)
    tensor = triton.InferInput("x", list(array.shape), name).set_data_from_numpy(array, binary_data=binary)
    (found,) = decode(*triton_body([tensor])).inputs
    assert (found.shape, found.datatype) == (array.shape, name)
    values = np.frombuffer(found.data, array.dtype) if binary else np.array(found.data, array.dtype)
    assert (values.reshape(array.shape) == array).all()


def test_several_inputs_share_the_tail_in_order() -> None:
    numbers = triton.InferInput("n", [2], "INT32").set_data_from_numpy(np.array([1, 2], np.int32))
    flags = triton.InferInput("f", [2], "BOOL").set_data_from_numpy(np.array([True, False]), binary_data=False)
    request = decode(*triton_body([numbers, flags, images(JPEG)]))
    assert bytes(request.inputs[0].data) == struct.pack("<ii", 1, 2)  # type: ignore[arg-type]
    assert request.inputs[1].data == [True, False]
    assert request.inputs[2].data == [JPEG]


def test_a_raw_body_is_the_single_input() -> None:
    request = decode(JPEG, 0)
    assert request.raw
    assert request.binary
    assert request.inputs[0].data == [JPEG]
    assert (request.inputs[0].name, request.inputs[0].shape) == ("", (1,))


@pytest.mark.parametrize(
    ("shape", "data", "flat"),
    [
        ([2, 2], [[1, 2], [3, 4]], [1, 2, 3, 4]),
        ([2, 2], [1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 1], [[[1], [2]]], [1, 2]),
        ([], [5], [5]),
        ([0], [], []),
        ([2, 0], [[], []], []),
    ],
)
def test_json_numbers_may_be_flat_or_nested(shape: list[int], data: object, flat: list[int]) -> None:
    (tensor,) = decode(document(one("INT64", shape, data)), None).inputs
    assert tensor.data == flat
    assert tensor.elements == len(flat)


def test_base64_text_in_json_is_left_to_who_knows_the_model() -> None:
    (tensor,) = decode(document(one("BYTES", [2, 1], [["/9j/4A=="], ['say "hi", you']])), None).inputs
    assert tensor.data == ["/9j/4A==", 'say "hi", you']


def test_whole_numbers_are_good_fractions() -> None:
    (tensor,) = decode(document(one("FP32", [3], [1, 2.5, 10**20])), None).inputs
    assert tensor.data == [1.0, 2.5, 1e20]


MALFORMED = {
    "nothing": b"",
    "no JSON": b"\xff\xd8\xff\xe0",
    "a list": b"[]",
    "no inputs": b"{}",
    "an empty list of inputs": document(),
    "too many inputs": document(*[one("INT8", [1], [1], name=str(i)) for i in range(65)]),
    "two inputs of one name": document(one("INT8", [1], [1]), one("INT8", [1], [1])),
    "an unknown datatype": document(one("FP128", [1], [1])),
    "a negative side": document(one("INT8", [-1], [1])),
    "a rank of 9": document(one("INT8", [1] * 9, [1])),
    "a shape of text": document(one("INT8", ["1"], [1])),  # type: ignore[list-item]
    "fewer numbers than the shape says": document(one("INT8", [3], [1, 2])),
    "more numbers than the shape says": document(one("INT8", [1], [1, 2])),
    "something in an empty shape": document(one("INT8", [0], [1])),
    "ragged rows": document(one("INT8", [2, 2], [[1], [2, 3, 4]])),
    "rows the other way round": document(one("INT8", [2, 3], [[1, 2], [3, 4], [5, 6]])),
    "nested beyond the shape": document(one("INT8", [1, 1], [[[1]]])),
    "a number alone": document(one("INT8", [1], 1)),
    "a number alone for a scalar": document(one("FP32", [], 1)),
    "null": document(one("INT8", [1], None)),
    "text for a number": document(one("INT8", [1], ["1"])),
    "a number for text": document(one("BYTES", [1], [1])),
    "a fraction for a whole number": document(one("INT8", [1], [1.5])),
    "a boolean for a number": document(one("FP32", [1], [True])),
    "beyond INT8": document(one("INT8", [1], [128])),
    "below UINT8": document(one("UINT8", [1], [-1])),
    "beyond UINT64": document(one("UINT64", [1], [2**64])),
    "BF16 in JSON": document(one("BF16", [1], [1])),
    "NaN": b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[NaN]}]}',
    "neither data nor size": document({"name": "x", "datatype": "INT8", "shape": [1]}),
    "binary data without the header": document(
        {"name": "x", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}}
    ),
    "shared memory": document(
        {"name": "x", "datatype": "INT8", "shape": [1], "parameters": {"shared_memory_region": "r"}}
    ),
    "an output in shared memory": document(
        one("INT8", [1], [1]), outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}]
    ),
    "classes below zero": document(
        one("INT8", [1], [1]), outputs=[{"name": "y", "parameters": {"classification": -1}}]
    ),
    "a negative timeout": document(one("INT8", [1], [1]), parameters={"timeout": -1}),
    "an id that is no text": document(one("INT8", [1], [1]), id=7),
    "a name without end": document(one("INT8", [1], [1], name="n" * 257)),
    "100 levels": b'{"inputs":' + b"[" * 100 + b"]" * 100 + b"}",
    "100,000 levels": b'{"inputs":' + b"[" * 100_000,
    "40 levels that would be ignored": b'{"x":' + b"[{}," * 40 + b"0" + b"]" * 40 + b',"inputs":[]}',
    "not UTF-8": b'{"inputs":[{"name":"\xff\xfe","datatype":"INT8","shape":[1],"data":[1]}]}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_told_so(name: str) -> None:
    with pytest.raises(BadRequest) as raised:
        decode(MALFORMED[name], None)
    assert raised.value.detail.isprintable()


def binary_request(datatype: str, shape: list[int], tail: bytes, size: int | None = None) -> tuple[bytes, int]:
    head = document(
        {
            "name": "x",
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": len(tail) if size is None else size},
        }
    )
    return head + tail, len(head)


@pytest.mark.parametrize(
    "request_of",
    [
        binary_request("FP32", [2], b"1234567"),
        binary_request("BYTES", [1], b"\x05\0\0\0abc"),
        binary_request("BYTES", [1], b"\x05\0"),
        binary_request("BYTES", [2], b"\x01\0\0\0a"),
        binary_request("BYTES", [1], b"\x01\0\0\0a\x01\0\0\0b"),
        binary_request("INT8", [1], b"12", size=1),
        binary_request("INT8", [3], b"12", size=3),
        binary_request("INT8", [1], b"1", size=-1),
        (b"{}", 3),
        (b"{}", -1),
    ],
)
def test_binary_data_that_do_not_fit_are_told_so(request_of: tuple[bytes, int]) -> None:
    with pytest.raises(BadRequest):
        decode(*request_of)


@pytest.mark.parametrize(
    "request_of",
    [
        binary_request("BYTES", [70_000], bytes(4 * 70_000)),
        binary_request("INT8", [2**21, 2**21], b""),
        (document(one("FP32", [4_000_001], [])), None),
        (document(one("BYTES", [1], ["a"] * 140_000)), None),
        (b'{"x":[' + b"{}," * 70_000 + b"0]}", None),
    ],
)
def test_what_would_cost_too_much_to_hold_is_refused_before_it_is_parsed(request_of: tuple[bytes, int | None]) -> None:
    with pytest.raises(TooLarge):
        decode(*request_of)


@given(st.binary(max_size=200), st.none() | st.integers(-5, 250))
def test_any_bytes_are_a_request_or_a_clear_error(body: bytes, header_length: int | None) -> None:
    try:
        request = decode(body, header_length)
    except (BadRequest, TooLarge):
        return
    assert isinstance(request, InferRequest)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["data", "shape", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {
            "name": st.text(max_size=5),
            "datatype": st.sampled_from(["BYTES", "FP32", "INT8", "BOOL", "BF16", "x"]),
            "shape": st.lists(st.integers(-1, 3), max_size=3) | json_values,
            "data": json_values,
        },
        optional={"parameters": json_values},
    ),
    st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), json_values),
)
def test_any_json_is_a_request_or_a_clear_error(tensor: dict[str, object], more: dict[str, object]) -> None:
    try:
        request = decode(document(tensor, **more), None)
    except (BadRequest, TooLarge):
        return
    (found,) = request.inputs
    assert len(found.data) == found.elements
