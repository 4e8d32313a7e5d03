"""Clients that people have already, unmodified, at the gateway and at a node: the same right answers everywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
import requests
import tritonclient.http
import tritonclient.http.aio
from huggingface_hub import InferenceClient

from tests.fakes.fleet import SAMPLES, Up

EXPECTED = json.loads((SAMPLES / "expected.json").read_text())
CAT = (SAMPLES / "cat.jpg").read_bytes()
MODEL = "efficientnet-lite0"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Up]:
    with Up("--light", "1", "--heavy", "1") as up:
        yield up


@pytest.fixture(params=["gateway", "node"])
def face(fleet: Up, request: pytest.FixtureRequest) -> str:
    if request.param == "gateway":
        return fleet.public
    nodes = json.loads(fleet.get("/api/fleet", fleet.operators)[2])["nodes"]
    return "http://" + next(node["address"] for node in nodes if node["pool"] == "heavy")


def best(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0]["label"])


@pytest.mark.parametrize("name", EXPECTED)
def test_sample_photos_get_their_labels(face: str, name: str) -> None:
    assert best(requests.post(face + "/v1/predict", data=(SAMPLES / name).read_bytes())) == EXPECTED[name]


def test_every_path_gives_the_same_numbers(face: str) -> None:
    text = base64.b64encode(CAT).decode()
    plain = requests.post(face + "/v1/predict?top_k=1000", data=CAT).json()
    tfs = requests.post(face + f"/v1/models/{MODEL}:predict", data=json.dumps({"instances": [{"b64": text}]})).json()[
        "predictions"
    ][0]
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    oip = requests.post(face + f"/v2/models/{MODEL}/infer", json={"inputs": [image]}).json()["outputs"][0]["data"]
    raw = requests.post(face + f"/v2/models/{MODEL}/infer", data=CAT, headers={"Inference-Header-Content-Length": "0"})
    length = int(raw.headers["Inference-Header-Content-Length"])

    assert len(plain) == 1000
    assert tfs == oip == np.frombuffer(raw.content[length:], "<f4").tolist()
    assert [each["score"] for each in plain] == sorted(tfs, reverse=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data-binary", f"@{SAMPLES / 'cat.jpg'}"],
        ["-T", str(SAMPLES / "cat.jpg")],
        ["-F", f"file=@{SAMPLES / 'cat.jpg'}"],
        ["-F", "note=hello", "-F", f"data=@{SAMPLES / 'cat.jpg'};type=image/jpeg"],
        ["-H", "Transfer-Encoding: chunked", "--data-binary", f"@{SAMPLES / 'cat.jpg'}"],
        ["--http1.0", "--data-binary", f"@{SAMPLES / 'cat.jpg'}"],
    ],
)
def test_curl(face: str, arguments: list[str]) -> None:
    done = subprocess.run(["curl", "-sS", *arguments, face + "/v1/predict"], capture_output=True, check=True)

    assert json.loads(done.stdout)[0]["label"] == "Egyptian cat"


def test_curl_that_waits_for_100_continue(face: str) -> None:
    photo = SAMPLES / "alp-12mp.jpg"
    done = subprocess.run(
        ["curl", "-sS", "-v", "--data-binary", f"@{photo}", face + "/v1/predict"], capture_output=True, check=True
    )

    assert b"100 Continue" in done.stderr
    assert json.loads(done.stdout)[0]["label"] == "alp"


def test_requests_without_a_content_type(face: str) -> None:
    with (SAMPLES / "cat.jpg").open("rb") as stream:
        assert best(requests.post(face + "/v1/predict", data=stream)) == "Egyptian cat"


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_the_official_triton_client(face: str, compression: str | None) -> None:
    client = tritonclient.http.InferenceServerClient(face.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    metadata = client.get_model_metadata(MODEL)
    image = tritonclient.http.InferInput(metadata["inputs"][0]["name"], [2], "BYTES")
    image.set_data_from_numpy(np.array([CAT, CAT], dtype=np.object_))
    wanted = tritonclient.http.InferRequestedOutput(metadata["outputs"][0]["name"])
    classes = tritonclient.http.InferRequestedOutput(metadata["outputs"][0]["name"], class_count=3)
    options = {"request_compression_algorithm": compression, "response_compression_algorithm": compression}
    scores = client.infer(MODEL, [image], outputs=[wanted], request_id="7", **options)
    named = client.infer(MODEL, [image], outputs=[classes], model_version="1", **options)
    later = client.async_infer(MODEL, [image]).get_result()
    client.get_model_config(MODEL)
    client.close()

    assert scores.get_response()["id"] == "7"
    assert scores.as_numpy("probabilities").shape == (2, 1000)
    np.testing.assert_array_equal(*scores.as_numpy("probabilities"))
    assert named.as_numpy("probabilities")[0][0].decode().endswith(":285:Egyptian cat")
    np.testing.assert_array_equal(later.as_numpy("probabilities"), scores.as_numpy("probabilities"))


async def test_the_official_triton_client_for_asyncio(face: str) -> None:
    async with tritonclient.http.aio.InferenceServerClient(face.removeprefix("http://")) as client:
        image = tritonclient.http.aio.InferInput("image", [1, 1], "BYTES")
        image.set_data_from_numpy(np.array([[CAT]], dtype=np.object_))
        answers = await asyncio.gather(*(client.infer(MODEL, [image]) for _ in range(4)))
        tensor = tritonclient.http.aio.InferInput("image", [1, 224, 224, 3], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 224, 224, 3), np.float32))
        grey = await client.infer(MODEL, [tensor])
        with pytest.raises(tritonclient.http.aio.InferenceServerException, match=r"\[404\]"):
            await client.infer("other", [image])

    assert {int(answer.as_numpy("probabilities").argmax()) for answer in answers} == {285}
    assert grey.as_numpy("probabilities").sum() == pytest.approx(1, abs=1e-3)


def test_hugging_faces_client(face: str) -> None:
    client = InferenceClient(model=face + "/v1/predict")

    assert client.image_classification(str(SAMPLES / "cat.jpg"))[0].label == "Egyptian cat"
    assert client.image_classification(CAT)[0].label == "Egyptian cat"
    assert [each.label for each in client.image_classification(CAT, top_k=2)] == ["Egyptian cat", "tiger cat"]


def test_gateway_and_node_give_the_same_bytes(fleet: Up) -> None:
    nodes = json.loads(fleet.get("/api/fleet", fleet.operators)[2])["nodes"]
    answers = {fleet.post(CAT)[2], *(fleet.post(CAT, base=f"http://{node['address']}")[2] for node in nodes)}
    assert len(answers) == 1
