"""The batch that waits behind a run: who is in it when it begins, and what becomes of it when the run never ends."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from node.config import Control, Drain, Models, Session
from node.engine import State
from node.session import Session as RealSession
from tests.fakes.artefacts import toy
from tests.fakes.serving import Got, Serving, limits, serving, until
from tests.fakes.session import SECONDS, Arrays, FakeSession, Sessions, artefact_of, describe

NUMBERS, OTHERS = describe("numbers", images=False), describe("others", images=False)
HANGS = 66.0  # a row that begins with this number never comes back
ONE, TWO = ({"runners": count, "threads": count, "rebuild_seconds": 0.01} for count in (1, 2))


class Hanging(Sessions):
    """Sessions in which HANGS hangs, until the test is over."""

    def __init__(self, prepare: Callable[[FakeSession], None] = lambda _: None) -> None:
        super().__init__(self._hanging)
        self._over = threading.Event()
        self._besides = prepare

    def _hanging(self, session: FakeSession) -> None:
        self._besides(session)
        run = session.run

        def perhaps(inputs: Arrays) -> dict[str, np.ndarray]:
            if (next(iter(inputs.values())) == HANGS).any():
                assert self._over.wait(SECONDS)
            return run(inputs)

        session.run = perhaps

    def release(self) -> None:
        super().release()
        self._over.set()


async def tensor(node: Serving, value: float, model: str = "numbers", **headers: str) -> Got:
    body = f'{{"inputs":[{{"name":"picture","shape":[1,2],"datatype":"FP32","data":[{value},0]}}]}}'
    return await node.post(f"/v2/models/{model}/infer", body, **headers)


def seen(session: FakeSession) -> list[float]:
    """What it was asked, without what it was warmed with."""
    return sorted(filter(None, session.seen))


async def behind(node: Serving, *asked: tuple[float, str]) -> list[asyncio.Task[Got]]:
    """Requests for a row of a model each, one after the other; they are all in the node when this returns."""
    tasks, batcher = [], node.node.batcher
    here = batcher.running + batcher.waiting
    for value, model in asked:
        tasks.append(asyncio.create_task(tensor(node, value, model)))
        await until(lambda: batcher.running + batcher.waiting == here + len(tasks))
    return tasks


async def test_the_next_batch_begins_though_the_event_loop_is_busy(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=Session(**ONE)) as node:
        session, second = node.session, threading.Event()
        run = session.run

        def noted(inputs: Arrays) -> dict[str, np.ndarray]:
            answers = run(inputs)
            if session.seen[-1] == 2:
                second.set()
            return answers

        session.run = noted
        session.gate.clear()
        tasks = await behind(node, (1, "numbers"), (2, "numbers"))
        assert (node.node.batcher.running, node.node.batcher.waiting) == (1, 1)
        session.gate.set()
        assert second.wait(SECONDS)  # nothing is done on the event loop meanwhile
        answers = await asyncio.gather(*tasks)

    assert [answer.status for answer in answers] == [200, 200]


async def test_who_hangs_up_behind_a_run_is_not_run(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=Session(**ONE)) as node:
        node.session.gate.clear()
        first, second, third = await behind(node, (1, "numbers"), (2, "numbers"), (3, "numbers"))
        second.cancel()
        await until(lambda: node.node.batcher.waiting == 1)
        node.session.gate.set()
        answers = await asyncio.gather(first, third)

    assert [answer.status for answer in answers] == [200, 200]
    assert 2 not in node.session.seen
    assert 3 in node.session.seen


async def test_who_hangs_up_before_the_node_has_heard_that_it_began_harms_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=Session(**ONE)) as node:
        session, began, may_end = node.session, threading.Event(), threading.Event()
        run = session.run

        def stopped(inputs: Arrays) -> dict[str, np.ndarray]:
            if next(iter(inputs.values()))[0, 0] == 2:
                began.set()
                assert may_end.wait(SECONDS)
            return run(inputs)

        session.run = stopped
        session.gate.clear()
        first, second = await behind(node, (1, "numbers"), (2, "numbers"))
        session.gate.set()
        assert began.wait(SECONDS)
        second.cancel()
        assert (await first).status == 200
        await until(lambda: node.node.load.admitted == 0)
        assert (node.node.batcher.running, node.node.batcher.waiting) == (1, 0)
        may_end.set()
        assert (await tensor(node, 3)).status == 200

    assert (node.node.batcher.running, node.node.batcher.waiting) == (0, 0)


async def test_who_can_no_longer_be_in_time_leaves_before_its_turn_and_its_deadline(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=Session(**ONE), limits=limits(slots=16)) as node:
        (first,) = await blocked(node)
        bucket = node.node.models.default.bucket({"picture": (2,)})
        node.node.batcher.costs.expect_run(bucket, {1: 10_000.0})
        late = await tensor(node, 77, X_Request_Timeout_Ms="10050")  # 50 ms are left to begin
        node.session.gate.set()
        assert (await first).status == 200

    assert (late.status, late.error) == (503, "hopeless")
    assert 77 not in node.session.seen


async def blocked(node: Serving) -> list[asyncio.Task[Got]]:
    node.session.gate.clear()
    return await behind(node, (1, "numbers"))


async def test_another_models_batch_behind_a_hung_run_is_run(tmp_path: Path) -> None:
    sessions = Hanging()
    async with serving(tmp_path, NUMBERS, OTHERS, sessions=sessions, session=Session(**ONE, hang_seconds=1.0)) as node:
        hung, well = await behind(node, (HANGS, "numbers"), (1, "others"))
        answers = await asyncio.gather(hung, well)

    assert [answer.status for answer in answers] == [504, 200]


async def test_all_that_wait_behind_a_hung_run_are_run_by_the_session_built_anew(tmp_path: Path) -> None:
    sessions = Hanging()
    options = {"session": Session(**ONE, hang_seconds=1.0), "limits": limits(slots=16)}
    async with serving(tmp_path, NUMBERS, sessions=sessions, **options) as node:
        hung, *others = await behind(node, *((value, "numbers") for value in (HANGS, 2, 3, 4)))
        answers = await asyncio.gather(*others)
        assert (await hung).status == 504

    assert [answer.status for answer in answers] == [200] * 3
    assert len(sessions.opened) == 2
    assert seen(sessions.last) == [2, 3, 4]


async def test_who_has_no_time_for_a_new_session_is_told_so_at_once(tmp_path: Path) -> None:
    sessions = Hanging()
    options = Session(runners=1, threads=1, rebuild_seconds=SECONDS, hang_seconds=1.0)
    async with serving(
        tmp_path, NUMBERS, sessions=sessions, session=options, limits=limits(request_seconds=15)
    ) as node:
        hung, waiting = await behind(node, (HANGS, "numbers"), (2, "numbers"))
        answers = await asyncio.gather(hung, waiting)

    assert [answer.status for answer in answers] == [504, 503]
    assert answers[1].headers["Retry-After"] == "5"


async def test_when_the_session_cannot_be_rebuilt_nobody_waits_for_it(tmp_path: Path) -> None:
    tries = iter([None, RuntimeError("out of memory")])

    def fail(_: FakeSession) -> None:
        if error := next(tries, RuntimeError("still")):
            raise error

    sessions = Hanging(fail)
    async with serving(tmp_path, NUMBERS, sessions=sessions, session=Session(**ONE, hang_seconds=1.0)) as node:
        hung, waiting = await behind(node, (HANGS, "numbers"), (2, "numbers"))
        answers = await asyncio.gather(hung, waiting)

    assert [answer.status for answer in answers] == [504, 503]


async def test_a_run_beside_one_that_hangs_is_answered(tmp_path: Path) -> None:
    sessions = Hanging()
    async with serving(tmp_path, NUMBERS, sessions=sessions, session=Session(**TWO, hang_seconds=1.0)) as node:
        (hung,) = await behind(node, (HANGS, "numbers"))
        await asyncio.sleep(0.5)  # the other run has so much longer
        first = node.session
        first.gate.clear()
        (beside,) = await behind(node, (2, "numbers"))
        await until(lambda: node.node.models.default.session == 2)
        first.gate.set()
        answers = await asyncio.gather(hung, beside)

    assert [answer.status for answer in answers] == [504, 200]


async def test_a_second_run_that_hung_in_the_same_session_does_not_take_the_next_one(tmp_path: Path) -> None:
    sessions = Hanging()
    async with serving(tmp_path, NUMBERS, sessions=sessions, session=Session(**TWO, hang_seconds=0.5)) as node:
        (first,) = await behind(node, (HANGS, "numbers"))
        await asyncio.sleep(0.2)  # the second is given up later than the first, when there is a new session
        (second,) = await behind(node, (HANGS, "numbers"))
        answers = await asyncio.gather(first, second)
        await until(lambda: node.node.models.default.state is State.READY)
        assert (await tensor(node, 3)).status == 200

    assert [answer.status for answer in answers] == [504, 504]
    assert len(sessions.opened) == 2


async def test_a_batch_behind_a_run_stays_with_its_version_when_another_is_switched_to(tmp_path: Path) -> None:
    models = Models(root=str(tmp_path / "models"), watch_seconds=0)
    options = {"models": models, "control": Control(token="sesame"), "drain": Drain(grace_seconds=0.0)}
    async with serving(tmp_path, NUMBERS, session=Session(**TWO), limits=limits(slots=16), **options) as node:
        old = node.session
        old.gate.clear()
        before = await behind(node, *((value, "numbers") for value in (1, 2, 3)))
        assert (node.node.batcher.running, node.node.batcher.waiting) == (2, 1)
        artefact_of(tmp_path / "models", describe("numbers", "2", images=False))
        order = await node.post("/v2/repository/models/numbers/load", Authorization="Bearer sesame")
        assert order.status == 200
        (after,) = await behind(node, (4, "numbers"))
        old.gate.set()
        answers = await asyncio.gather(*before, after)

    assert [answer.headers["X-Fleetgate-Model"] for answer in answers] == ["numbers@1"] * 3 + ["numbers@2"]
    assert seen(old) == [1, 2, 3]
    assert seen(node.session) == [4]


def counting(rows: tf.Tensor) -> tf.Tensor:
    """Each row doubled; it takes as many turns of a loop as the largest first number says."""
    turns = tf.cast(tf.reduce_max(rows[:, 0]), tf.int64)
    (done,) = tf.while_loop(lambda turn: turn < turns, lambda turn: (turn + 1,), (tf.constant(0, tf.int64),))
    return tf.reshape(rows * 2 + tf.cast(done - turns, tf.float32), (-1, 2))


class RealSessions:
    """Opens what a node runs, and ends what hangs in the first of them."""

    def __init__(self) -> None:
        self.opened: list[RealSession] = []

    def __call__(self, artefact: Path, *, gently: bool) -> RealSession:
        self.opened.append(RealSession.load(artefact, gently=gently))
        return self.opened[-1]

    def release(self) -> None:
        self.opened[0].close()


async def test_a_run_that_hangs_in_tensorflow_takes_nothing_with_it(tmp_path: Path) -> None:
    place = toy(tmp_path / "toy" / "1", counting, tf.TensorSpec((None, 2), tf.float32, name="x"))
    sessions = RealSessions()
    options = Session(**ONE, hang_seconds=2.0)
    models = Models(artefacts=(str(place),))
    async with serving(tmp_path, sessions=sessions, session=options, models=models) as node:
        ask = partial(node.post, "/v1/models/toy:predict")
        hung = asyncio.create_task(ask('{"instances":[[1e12,0]]}'))
        await until(lambda: node.node.batcher.running)
        waiting = [asyncio.create_task(ask(f'{{"instances":[[{number},5]]}}')) for number in (1, 2)]
        await until(lambda: node.node.batcher.waiting == 2)
        answers = await asyncio.gather(*waiting)
        assert (await hung).status == 504

    assert [answer.json["predictions"] for answer in answers] == [[[2, 10]], [[4, 10]]]
    assert len(sessions.opened) == 2
