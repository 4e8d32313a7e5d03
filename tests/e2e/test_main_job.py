"""The main job as a newcomer sees it: start, ask, kill, stop."""

from __future__ import annotations

import base64
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO

import aiohttp
import pytest
from PIL import Image

from tests.fakes.fleet import ENVIRONMENT, ROOT, SAMPLES, Up
from tests.fakes.load import Load

CAT = (SAMPLES / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def fleet() -> Iterator[Up]:
    with Up("--light", "2", "--heavy", "1") as up:
        yield up


def photo(megapixels: float) -> bytes:
    """The shipped cat, blown up to so many megapixels."""
    with Image.open(SAMPLES / "cat.jpg") as cat:
        scale = (megapixels * 1e6 / (cat.width * cat.height)) ** 0.5
        big = cat.resize((round(cat.width * scale), round(cat.height * scale)), Image.Resampling.BICUBIC)
    out = BytesIO()
    big.save(out, "JPEG", quality=85)
    return out.getvalue()


def test_the_printed_curl_line_answers_with_the_right_label(fleet: Up) -> None:
    line = next(line for line in fleet.output.splitlines() if line.strip().startswith("curl "))
    answer = subprocess.run(shlex.split(line), cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    assert "cat" in json.loads(answer)[0]["label"].lower()


def test_small_and_oversized_images_are_told_apart_and_the_oversized_go_to_the_heavy_pool(fleet: Up) -> None:
    status, headers, _ = fleet.post(CAT, headers={"X-Fleetgate-Explain": "1"})
    assert status == 200
    assert json.loads(headers["x-fleetgate-explain"])["size_class"] == "light"  # it may use an idle heavy node
    status, headers, body = fleet.post(photo(100), headers={"X-Fleetgate-Explain": "1"})
    assert (status, headers["x-fleetgate-pool"]) == (200, "heavy")
    assert json.loads(headers["x-fleetgate-explain"])["size_class"] == "heavy"
    assert "cat" in json.loads(body)[0]["label"].lower()


def test_every_answer_says_where_it_was_made_and_how_long_it_took(fleet: Up) -> None:
    _, headers, _ = fleet.post(CAT, headers={"X-Request-Id": "my-own.id", "X-Fleetgate-Explain": "1"})
    assert headers["x-request-id"] == "my-own.id"
    assert {"recv", "queue", "connect", "infer", "total"} <= {
        part.split(";")[0].strip() for part in headers["server-timing"].split(",")
    }
    assert headers["x-fleetgate-attempts"] == "1"
    explanation = json.loads(headers["x-fleetgate-explain"])
    assert explanation["pixels"] == 300 * 300
    assert "endpoint-load-metrics" not in headers


def test_plain_and_open_inference_and_tensorflow_serving_agree(fleet: Up) -> None:
    plain = json.loads(fleet.post(CAT)[2])
    models = json.loads(fleet.get("/api/fleet", fleet.operators)[2])["nodes"][0]["models"]
    name = models[0].split("@")[0]
    b64 = base64.b64encode(CAT).decode()
    row = json.dumps({"instances": [{"b64": b64}]}).encode()
    served = json.loads(fleet.post(row, f"/v1/models/{name}:predict")[2])["predictions"][0]
    assert max(served) == pytest.approx(plain[0]["score"], abs=1e-6)
    nodes = json.loads(fleet.get("/api/fleet", fleet.operators)[2])["nodes"]
    for node in nodes:
        assert json.loads(fleet.post(CAT, base=f"http://{node['address']}")[2]) == plain


def test_the_page_says_that_we_can_serve(fleet: Up) -> None:
    page = fleet.get("/", fleet.operators)[2].decode()
    assert "<noscript>" in page
    document = json.loads(fleet.get("/api/fleet", fleet.operators)[2])
    assert document["verdict"]["level"] == "ok"
    assert [node["state"] for node in document["nodes"]] == ["healthy"] * 3


def test_metrics_are_served_to_operators_only(fleet: Up) -> None:
    assert b"fleetgate_http_requests_total" in fleet.get("/metrics", fleet.operators)[2]
    assert fleet.get("/metrics")[0] == 404


async def test_a_node_killed_under_load_loses_nothing_and_comes_back(fleet: Up) -> None:
    victim = fleet.pid("light-1")
    async with Load(f"{fleet.public}/v1/predict", [CAT]) as load:
        await load.until(50)
        os.kill(victim, signal.SIGKILL)
        await load.until(300)
    assert load.broken == []
    assert set(load.statuses) == {200}, load.problems
    assert len(load.answers) == 1
    fleet.read_until("light-1 is back")
    assert fleet.pid("light-1") != victim


async def test_with_the_heavy_node_dead_oversized_work_goes_to_light_nodes_and_says_so(fleet: Up) -> None:
    big = photo(20)
    os.kill(fleet.pid("heavy-1"), signal.SIGKILL)
    timeout = aiohttp.ClientTimeout(total=60)
    asked = {"X-Fleetgate-Explain": "1"}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{fleet.public}/v1/predict", data=big, headers=asked) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Fleetgate-Pool"] == "light"
        assert "heavy" in answer.headers["X-Fleetgate-Explain"]
    fleet.read_until("heavy-1 is back")


def test_a_killed_gateway_comes_back_where_it_was(fleet: Up) -> None:
    os.kill(fleet.pid("gateway"), signal.SIGKILL)
    fleet.read_until("gateway is back")
    assert "cat" in json.loads(fleet.post(CAT)[2])[0]["label"].lower()
    assert fleet.get("/api/fleet", fleet.operators)[0] == 200


def test_ctrl_c_stops_everything_and_leaves_no_process() -> None:
    with Up("--light", "1", "--heavy", "0") as fleet:
        children = [fleet.pid("light-1"), fleet.pid("gateway")]
        assert fleet.stop() == 0
    assert "All stopped." in fleet.output
    assert not any(_alive(pid) for pid in children)


def test_a_killed_supervisor_leaves_no_orphans() -> None:
    with Up("--light", "1", "--heavy", "0") as fleet:
        children = [fleet.pid("light-1"), fleet.pid("gateway")]
        fleet.process.kill()
        fleet.process.wait()
        fds = [os.pidfd_open(pid) for pid in children if _alive(pid)]
        for fd in fds:
            assert select.select([fd], [], [], 60)[0], "an orphan stayed"
            os.close(fd)


def test_a_gateway_of_several_workers_comes_up_and_leaves_with_all_of_them() -> None:
    with Up("--light", "1", "--heavy", "0", "--workers", "2") as fleet:
        workers = [worker["pid"] for worker in fleet.fleet()["workers"]]
        assert "cat" in json.loads(fleet.post(CAT)[2])[0]["label"].lower()
        assert len(workers) == 2
        assert all(map(_alive, workers))
        assert fleet.stop() == 0
    assert not any(map(_alive, workers))


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "fleetgate", "up", "--port", str(port)]
        run = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stdout.strip() == (
        f"fleetgate up: port {port} is in use by another program; choose another one with --port"
    )


def test_a_broken_artefact_is_one_clear_line(tmp_path: object) -> None:
    command = [sys.executable, "-m", "fleetgate", "up", "--port", "0", "--operator-port", "0", "--model", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stdout.startswith("fleetgate up: ")
    assert len(run.stdout.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "--port must be between 0 and 65535, not 99999"),
        (["--workers", "0"], "--workers must be at least 1, not 0"),
        (["--light", "0", "--heavy", "0"], "a fleet needs at least one node"),
        (["--var", __file__], "cannot make the packaged model"),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "fleetgate", "up", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert said in run.stdout
    assert len(run.stdout.strip().splitlines()) == 1


def test_an_unreachable_consul_is_one_clear_line() -> None:
    command = [sys.executable, "-m", "fleetgate", "up", "--port", "0", "--operator-port", "0", "--consul"]
    run = subprocess.run(
        [*command, "http://127.0.0.1:9"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "no Consul at http://127.0.0.1:9" in run.stdout


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
