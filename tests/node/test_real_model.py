"""The program with the real model: right answers, unmodified clients, bounded memory, a clean end."""

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http
import tritonclient.http.aio
from huggingface_hub import InferenceClient
from PIL import Image

from tests.fakes.real_node import SAMPLES, RealNode, real_node

EXPECTED = json.loads((SAMPLES / "expected.json").read_text())
CAT = (SAMPLES / "cat.jpg").read_bytes()
MODEL = "efficientnet-lite0"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    with real_node(tmp_path_factory.mktemp("node"), "--pool", "heavy", "--set", "session.threads=2") as node:
        yield node


def best(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0]["label"])


@pytest.mark.parametrize("name", EXPECTED)
def test_sample_photos_get_their_labels(node: RealNode, name: str) -> None:
    assert best(requests.post(node.url("/v1/predict"), data=(SAMPLES / name).read_bytes())) == EXPECTED[name]


def test_every_path_gives_the_same_numbers(node: RealNode) -> None:
    text = base64.b64encode(CAT).decode()
    plain = requests.post(node.url("/v1/predict?top_k=1000"), data=CAT).json()
    tfs = requests.post(
        node.url(f"/v1/models/{MODEL}:predict"), data=json.dumps({"instances": [{"b64": text}]})
    ).json()["predictions"][0]
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    oip = requests.post(node.url(f"/v2/models/{MODEL}/infer"), json={"inputs": [image]}).json()["outputs"][0]["data"]
    raw = requests.post(
        node.url(f"/v2/models/{MODEL}/infer"), data=CAT, headers={"Inference-Header-Content-Length": "0"}
    )
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
def test_curl(node: RealNode, arguments: list[str]) -> None:
    done = subprocess.run(["curl", "-sS", *arguments, node.url("/v1/predict")], capture_output=True, check=True)

    assert json.loads(done.stdout)[0]["label"] == "Egyptian cat"


def test_curl_that_waits_for_100_continue(node: RealNode) -> None:
    photo = SAMPLES / "alp-12mp.jpg"
    done = subprocess.run(
        ["curl", "-sS", "-v", "--data-binary", f"@{photo}", node.url("/v1/predict")], capture_output=True, check=True
    )

    assert b"100 Continue" in done.stderr
    assert json.loads(done.stdout)[0]["label"] == "alp"


def test_requests_without_a_content_type(node: RealNode) -> None:
    with (SAMPLES / "cat.jpg").open("rb") as stream:
        assert best(requests.post(node.url("/v1/predict"), data=stream)) == "Egyptian cat"


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_the_official_triton_client(node: RealNode, compression: str | None) -> None:
    client = tritonclient.http.InferenceServerClient(node.address)
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


async def test_the_official_triton_client_for_asyncio(node: RealNode) -> None:
    async with tritonclient.http.aio.InferenceServerClient(node.address) as client:
        image = tritonclient.http.aio.InferInput("image", [1, 1], "BYTES")
        image.set_data_from_numpy(np.array([[CAT]], dtype=np.object_))
        answers = await asyncio.gather(*(client.infer(MODEL, [image]) for _ in range(4)))
        tensor = tritonclient.http.aio.InferInput("image", [1, 224, 224, 3], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 224, 224, 3), np.float32))
        grey = await client.infer(MODEL, [tensor])
        with pytest.raises(tritonclient.http.aio.InferenceServerException, match=r"\[404\] there is no model"):
            await client.infer("other", [image])

    assert {int(answer.as_numpy("probabilities").argmax()) for answer in answers} == {285}
    assert grey.as_numpy("probabilities").sum() == pytest.approx(1, abs=1e-3)


def test_hugging_faces_client(node: RealNode) -> None:
    client = InferenceClient(model=node.url("/v1/predict"))

    assert client.image_classification(str(SAMPLES / "cat.jpg"))[0].label == "Egyptian cat"
    assert client.image_classification(CAT)[0].label == "Egyptian cat"
    assert [each.label for each in client.image_classification(CAT, top_k=2)] == ["Egyptian cat", "tiger cat"]


