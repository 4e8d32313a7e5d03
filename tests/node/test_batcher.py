"""How a node works through its requests: order, batches, failures, deadlines, hang-ups. The session is scripted."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from node.config import Batch, Images, Session
from node.engine import State
from tests.fakes.serving import Got, Serving, limits, picture, serving, until
from tests.fakes.session import POISON, Arrays, FakeSession, Sessions, describe
from wire import load_report, timing

NUMBERS = describe("numbers", images=False)
ONE_RUNNER = Session(threads=1, runners=1, rebuild_seconds=0.01)


async def tensor(node: Serving, value: float, **headers: str) -> Got:
    body = f'{{"inputs":[{{"name":"picture","shape":[1,2],"datatype":"FP32","data":[{value},0]}}]}}'
    return await node.post("/v2/models/numbers/infer", body, **headers)


async def held(node: Serving, *values: float) -> list[asyncio.Task[Got]]:
    """Requests that all wait: the first on the runner, the others behind it."""
    node.session.gate.clear()
    tasks = []
    for value in values:
        tasks.append(asyncio.create_task(tensor(node, value)))
        await until(lambda: node.node.batcher.running + node.node.batcher.waiting == len(tasks))
    return tasks


async def test_an_idle_node_waits_for_nobody_to_make_a_batch(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER) as node:
        answers = [await tensor(node, value) for value in (1, 2, 3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert node.session.batches[-3:] == [1, 1, 1]


async def test_what_gathered_behind_a_run_shares_the_next_where_that_gains(tmp_path: Path) -> None:
    sessions = Sessions(lambda session: setattr(session, "row_seconds", 0.0))
    async with serving(tmp_path, NUMBERS, sessions=sessions, session=ONE_RUNNER, limits=limits(slots=16)) as node:
        bucket = node.node.models.default.bucket({"picture": (2,)})
        node.node.batcher.costs.expect_run(bucket, {1: 10, 2: 11, 4: 12, 8: 13})
        tasks = await held(node, *range(7))
        node.session.gate.set()
        answers = await asyncio.gather(*tasks)

    assert [answer.status for answer in answers] == [200] * 7
    assert node.session.batches[-2:] == [1, 6]


async def test_rows_are_spread_over_idle_runners_before_they_are_joined(tmp_path: Path) -> None:
    two = Session(threads=2, runners=2)
    async with serving(tmp_path, NUMBERS, session=two, limits=limits(slots=16)) as node:
        bucket = node.node.models.default.bucket({"picture": (2,)})
        node.node.batcher.costs.expect_run(bucket, {1: 10, 2: 11, 4: 12, 8: 13})
        await node.post("/v1/models/numbers:predict", '{"instances":[[1,0],[2,0],[3,0],[4,0]]}')

    assert sorted(node.session.batches[-2:]) == [2, 2]


async def test_rows_run_one_by_one_where_a_batch_gains_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER, limits=limits(slots=16)) as node:
        bucket = node.node.models.default.bucket({"picture": (2,)})
        node.node.batcher.costs.expect_run(bucket, {1: 10, 2: 200, 4: 400, 8: 800})
        tasks = await held(node, *range(5))
        node.session.gate.set()
        await asyncio.gather(*tasks)

    assert node.session.batches[-5:] == [1] * 5


async def test_one_request_of_many_rows_is_spread_over_batches_and_comes_back_in_order(tmp_path: Path) -> None:
    rows = [[float(number), 0.0] for number in range(0, 500, 25)]
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER) as node:
        whole = await node.post("/v1/models/numbers:predict", f'{{"instances":{rows}}}')
        singly = [await node.post("/v1/models/numbers:predict", f'{{"instances":[{row}]}}') for row in rows]

    assert whole.json["predictions"] == [one.json["predictions"][0] for one in singly]


async def test_a_flood_for_one_model_does_not_starve_another(tmp_path: Path) -> None:
    order: list[str] = []

    def prepare(session: FakeSession) -> None:
        run = session.run

        def noted(inputs: Arrays) -> dict[str, np.ndarray]:
            order.append(session.manifest.name)
            return run(inputs)

        session.run = noted

    models = (NUMBERS, describe("others", images=False))
    options = {"session": ONE_RUNNER, "limits": limits(slots=64), "batch": Batch(max_rows=1)}
    async with serving(tmp_path, *models, sessions=Sessions(prepare), **options) as node:
        order.clear()
        gate = node.sessions.opened[0].gate
        gate.clear()
        flood = [asyncio.create_task(tensor(node, value)) for value in range(30)]
        await until(lambda: node.node.batcher.waiting == 29)
        body = '{"inputs":[{"name":"picture","shape":[4,2],"datatype":"FP32","data":[1,0,2,0,3,0,4,0]}]}'
        late = asyncio.create_task(node.post("/v2/models/others/infer", body))
        await until(lambda: node.node.batcher.waiting == 33)
        gate.set()
        assert (await late).status == 200
        await asyncio.gather(*flood)

    assert order[0] == "numbers"
    assert order[1:9].count("others") == 4


async def test_a_flood_for_one_model_leaves_places_to_another_and_does_not_make_it_hopeless(tmp_path: Path) -> None:
    models = (NUMBERS, describe("others", images=False))
    options = {"session": ONE_RUNNER, "limits": limits(slots=2, waiting=8)}
    async with serving(tmp_path, *models, **options) as node:
        node.node.batcher.costs.expect_run(node.node.models.default.bucket({"picture": (2,)}), {1: 4_000.0})
        gate = node.sessions.opened[0].gate
        gate.clear()
        flood = [asyncio.create_task(tensor(node, value)) for value in range(7)]
        await until(lambda: node.node.load.work_ms == 28_000)
        hopeless = await tensor(node, 7, X_Request_Timeout_Ms="5000")
        flood.append(asyncio.create_task(tensor(node, 8)))
        await until(lambda: node.node.load.admitted == 8)
        refused = await tensor(node, 9)
        body = '{"inputs":[{"name":"picture","shape":[1,2],"datatype":"FP32","data":[1,0]}]}'
        path, budget = "/v2/models/others/infer", {"X_Request_Timeout_Ms": "5000"}
        late = [asyncio.create_task(node.post(path, body, **budget)) for _ in range(2)]
        await until(lambda: node.node.load.admitted == 10)
        gate.set()
        answers = await asyncio.gather(*flood, *late)

    assert (hopeless.error, refused.error) == ("hopeless", "node-busy")
    assert [answer.status for answer in answers] == [200] * 10


async def test_a_flood_of_pictures_for_one_model_does_not_keep_decoders_from_another(tmp_path: Path) -> None:
    options = {"images": Images(decoders=1), "limits": limits(slots=64), "session": ONE_RUNNER}
    async with serving(tmp_path, describe(), describe("others"), **options) as node:
        decoding = node.node.batcher._decoding
        image, ended = picture(size=(600, 600)), []

        async def ask(name: str) -> None:
            assert (await node.post(f"/v1/predict/{name}", image)).status == 200
            ended.append(name)

        flood = [asyncio.create_task(ask("bright")) for _ in range(40)]
        await until(lambda: sum(len(list(queue.rows())) for queue in decoding._small.values()) > 30)
        await ask("others")
        before = ended.count("bright")
        await asyncio.gather(*flood)

    assert before < 20


async def test_one_poisonous_input_fails_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER, limits=limits(slots=16)) as node:
        bucket = node.node.models.default.bucket({"picture": (2,)})
        node.node.batcher.costs.expect_run(bucket, {1: 10, 2: 11, 4: 12, 8: 13})
        tasks = await held(node, 1, 2, POISON, 4, 5)
        node.session.gate.set()
        answers = await asyncio.gather(*tasks)
        ready = await node.get("/v2/health/ready")

    assert [answer.status for answer in answers] == [200, 200, 500, 200, 200]
    assert answers[2].error == "model-failed"
    assert node.session.batches[-6:] == [1, 4, 1, 1, 1, 1]
    assert ready.status == 200
    assert len(node.sessions.opened) == 1


async def test_a_session_that_fails_on_everything_is_told_rebuilt_and_used(tmp_path: Path) -> None:
    may_open = threading.Event()
    may_open.set()

    def prepare(_: FakeSession) -> None:
        may_open.wait(10)

    async with serving(tmp_path, NUMBERS, sessions=Sessions(prepare), session=ONE_RUNNER) as node:
        may_open.clear()
        node.session.broken = True
        failed = await tensor(node, 1)
        unready = await node.get("/v2/health/ready")
        refused = await tensor(node, 1)
        may_open.set()
        await until(lambda: node.node.models.default.state is State.READY)
        answer = await tensor(node, 1)

    assert (failed.status, failed.headers["X-Fleetgate-Refused"]) == (503, "busy")
    assert unready.status == 503
    assert "fails on every input" in unready.json["detail"]
    assert refused.status == 503
    assert answer.status == 200
    assert len(node.sessions.opened) == 2


async def test_a_session_that_hangs_is_rebuilt_and_answers_who_waited_behind_it(tmp_path: Path) -> None:
    options = Session(threads=1, runners=1, hang_seconds=0.2, rebuild_seconds=0.01)
    async with serving(tmp_path, NUMBERS, session=options) as node:
        hung = node.session
        hung.gate.clear()
        first, second = asyncio.create_task(tensor(node, 1)), asyncio.create_task(tensor(node, 2))
        answers = await asyncio.gather(first, second)
        await until(lambda: node.node.models.default.state is State.READY)
        answer = await tensor(node, 3)
        hung.gate.set()

    assert sorted(answer.status for answer in answers) == [200, 504]
    assert answer.status == 200
    assert node.session is not hung


async def test_a_model_that_always_hangs_is_given_up_and_the_node_says_it_must_be_restarted(tmp_path: Path) -> None:
    options = Session(threads=1, runners=1, hang_seconds=0.05, rebuild_seconds=0.01)
    async with serving(tmp_path, NUMBERS, session=options) as node:
        for hung in range(1, 4):
            node.session.gate.clear()
            assert (await node.get("/v2/health/live")).status == 200
            assert (await tensor(node, 1)).status == 504
            await until(lambda hung=hung: len(node.sessions.opened) > hung or node.node.models.default.hopeless)
            await until(lambda: node.node.models.default.state is State.READY or node.node.models.default.hopeless)
        live = await node.get("/v2/health/live")

    assert live.status == 503
    assert "restart this node" in live.json["detail"]
    assert len(node.sessions.opened) == 3


async def test_rebuilding_is_tried_until_it_goes(tmp_path: Path) -> None:
    tries = iter([None, RuntimeError("out of memory"), RuntimeError("still"), None])

    def prepare(_: FakeSession) -> None:
        if error := next(tries):
            raise error

    async with serving(tmp_path, NUMBERS, sessions=Sessions(prepare), session=ONE_RUNNER) as node:
        node.session.broken = True
        assert (await tensor(node, 1)).status == 503
        await until(lambda: node.node.models.default.state is State.READY)
        assert (await tensor(node, 1)).status == 200


async def test_a_request_that_waits_too_long_is_refused_and_never_run(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER, limits=limits(slots=16)) as node:
        (first,) = await held(node, 1)
        late = await tensor(node, 77, X_Request_Timeout_Ms="60")
        node.session.gate.set()
        assert (await first).status == 200
        await tensor(node, 2)

    assert (late.status, late.error) == (503, "hopeless")
    assert 77 not in node.session.seen


async def test_one_that_has_begun_and_is_late_is_a_missed_deadline(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER) as node:
        node.session.gate.clear()
        late = await tensor(node, 1, X_Request_Timeout_Ms="60")
        node.session.gate.set()

    assert (late.status, late.error) == (504, "deadline-missed")


async def test_the_timeout_in_an_oip_request_counts(tmp_path: Path) -> None:
    body = '{"parameters":{"timeout":50000},"inputs":[{"name":"picture","shape":[1,2],"datatype":"FP32","data":[1,0]}]}'
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER) as node:
        node.session.gate.clear()
        late = await node.post("/v2/models/numbers/infer", body)
        node.session.gate.set()

    assert late.status == 504


async def test_small_pictures_pass_big_ones_in_the_queue(tmp_path: Path) -> None:
    big, small = picture(0, (3000, 3000)), picture(255)
    options = {"session": ONE_RUNNER, "images": Images(decoders=1), "limits": limits(slots=16)}
    async with serving(tmp_path, **options) as node:
        done: list[str] = []

        async def send(image: bytes, name: str) -> None:
            answer = await node.post("/v1/predict", image)
            assert answer.status == 200
            done.append(name)

        node.session.gate.clear()
        blocker = asyncio.create_task(send(big, "first big"))
        await until(lambda: node.node.batcher.running)
        bigs = [asyncio.create_task(send(big, "big")) for _ in range(3)]
        await until(lambda: node.node.batcher.waiting == 3)
        smalls = [asyncio.create_task(send(small, "small")) for _ in range(4)]
        await until(lambda: node.node.load.admitted == 8)
        node.session.gate.set()
        await asyncio.gather(blocker, *bigs, *smalls)

    assert done[-3:] == ["big"] * 3


async def test_pictures_too_big_for_the_memory_are_413_before_they_are_decoded(tmp_path: Path) -> None:
    image = picture(0, (4000, 4000))
    async with serving(tmp_path, limits=limits(max_decoded_bytes=64 << 20)) as node:
        refused = await node.post("/v1/predict", image)
        served = await node.post("/v1/predict", picture(0, (2000, 1000)))

    assert (refused.status, refused.error) == (413, "too-large")
    assert refused.json["limit_bytes"] == 60 << 20
    assert served.status == 200


async def test_decoded_bytes_held_at_once_stay_in_bounds(tmp_path: Path) -> None:
    image = picture(0, (3000, 2000))  # 6 MP: 58 MiB by our reckoning
    held_bytes: list[int] = []
    async with serving(tmp_path, limits=limits(slots=8, max_decoded_bytes=80 << 20), images=Images(decoders=4)) as node:

        async def watch() -> None:
            while True:
                held_bytes.append(node.node.batcher.room.held)
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(node.post("/v1/predict", image) for _ in range(6)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    assert [answer.status for answer in answers] == [200] * 6
    assert 0 < max(held_bytes) <= 80 << 20
    assert node.node.batcher.room.held == 0


async def test_work_is_reported_while_it_is_owed(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, session=ONE_RUNNER) as node:
        tasks = await held(node, 1, 2)
        report = load_report.decode((await node.get("/v2/health/live")).headers)
        node.session.gate.set()
        answers = await asyncio.gather(*tasks)

    assert report.inflight == 2
    assert report.work_ms > 0
    assert node.node.load.work_ms == 0
    waited = timing.decode(answers[1].headers["Server-Timing"])
    assert waited["queue"] > 0
    assert waited["decode"] == 0


@pytest.mark.parametrize("most", [1, 2])
async def test_batches_respect_their_largest_size(tmp_path: Path, most: int) -> None:
    options = {"session": ONE_RUNNER, "batch": Batch(max_rows=most), "limits": limits(slots=16)}
    async with serving(tmp_path, NUMBERS, **options) as node:
        bucket = node.node.models.default.bucket({"picture": (2,)})
        node.node.batcher.costs.expect_run(bucket, {1: 10, 2: 11, 4: 12, 8: 13})
        tasks = await held(node, *range(7))
        node.session.gate.set()
        await asyncio.gather(*tasks)

    assert max(node.session.batches[-(6 // most) :]) == most


async def test_two_models_share_the_node_and_a_sick_one_harms_only_itself(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, describe(), session=Session(threads=1, rebuild_seconds=30)) as node:
        node.sessions.opened[0].broken = True
        sick = await tensor(node, 1)
        well = await node.post("/v1/predict/bright", picture())
        again = await tensor(node, 1)

    assert (sick.status, well.status, again.status) == (503, 200, 503)
