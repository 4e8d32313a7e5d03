"""The program with the real model: right answers, unmodified clients, bounded memory, a clean end."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import requests
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
