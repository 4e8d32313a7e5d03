"""Answers as the official client reads them."""

from __future__ import annotations

import json
import struct
from math import nan

import numpy as np
import pytest
import tritonclient.http as triton

from wire.errors import BadRequest
from wire.oip_answers import (
    Encoded,
    TensorMetadata,
    classification,
    encode_response,
    model_config,
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from wire.oip_tensors import Tensor

SCORES = Tensor("scores", "FP32", (1, 3), struct.pack("<3f", 0.5, 0.25, 0.125))
WORDS = Tensor("words", "BYTES", (2,), [b"a", "é"])


def read(answer: Encoded) -> triton.InferResult:
    body = b"".join(answer.parts)
    return triton.InferResult.from_response_body(body, header_length=answer.header_length)


def test_json_outputs_are_read_by_triton_client() -> None:
    answer = encode_response("m", "1", "r7", [SCORES, WORDS])
    assert (answer.content_type, answer.header_length) == ("application/json", None)
    result = read(answer)
    assert result.as_numpy("scores").tolist() == [[0.5, 0.25, 0.125]]
    assert result.as_numpy("words").tolist() == ["a", "é"] or result.as_numpy("words").tolist() == [b"a", "é".encode()]
    assert {k: result.get_response()[k] for k in ("model_name", "model_version", "id")} == {
        "model_name": "m",
        "model_version": "1",
        "id": "r7",
    }


def test_binary_outputs_follow_the_json() -> None:
    answer = encode_response("m", "1", "", [WORDS, SCORES], binary=frozenset({"scores", "words"}))
    assert answer.content_type == "application/octet-stream"
    assert "id" not in json.loads(answer.parts[0])
    result = read(answer)
    assert result.as_numpy("scores").tolist() == [[0.5, 0.25, 0.125]]
    assert result.as_numpy("words").tolist() == [b"a", "é".encode()]


def test_an_answer_may_mix_both() -> None:
    result = read(encode_response("m", "1", "", [WORDS, SCORES], binary=frozenset({"scores"})))
    assert result.as_numpy("scores").tolist() == [[0.5, 0.25, 0.125]]
    assert len(result.as_numpy("words")) == 2


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_every_datatype_can_be_written_both_ways(dtype: str) -> None:
    array = np.array([0, 1, 1], dtype="<" + dtype)
    names = {"?": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}
    datatype = names[dtype[0]] + (str(8 * int(dtype[1])) if dtype[1:] else "")
    for data in (array.tobytes(), memoryview(array).cast("B"), array.tolist()):
        tensor = Tensor("x", datatype, (3,), data)
        for binary in (frozenset(), frozenset({"x"})):
            assert read(encode_response("m", "1", "", [tensor], binary=binary)).as_numpy("x").tolist() == array.tolist()


def test_bf16_travels_only_as_bytes() -> None:
    tensor = Tensor("x", "BF16", (1,), b"\x80\x3f")
    assert encode_response("m", "1", "", [tensor], binary=frozenset({"x"})).parts[1] == b"\x80\x3f"
    with pytest.raises(BadRequest):
        encode_response("m", "1", "", [tensor])


def test_the_best_classes_come_first_in_the_words_of_triton() -> None:
    tensor = classification("scores", [[0.1, 0.7, 0.2], [nan, 0.5, 0.5]], 2, ["cat", "dog"])
    assert tensor.shape == (2, 2)
    assert tensor.data == [b"0.700000:1:dog", b"0.200000:2", b"0.500000:1:dog", b"0.500000:2"]
    assert read(encode_response("m", "1", "", [tensor])).as_numpy("scores").shape == (2, 2)


def test_more_classes_than_there_are_give_all() -> None:
    assert classification("s", [[1.0, 2.0]], 9).data == [b"2.000000:1", b"1.000000:0"]
    assert classification("s", [], 9).shape == (0, 9)


def test_metadata_say_what_the_specification_says() -> None:
    image = TensorMetadata("image", "BYTES", (-1,))
    scores = TensorMetadata("scores", "FP32", (-1, 1000))
    assert json.loads(server_metadata("fleetgate", "0.1")) == {
        "name": "fleetgate",
        "version": "0.1",
        "extensions": ["binary_tensor_data", "classification", "model_configuration"],
    }
    assert json.loads(server_live(True)) == {"live": True}
    assert json.loads(server_ready(False)) == {"ready": False}
    assert json.loads(model_ready("m", True)) == {"name": "m", "ready": True}
    assert json.loads(model_metadata("m", ["1"], [image], [scores])) == {
        "name": "m",
        "versions": ["1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 1000]}],
    }
    assert json.loads(model_config("m", 16, [image], [scores])) == {
        "name": "m",
        "platform": "tensorflow_savedmodel",
        "max_batch_size": 16,
        "input": [{"name": "image", "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": [1000]}],
    }
