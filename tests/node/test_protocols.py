"""The plain endpoint and the Open Inference Protocol, with a model that tells how bright a picture is."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest

from repository.manifest import TensorSpec
from tests.fakes.serving import Got, Serving, limits, picture, serving
from tests.fakes.session import LABELS, SIDE, describe

WHITE, BLACK = picture(255), picture(0)
TOP_TWO = [{"label": "b7", "score": pytest.approx(0.93)}, {"label": "b0", "score": pytest.approx(0.01)}]
NUMBERS = describe("numbers", images=False, labels=False)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def infer(node: Serving, *inputs: dict[str, Any], path: str = "/v2/models/bright/infer", **more: object) -> Got:
    return await node.post(path, json.dumps({"inputs": inputs, **more}))


def image_input(*images: bytes, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": "picture", "shape": shape or [len(images)], "datatype": "BYTES", "data": [b64(i) for i in images]}


# --- plain


async def test_a_count_of_labels_that_is_none_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        for value in ("0", "-1", "1001", "1.5", "many", "1_0", "0000010005", "%C2%B2", "9" * 1000, "+1"):
            assert (await node.post(f"/v1/predict?top_k={value}", WHITE)).status == 400, value


@pytest.mark.parametrize(
    "path", ["/v1/predict", "/v1/predict/bright", "/v1/predict/bright/1", "/invocations", "/v1/predict?top_k=2"]
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_image_gets_labels_and_scores(tmp_path: Path, path: str, method: str) -> None:
    async with serving(tmp_path) as node:
        answer = await node.call(method, path, WHITE)

    assert answer.status == 200
    assert answer.json[:2] == TOP_TWO
    assert len(answer.json) == (2 if "top_k" in path else 5)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "kind", ["", "image/png", "image/jpeg", "application/x-www-form-urlencoded", "application/json", "text/plain"]
)
async def test_content_decides_whatever_the_header_says(tmp_path: Path, kind: str) -> None:
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/predict", WHITE, **({"Content_Type": kind} if kind else {}))

    assert answer.json[0] == TOP_TWO[0]


async def test_hugging_faces_json_is_understood_without_a_content_type(tmp_path: Path) -> None:
    body = json.dumps({"inputs": b64(WHITE), "parameters": {"top_k": 2}})
    url = json.dumps({"inputs": "data:image/png;base64," + b64(WHITE)})
    async with serving(tmp_path) as node:
        assert (await node.post("/v1/predict", body)).json == TOP_TWO
        assert (await node.post("/v1/predict", url)).json[:2] == TOP_TWO


async def test_the_first_file_of_a_form_is_the_image(tmp_path: Path) -> None:
    form = aiohttp.FormData()
    form.add_field("note", "first, but no file")
    form.add_field("top_k", "2")
    form.add_field("anything", WHITE, filename="x.png", content_type="application/octet-stream")
    form.add_field("second", BLACK, filename="y.png")
    nameless = b"before\r\n--edge\r\nContent-Disposition: form-data; name=x\r\n\r\n" + WHITE + b"\r\n--edge--\r\n"
    async with serving(tmp_path) as node:
        async with node.client.post(node.url("/v1/predict"), data=form) as answer:
            assert await answer.json() == TOP_TWO
        found = await node.post("/v1/predict", nameless, Content_Type=BOUNDARY)

    assert found.json[:2] == TOP_TWO


async def test_a_model_without_labels_answers_its_outputs(tmp_path: Path) -> None:
    async with serving(tmp_path, describe(labels=False)) as node:
        answer = await node.post("/v1/predict", WHITE)

    assert answer.json == {"outputs": {"scores": pytest.approx([0.01] * 7 + [0.93])}}


BOUNDARY = "multipart/form-data; boundary=edge"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "", 400),
        (b"this is text", "", 415),
        (b"this is text", "image/jpeg", 415),
        (b"[1, 2]", "", 415),
        (b"{", "", 400),
        (b"{}", "", 400),
        (b"nothing", "application/json", 400),
        (b'{"inputs": 5}', "", 400),
        (b'{"inputs": "!!!"}', "", 400),
        (b'{"inputs": "aGVsbG8gd29ybGQ="}', "", 415),
        (json.dumps({"inputs": b64(WHITE), "parameters": {"top_k": 0}}).encode(), "", 400),
        (json.dumps({"inputs": b64(WHITE), "parameters": {"top_k": "many"}}).encode(), "", 400),
        (json.dumps({"inputs": b64(WHITE), "parameters": {"top_k": True}}).encode(), "", 400),
        (json.dumps({"inputs": b64(WHITE), "parameters": {"top_k": 1.5}}).encode(), "", 400),
        (json.dumps({"inputs": b64(WHITE), "parameters": {"function_to_apply": "sigmoid"}}).encode(), "", 400),
        (b'{"inputs":' + b"[" * 100 + b"]" * 100 + b"}", "", 400),
        (b'{"inputs":' + b"[" * 100_000, "", 400),
        (b"--edge\r\n\r\nx\r\n--edge--\r\n", "multipart/form-data", 400),
        (b"--edge\r\n\r\nx\r\n--edge--\r\n", BOUNDARY, 400),
        (b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nabc', BOUNDARY, 400),
        (b'--edge\r\nContent-Disposition: form-data; filename="a"\r\n\r\ntext\r\n--edge--\r\n', BOUNDARY, 415),
        (b"--edge\r\n" + b"A" * 20_000, BOUNDARY, 400),
        (b"--edge\r\n\r\n\r\n" * 100, BOUNDARY, 400),
    ],
)
async def test_what_is_no_image_is_told_so(tmp_path: Path, body: bytes, kind: str, status: int) -> None:
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/predict", body, **({"Content_Type": kind} if kind else {}))
        assert (await node.post("/v1/predict", WHITE)).status == 200

    assert answer.status == status
    assert answer.error
    if status == 415:
        assert "image/jpeg" in answer.headers["Accept"]


async def test_unknown_models_and_versions_are_404(tmp_path: Path) -> None:
    paths = ["/v1/predict/dark", "/v1/predict/bright/2", "/v2/models/dark/infer", "/v2/models/bright/versions/2/infer"]
    paths += ["/v1/models/dark:predict", "/v1/models/bright/versions/2:predict", "/v1/models/bright/labels/x:predict"]
    async with serving(tmp_path) as node:
        assert [(await node.post(path, WHITE)).error for path in paths] == ["not-found"] * len(paths)


async def test_without_a_version_the_newest_answers(tmp_path: Path) -> None:
    async with serving(tmp_path, describe(version="9"), describe(version="10")) as node:
        newest = await node.post("/v1/predict/bright", WHITE)
        older = await node.post("/v1/predict/bright/9", WHITE)
        default = await node.post("/v1/predict", WHITE)
        status = await node.get("/v1/models/bright")
        metadata = await node.get("/v2/models/bright")

    models = [answer.headers["X-Fleetgate-Model"] for answer in (newest, older, default)]
    assert models == ["bright@10", "bright@9", "bright@10"]
    assert [each["version"] for each in status.json["model_version_status"]] == ["10", "9"]
    assert metadata.json["versions"] == ["10", "9"]


# --- Open Inference Protocol


async def test_oip_metadata_config_and_health(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        server = (await node.get("/v2")).json
        model = (await node.get("/v2/models/bright")).json
        config = (await node.get("/v2/models/bright/config")).json
        assert (await node.get("/v2/models/bright/versions/1/ready")).json == {"name": "bright", "ready": True}
        assert (await node.get("/v2/health/live")).json == {"live": True}

    assert set(server["extensions"]) >= {"binary_tensor_data", "classification"}
    assert model["inputs"] == [{"name": "picture", "datatype": "BYTES", "shape": [-1]}]
    assert model["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 8]}]
    assert (config["max_batch_size"], config["input"][0]["data_type"]) == (8, "TYPE_STRING")


@pytest.mark.parametrize("shape", [[1], [1, 1]])
async def test_one_image_as_bytes(tmp_path: Path, shape: list[int]) -> None:
    async with serving(tmp_path) as node:
        answer = (await infer(node, image_input(WHITE, shape=shape), id="mine")).json

    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("bright", "1", "mine")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [1, 8])
    assert output["data"] == pytest.approx([0.01] * 7 + [0.93])


@pytest.mark.parametrize("shape", [[3], [3, 1]])
async def test_several_images_as_bytes(tmp_path: Path, shape: list[int]) -> None:
    async with serving(tmp_path) as node:
        answer = (await infer(node, image_input(WHITE, BLACK, WHITE, shape=shape))).json

    scores = np.reshape(answer["outputs"][0]["data"], (3, 8))
    assert scores.argmax(axis=1).tolist() == [7, 0, 7]


async def test_binary_in_and_out(tmp_path: Path) -> None:
    parameters = {"binary_data_size": 4 + len(WHITE)}
    head = json.dumps(
        {
            "inputs": [{"name": "picture", "shape": [1], "datatype": "BYTES", "parameters": parameters}],
            "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
        }
    ).encode()
    body = head + struct.pack("<I", len(WHITE)) + WHITE
    async with serving(tmp_path) as node:
        answer = await node.post("/v2/models/bright/infer", body, Inference_Header_Content_Length=str(len(head)))
    length = int(answer.headers["Inference-Header-Content-Length"])

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert msgspec.json.decode(answer.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 32}
    assert np.frombuffer(answer.body[length:], "<f4").argmax() == 7


async def test_raw_request_is_the_image_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        answer = await node.post("/v2/models/bright/infer", WHITE, Inference_Header_Content_Length="0")
    length = int(answer.headers["Inference-Header-Content-Length"])

    assert np.frombuffer(answer.body[length:], "<f4").argmax() == 7


async def test_raw_request_of_numbers_fills_the_free_side(tmp_path: Path) -> None:
    rows = np.array([[255, 255], [0, 0], [128, 128]], "<f4")
    async with serving(tmp_path, NUMBERS) as node:
        answer = await node.post("/v2/models/numbers/infer", rows.tobytes(), Inference_Header_Content_Length="0")
        short = await node.post("/v2/models/numbers/infer", rows.tobytes()[:-1], Inference_Header_Content_Length="0")
    length = int(answer.headers["Inference-Header-Content-Length"])

    assert np.frombuffer(answer.body[length:], "<f4").reshape(3, 8).argmax(axis=1).tolist() == [7, 0, 4]
    assert short.status == 400


async def test_the_best_classes_are_told_when_asked(tmp_path: Path) -> None:
    asked = [{"name": "scores", "parameters": {"classification": 2}}]
    async with serving(tmp_path) as node:
        answer = (await infer(node, image_input(WHITE, BLACK), outputs=asked)).json

    output = answer["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert output["data"] == ["0.930000:7:b7", "0.010000:0:b0", "0.930000:0:b0", "0.010000:1:b1"]


async def test_the_numeric_tensor_goes_straight_to_the_graph(tmp_path: Path) -> None:
    tensor = np.full((2, SIDE, SIDE, 3), 128.0).tolist()
    described = {"name": "picture", "shape": [2, SIDE, SIDE, 3], "datatype": "FP32"}
    async with serving(tmp_path) as node:
        nested = (await infer(node, {**described, "data": tensor})).json
        flat = (await infer(node, {**described, "data": np.ravel(tensor).tolist()})).json

    assert nested == flat
    assert np.reshape(nested["outputs"][0]["data"], (2, 8)).argmax(axis=1).tolist() == [4, 4]


NUMERIC = {"name": "picture", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "other"}, 400),
        ({"shape": [2]}, 400),
        ({"shape": [1, 3], "data": [1, 2, 3]}, 400),
        ({"shape": [2, 1]}, 400),
        ({"shape": [1, 2, 1]}, 400),
        ({"shape": [0, 2], "data": []}, 400),
        ({"shape": [-1, 2]}, 400),
        ({"shape": [1 << 60, 2]}, 413),
        ({"datatype": "FP64"}, 400),
        ({"datatype": "BYTES", "data": ["a", "b"]}, 400),
        ({"datatype": "FP31"}, 400),
        ({"data": [1]}, 400),
        ({"data": ["a", "b"]}, 400),
        ({"data": [[1], [2]]}, 400),
        ({"data": None}, 400),
        ({"shape": [300, 2], "data": [0] * 600}, 413),
    ],
)
async def test_a_wrong_tensor_is_a_bad_request(tmp_path: Path, change: dict[str, object], status: int) -> None:
    async with serving(tmp_path, NUMBERS) as node:
        answer = await infer(node, {**NUMERIC, **change}, path="/v2/models/numbers/infer")
        assert (await infer(node, NUMERIC, path="/v2/models/numbers/infer")).status == 200

    assert answer.status == status
    assert answer.error


async def test_nan_is_refused_before_it_meets_others(tmp_path: Path) -> None:
    head = b'{"inputs":[{"name":"picture","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
    body = head + np.array([1, np.nan], "<f4").tobytes()
    async with serving(tmp_path, NUMBERS) as node:
        answer = await node.post("/v2/models/numbers/infer", body, Inference_Header_Content_Length=str(len(head)))

    assert answer.status == 400
    assert "NaN" in answer.json["error"]


@pytest.mark.parametrize(
    ("inputs", "more"),
    [
        ([], {}),
        ([image_input(WHITE, shape=[1, 1, 1])], {}),
        ([image_input(WHITE, shape=[2])], {}),
        ([image_input(WHITE, BLACK, shape=[1, 2])], {}),
        ([{**image_input(WHITE), "data": ["!!"]}], {}),
        ([image_input(WHITE)], {"outputs": [{"name": "nothing"}]}),
        ([image_input(WHITE), image_input(WHITE)], {}),
        ([image_input(WHITE)], {"parameters": {"timeout": -5}}),
    ],
)
async def test_a_wrong_oip_request_is_a_bad_request(tmp_path: Path, inputs: list[Any], more: dict[str, Any]) -> None:
    async with serving(tmp_path) as node:
        assert (await infer(node, *inputs, **more)).status == 400


async def test_one_bad_image_of_many_fails_the_call_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        answer = await infer(node, image_input(WHITE, WHITE[: len(WHITE) - 30], BLACK))
        assert (await infer(node, image_input(WHITE, BLACK))).status == 200

    assert answer.status == 422
    assert node.node.batcher.waiting == node.node.batcher.running == 0


async def test_more_images_than_a_request_may_have(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(rows=2)) as node:
        answer = await infer(node, image_input(WHITE, WHITE, WHITE))

    assert (answer.status, answer.json["limit_rows"]) == (413, 2)


async def test_a_model_with_several_inputs_takes_them_all(tmp_path: Path) -> None:
    base = describe("two")
    specs = (*base.inputs, TensorSpec("weight", "int32", (None,), "weight:0"))
    weight = {"name": "weight", "shape": [2], "datatype": "INT32", "data": [1, 2]}
    async with serving(tmp_path, msgspec.structs.replace(base, inputs=specs)) as node:
        path = "/v2/models/two/infer"
        both = await infer(node, image_input(WHITE, BLACK), weight, path=path)
        missing = await infer(node, image_input(WHITE, BLACK), path=path)
        uneven = await infer(node, image_input(WHITE), weight, path=path)
        rows = [{"picture": {"b64": b64(WHITE)}, "weight": 1}, {"picture": {"b64": b64(BLACK)}, "weight": 2}]
        tfs = await node.post("/v1/models/two:predict", json.dumps({"instances": rows}))

    assert np.reshape(both.json["outputs"][0]["data"], (2, 8)).argmax(axis=1).tolist() == [7, 0]
    assert (missing.status, uneven.status) == (400, 400)
    assert np.argmax(tfs.json["predictions"], axis=1).tolist() == [7, 0]


async def test_answers_are_the_same_through_every_path(tmp_path: Path) -> None:
    image = picture(200, (50, 40), "JPEG")
    async with serving(tmp_path) as node:
        plain = (await node.post("/v1/predict?top_k=8", image)).json
        oip = (await infer(node, image_input(image))).json["outputs"][0]["data"]
        tfs = (await node.post("/v1/models/bright:predict", json.dumps({"instances": [{"b64": b64(image)}]}))).json
        listed = (
            await node.post("/v1/models/bright:classify", json.dumps({"examples": [{"picture": {"b64": b64(image)}}]}))
        ).json

    scores = {each["label"]: each["score"] for each in plain}
    assert [scores[label] for label in LABELS] == oip == tfs["predictions"][0]
    assert listed["results"][0] == [[each["label"], each["score"]] for each in plain[:5]]
