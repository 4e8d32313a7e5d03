"""TensorFlow Serving's REST interface, spoken by a node with a model that tells how bright a picture is."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.serving import picture, serving
from tests.fakes.session import SIDE, describe

WHITE, BLACK = picture(255), picture(0)
NUMBERS = describe("numbers", images=False, labels=False)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "instances",
    [
        [{"b64": b64(WHITE)}, {"b64": b64(BLACK)}],
        [{"picture": {"b64": b64(WHITE)}}, {"picture": {"b64": b64(BLACK)}}],
        [np.full((SIDE, SIDE, 3), 255).tolist(), np.zeros((SIDE, SIDE, 3)).tolist()],
    ],
)
async def test_predict_in_rows(tmp_path: Path, instances: list[Any]) -> None:
    body = json.dumps({"signature_name": "serving_default", "instances": instances})
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/models/bright/versions/1:predict", body)

    assert np.argmax(answer.json["predictions"], axis=1).tolist() == [7, 0]


@pytest.mark.parametrize("inputs", [[{"b64": b64(WHITE)}], {"picture": [{"b64": b64(WHITE)}]}, {"b64": b64(WHITE)}])
async def test_predict_in_columns(tmp_path: Path, inputs: object) -> None:
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/models/bright:predict", json.dumps({"inputs": inputs}))

    assert np.argmax(answer.json["outputs"], axis=1).tolist() == [7]


async def test_classify(tmp_path: Path) -> None:
    body = json.dumps({"context": {}, "examples": [{"picture": {"b64": b64(WHITE)}}, {"picture": {"b64": b64(BLACK)}}]})
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/models/bright:classify", body)

    assert [row[0] for row in answer.json["results"]] == [["b7", pytest.approx(0.93)], ["b0", pytest.approx(0.93)]]


async def test_tensorflow_servings_status_and_metadata(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        status = (await node.get("/v1/models/bright")).json
        metadata = (await node.get("/v1/models/bright/metadata")).json

    assert status["model_version_status"] == [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["picture"]["dtype"] == "DT_STRING"
    assert signature["outputs"]["scores"]["tensor_shape"]["dim"][1]["size"] == "8"


async def test_what_is_no_number_stands_as_tensorflow_serving_writes_it(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS) as node:
        node.session.run = lambda inputs: {"scores": np.full((len(inputs["picture"]), 8), np.inf, np.float32)}
        answer = await node.post("/v1/models/numbers:predict", '{"instances": [[1, 2]]}')

    assert b"Infinity" in answer.body


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "nothing",
        '{"instances": []}',
        '{"instances": {"b64": ""}}',
        '{"instances": [[1, 2]], "inputs": [[1, 2]]}',
        '{"instances": [[1, 2], [3]]}',
        '{"instances": [["a", "b"]]}',
        '{"instances": [{"picture": [1, 2]}, {"other": [1, 2]}]}',
        '{"instances": [{"wrong": [1, 2]}]}',
        '{"signature_name": "other", "instances": [[1, 2]]}',
        '{"instances": ' + "[" * 60 + "]" * 60 + "}",
        '{"inputs": {"picture": [[1, 2]], "more": 1}}',
    ],
)
async def test_a_wrong_predict_call_is_a_bad_request(tmp_path: Path, body: str) -> None:
    async with serving(tmp_path, NUMBERS) as node:
        assert (await node.post("/v1/models/numbers:predict", body)).status == 400


async def test_images_for_a_model_of_numbers_are_refused_with_a_reason(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS) as node:
        plain = await node.post("/v1/predict", WHITE)
        classify = await node.post("/v1/models/numbers:classify", '{"examples": [{"picture": [1, 2]}]}')

    assert (plain.status, classify.status) == (400, 400)
    assert "takes tensors" in plain.json["detail"]
