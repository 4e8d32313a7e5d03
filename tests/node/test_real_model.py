"""The program with the real model: right answers, unmodified clients, bounded memory, a clean end."""

import json
import math
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
import requests
from PIL import Image

from tests.fakes.bombs import png, scan_bomb
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


def hundred_megapixels() -> bytes:
    cat = Image.open(BytesIO(CAT))
    stream = BytesIO()
    cat.resize((12_000, 8_400), Image.Resampling.NEAREST).save(stream, "JPEG", quality=80)
    return stream.getvalue()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc")
def test_a_photo_of_a_hundred_megapixels_takes_little_memory(node: RealNode) -> None:
    photo = hundred_megapixels()
    requests.post(node.url("/v1/predict"), data=CAT)
    node.forget_peak()
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


def tensor(shape: str, datatype: str = "FP32", data: str = "[1]") -> bytes:
    return f'{{"inputs":[{{"name":"image","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}'.encode()


def bad_input() -> dict[str, tuple[str, bytes, int]]:
    """Path, body and status of what a hostile client may send."""
    infer, predict, rows = f"/v2/models/{MODEL}/infer", "/v1/predict", 224 * 224 * 3
    nan = rows * struct.pack("<f", math.nan)
    told = f'"shape":[1,224,224,3],"datatype":"FP32","parameters":{{"binary_data_size":{4 * rows}}}'
    head = f'{{"inputs":[{{"name":"image",{told}}}]}}'
    return {
        "scans that cost 29 s": (predict, scan_bomb(1000, (640, 480)), 422),
        "pixels by header": (predict, png(60_000, 60_000, (b"IDAT", zlib.compress(bytes(1000)))), 413),
        "pixels by content": (predict, png(8, 8, (b"IDAT", zlib.compress(bytes(50_000_000))), (b"IEND", b"")), 200),
        "an idle text that inflates": (
            predict,
            png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))), (b"IDAT", zlib.compress(bytes(200)))),
            422,
        ),
        "no pixels": (predict, png(0, 8, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")), 422),
        "half a picture": (predict, CAT[: len(CAT) // 2], 422),
        "another magic": (predict, b"\x89PNG\r\n\x1a\n" + CAT, 415),
        "a polyglot": (predict, CAT + b"PK\x03\x04%PDF-1.7 <script>", 200),
        "JSON 100 levels deep": (infer, b'{"inputs":' * 100 + b"1" + b"}" * 100, 400),
        "arrays 100 levels deep": (infer, tensor("[1]", data="[" * 100 + "]" * 100), 400),
        "wrong rank": (infer, tensor("[1]"), 400),
        "wrong size": (infer, tensor("[1,2,2,3]", data=str([0] * 12)), 400),
        "fewer values than its shape": (infer, tensor("[1,224,224,3]"), 400),
        "wrong type": (infer, tensor("[1,224,224,3]", "INT64"), 400),
        "a shape beyond all numbers": (infer, tensor("[99999999999,99999999999,224,3]"), 413),
        "NaN": (infer, head.encode() + nan, 400),
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc")
def test_hostile_input_beside_good_requests_harms_neither_them_nor_the_node(node: RealNode) -> None:
    requests.post(node.url("/v1/predict"), data=CAT)
    before = node.resident()
    node.forget_peak()
    bad = bad_input()

    def send(name: str) -> int:
        path, body, _ = bad[name]
        headers = {"Inference-Header-Content-Length": str(body.index(b"}]}") + 3)} if name == "NaN" else {}
        return requests.post(node.url(path), data=body, headers=headers).status_code

    def ask(_: int) -> str:
        return best(requests.post(node.url("/v1/predict"), data=CAT))

    with ThreadPoolExecutor(4) as hostile, ThreadPoolExecutor(2) as friendly:
        good = friendly.map(ask, range(60))
        statuses = dict(zip([*bad] * 3, hostile.map(send, [*bad] * 3), strict=True))

        assert statuses == {name: status for name, (_, _, status) in bad.items()}
        assert set(good) == {"Egyptian cat"}
    assert node.resident("VmHWM") - before < 450 << 20  # peaks of all its processes, whenever each had its own
    assert requests.get(node.url("/v2/health/ready")).status_code == 200


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


def test_with_the_cache_on_equal_requests_at_the_same_time_run_once(tmp_path: Path) -> None:
    with real_node(tmp_path, "--set", "cache.bytes=1000000") as node, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: requests.post(node.url("/v1/predict"), data=CAT), range(24)))
        page = requests.get(node.url("/metrics")).text
    told = {
        line.split()[0]: float(line.split()[1])
        for line in page.splitlines()
        if line.startswith(("inference_cache_", "inference_batch_rows_sum"))
    }

    assert [best(answer) for answer in answers] == ["Egyptian cat"] * 24
    assert len({answer.text for answer in answers}) == 1
    assert told[f'inference_batch_rows_sum{{model="{MODEL}@1"}}'] == 1
    assert told["inference_cache_misses_total"] == 1
    assert told["inference_cache_hits_total"] + told["inference_cache_coalesced_total"] == 23


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
