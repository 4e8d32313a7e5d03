"""Worker processes: the same answers as a session gives, and what is left of a node when one of them dies or hangs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf

from loadtest.peers.process import children
from node.batch_run import Image
from node.crew import Crew, Hung, Lost, Unreplaced
from node.images import Reader
from node.member import Order
from node.session import Session
from repository.manifest import ArtefactError
from tests.fakes.artefacts import packaged, toy
from tests.fakes.real_node import SAMPLES, RealNode, fork_server, real_node
from tests.node.test_handing import counting
from wire.errors import BadRequest, Undecodable

CAT = (SAMPLES / "cat.jpg").read_bytes()
READER = Reader(50_000_000, 100, 2.0)
FOREVER = 1e12
NOTHING: dict[str, np.ndarray] = {}


def order(place: Path) -> Order:
    return Order(place, threads=1, device="cpu", max_rows=4, gently=False, reader=READER)


def image(data: bytes) -> Image:
    return Image(data, READER.look(data), NOTHING)


def doubled(number: float) -> dict[str, np.ndarray]:
    return {"x": np.array([number, 5], np.float32)}


class Counted:
    """How many workers were lost."""

    def __init__(self) -> None:
        self.lost = 0

    def __call__(self) -> None:
        self.lost += 1


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[tuple[Crew, Counted]]:
    """Two workers with a graph that counts as far as it is told, for a second at most."""
    place = toy(tmp_path / "toy" / "1", counting, tf.TensorSpec((None, 2), tf.float32, name="x"))
    counted = Counted()
    crew = Crew(order(place), 2, 60.0, 1.0, counted)
    yield crew, counted
    crew.close()


def gone(pid: int) -> bool:
    try:
        # The last of its threads: before that its files are still open.
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
    except FileNotFoundError:
        return True


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while not all(map(gone, pids)):
        assert time.monotonic() < end, pids
        time.sleep(0.01)


def test_a_crew_answers_as_a_session_does_and_one_bad_image_harms_no_other() -> None:
    session, crew = Session.load(packaged(), max_rows=4), Crew(order(packaged()), 1, 60.0, 60.0, Counted())
    try:
        steps = session.manifest.preprocessing
        assert steps is not None
        row = READER.read(CAT, READER.look(CAT), steps)
        ran = crew.answer([image(CAT), image(CAT[:3000]), {steps.input: row}, image(CAT)])
        # In the batch that it was in, as sums are added up in another order in each size.
        (name,) = (spec.name for spec in session.manifest.outputs)
        expected = session.run({steps.input: np.stack([row] * 3)})[name]

        assert isinstance(ran.rows[1], Undecodable)
        for place, which in ((0, 0), (2, 1), (3, 2)):
            assert np.array_equal(ran.rows[place][name], expected[which])
        assert [ms > 0 for ms in ran.decode_ms] == [True, True, False, True]
        assert ran.run_ms > 0
        assert (crew.buckets, crew.device) == (session.buckets, "cpu")
    finally:
        crew.close()
        session.close()


def test_when_no_image_of_a_batch_can_be_decoded_nothing_is_run() -> None:
    crew = Crew(order(packaged()), 1, 60.0, 60.0, Counted())
    try:
        ran = crew.answer([image(CAT[:3000])])
        assert isinstance(ran.rows[0], Undecodable)
        assert ran.run_ms == 0
    finally:
        crew.close()


def test_errors_of_the_model_come_through_and_the_worker_stays(counter: tuple[Crew, Counted]) -> None:
    crew, counted = counter
    pids = crew.pids
    with pytest.raises(BadRequest, match="unknown input 'y'"):
        crew.run({"y": np.zeros((1, 2), np.float32)})
    crew.probe()
    assert crew.pids == pids
    assert counted.lost == 0


def test_what_cannot_be_loaded_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    place = toy(tmp_path / "toy" / "1", counting, tf.TensorSpec((None, 2), tf.float32, name="x"))
    (place / "graph.pb").write_bytes(b"changed")
    with pytest.raises(ArtefactError):
        Crew(order(place), 2, 60.0, 1.0, Counted())
    wait_until_gone(children(fork_server(os.getpid())))


def test_a_worker_that_hangs_is_replaced_and_the_other_serves_on(counter: tuple[Crew, Counted]) -> None:
    crew, counted = counter
    before = set(crew.pids)
    with ThreadPoolExecutor(2) as pool:
        hung = pool.submit(crew.answer, [doubled(FOREVER)])
        beside = [crew.answer([doubled(number)]).rows[0]["out_0"].tolist() for number in range(20)]
        with pytest.raises(Hung):
            hung.result()

    assert beside == [[2 * number, 10] for number in range(20)]
    assert counted.lost == 1
    assert len(before & set(crew.pids)) == 1
    wait_until_gone(list(before - set(crew.pids)))
    both = [crew.answer([doubled(1)]).rows[0]["out_0"].tolist() for _ in range(4)]
    assert both == [[2, 10]] * 4
    assert len(crew.pids) == 2


def test_workers_that_die_idle_are_replaced_before_anything_is_asked_of_them(counter: tuple[Crew, Counted]) -> None:
    crew, counted = counter
    pids = crew.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(pids)
    assert [crew.answer([doubled(3)]).rows[0]["out_0"].tolist() for _ in range(3)] == [[6, 10]] * 3
    assert counted.lost == 2


def test_when_a_worker_cannot_be_replaced_its_place_is_kept_for_the_next_try(
    counter: tuple[Crew, Counted], tmp_path: Path
) -> None:
    crew, _ = counter
    graph = tmp_path / "toy" / "1" / "graph.pb"
    good = graph.read_bytes()
    graph.write_bytes(b"changed")
    pids = crew.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(pids)
    for _ in range(3):
        with pytest.raises(Unreplaced):
            crew.probe()
    graph.write_bytes(good)
    for _ in range(4):
        crew.probe()


def test_signals_to_all_processes_leave_workers_to_the_node(counter: tuple[Crew, Counted]) -> None:
    crew, counted = counter
    for number in (signal.SIGTERM, signal.SIGINT):
        for pid in crew.pids:
            os.kill(pid, number)
    crew.probe()
    crew.probe()
    assert counted.lost == 0


def test_a_worker_that_dies_in_a_batch_says_so(counter: tuple[Crew, Counted]) -> None:
    crew, counted = counter
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(crew.answer, [doubled(FOREVER)])
        time.sleep(0.2)
        for pid in crew.pids:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(Lost, match="-9"):
            asked.result()
    crew.probe()
    crew.probe()
    assert counted.lost == 2


def test_closing_ends_workers_that_hang(counter: tuple[Crew, Counted]) -> None:
    crew, counted = counter
    pids = crew.pids
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            crew.answer([doubled(FOREVER)])
        except (Lost, Hung) as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    crew.close()
    wait_until_gone(pids)
    asking.join(10)
    assert isinstance(failed[0], Lost)
    assert counted.lost == 0


def test_a_program_that_ends_with_a_crew_open_leaves_nothing_behind(tmp_path: Path) -> None:
    place = toy(tmp_path / "toy" / "1", counting, tf.TensorSpec((None, 2), tf.float32, name="x"))
    code = f"""