def hundred_megapixels() -> bytes:
    cat = Image.open(BytesIO(CAT))
    stream = BytesIO()
    cat.resize((12_000, 8_400), Image.Resampling.NEAREST).save(stream, "JPEG", quality=80)
    return stream.getvalue()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc")
def test_a_photo_of_a_hundred_megapixels_takes_little_memory(node: RealNode) -> None:
    photo = hundred_megapixels()
    requests.post(node.url("/v1/predict"), data=CAT)
    Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
    before = node.resident("VmHWM")
    answer = requests.post(node.url("/v1/predict"), data=photo)
    grown = node.resident("VmHWM") - before

    assert best(answer) == "Egyptian cat"
    assert grown < 2 * len(photo) + (64 << 20)  # decoded in full it would be 400 MB


def test_bad_images_leave_the_session_unharmed(node: RealNode) -> None:
    bad = {b"": 400, b"text": 415, CAT[:4000]: 422, b"\x89PNG\r\n\x1a\n" + CAT: 415, bytes(100_000): 415}
    for body, status in bad.items():
        assert requests.post(node.url("/v1/predict"), data=body).status_code == status
    assert best(requests.post(node.url("/v1/predict"), data=CAT)) == "Egyptian cat"


def test_the_event_loop_is_not_blocked_while_the_node_works(node: RealNode) -> None:
    photo = (SAMPLES / "alp-12mp.jpg").read_bytes()
    for _ in range(20):
        requests.post(node.url("/v1/predict"), data=photo)
    page = requests.get(node.url("/metrics")).text
    looks = {
        line.split('le="')[1].split('"')[0]: float(line.split()[-1])
        for line in page.splitlines()
        if line.startswith("event_loop_lag_seconds_bucket")
    }

    assert looks["0.1"] / looks["+Inf"] > 0.9  # lenient: the machine is shared, and it was just loading TensorFlow


def test_sigterm_lets_an_upload_finish_and_exits_with_0(tmp_path: Path) -> None:
    with real_node(tmp_path, "--set", "drain.grace_seconds=0.2") as node:
        host, _, port = node.address.rpartition(":")
        with socket.create_connection((host, int(port))) as upload:
            upload.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: n\r\nContent-Length: {len(CAT)}\r\n\r\n".encode())
            upload.sendall(CAT[:1000])
            time.sleep(0.1)
            node.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert node.process.poll() is None
            upload.sendall(CAT[1000:])
            reply = upload.makefile("rb").read()
        code = node.process.wait(60)

    assert b"HTTP/1.1 200" in reply
    assert b"Egyptian cat" in reply
    assert code == 0
    assert not list((tmp_path / "registry").glob("*.json"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--artefact", "nowhere/at/all"], "manifest.json"),
        (["--artefact", "", "--set", "models.root=nowhere"], "holds no model"),
        (["--port", "{taken}"], "cannot listen on 127.0.0.1:"),
        (["--registry", "nonsense"], "registry.url"),
    ],
)
def test_what_keeps_a_node_from_starting_is_one_clear_line(tmp_path: Path, options: list[str], words: str) -> None:
    artefact = str(SAMPLES.parent / "var" / "models" / MODEL / "1")
    command = [sys.executable, "-m", "fleetgate", "node", "--artefact", artefact, "--set", "log.format=text"]
    command += ["--registry", f"dir:{tmp_path}"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command += [option.format(taken=taken.getsockname()[1]) for option in options]
        done = subprocess.run(command, cwd=SAMPLES.parent, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    told = [line for line in (done.stdout + done.stderr).splitlines() if "cannot start" in line]
    assert len(told) == 1
    assert words in told[0]
    assert "Traceback" not in done.stdout + done.stderr