from pathlib import Path
import tempfile
kept = tempfile.TemporaryDirectory()
from node.crew import Crew
from node.images import Reader
from node.member import Order
crew = Crew(Order(Path({str(place)!r}), 1, "cpu", 4, False, Reader(1000, 100, 2.0)), 1, 60.0, 60.0, lambda: None)
print(*crew.pids)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    wait_until_gone([int(pid) for pid in done.stdout.split()])


def test_a_killed_program_takes_workers_with_it_that_hang(tmp_path: Path) -> None:
    place = toy(tmp_path / "toy" / "1", counting, tf.TensorSpec((None, 2), tf.float32, name="x"))
    code = f"""
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from node.crew import Crew
from node.images import Reader
from node.member import Order
crew = Crew(Order(Path({str(place)!r}), 1, "cpu", 4, False, Reader(1000, 100, 2.0)), 1, 60.0, 60.0, lambda: None)
threading.Thread(target=crew.answer, args=([dict(x=np.array([1e12, 0], np.float32))],)).start()
time.sleep(0.3)
print(*crew.pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until_gone([int(pid) for pid in done.stdout.split()])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    with real_node(tmp_path_factory.mktemp("node"), "--set", "session.threads=2") as node:
        yield node


def predict(node: RealNode) -> int:
    return requests.post(node.url("/v1/predict"), data=CAT, timeout=60).status_code


def test_not_one_request_is_lost_when_workers_are_killed_under_load(node: RealNode) -> None:
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(predict, node) for _ in range(400)]
        for _ in range(3):
            time.sleep(0.8)  # a request that was met by two of them would be taken for what kills
            os.kill(node.workers()[0], signal.SIGKILL)
        assert {each.result() for each in asked} == {200}
    metrics = requests.get(node.url("/metrics")).text
    (lost,) = [line for line in metrics.splitlines() if line.startswith("inference_workers_lost_total ")]
    assert 1 <= float(lost.split()[1]) <= 3


def test_a_node_outlives_its_fork_server(node: RealNode) -> None:
    workers = node.workers()
    server = fork_server(node.process.pid)
    os.kill(server, signal.SIGKILL)
    assert [predict(node) for _ in range(4)] == [200] * 4  # its workers do not need it
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(workers)
    assert [predict(node) for _ in range(4)] == [200] * 4
    assert len(node.workers()) == 2


def test_workers_are_forked_from_a_process_that_has_tensorflow_already(node: RealNode) -> None:
    server = fork_server(node.process.pid)
    assert "libtensorflow" in Path(f"/proc/{server}/maps").read_text()
    assert "libtensorflow" not in Path(f"/proc/{node.process.pid}/maps").read_text()
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1  # forking a process with threads is not safe


def test_a_killed_node_leaves_no_worker_behind(node: RealNode) -> None:
    pids = node.pids()
    node.process.kill()
    node.process.wait()
    wait_until_gone(pids)
