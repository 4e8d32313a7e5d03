"""Answers to inputs that repeat: the same whatever the protocol, never another version's, within bounds.
Equal rows in progress are computed once, and none of them depends on another's luck.
"""

import asyncio
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from node.cache import Cache, digest
from node.config import Cache as Options
from node.config import Control, Drain, Models, Session
from node.work import Job, Row
from tests.fakes.serving import Got, Serving, limits, picture, serving, until
from tests.fakes.session import POISON, Arrays, FakeSession, Sessions, artefact_of, describe
from wire.errors import ModelFailed

ON = Options(bytes=1 << 20)
NUMBERS = describe("numbers", images=False)
ONE_BY_ONE = {"cache": ON, "session": Session(threads=1, runners=1), "limits": limits(slots=32)}


def asking(node: Serving, number: float, times: int = 1, **headers: str) -> list[asyncio.Task[Got]]:
    body = f'{{"instances":[[{number},0]]}}'
    return [asyncio.create_task(node.post("/v1/models/numbers:predict", body, **headers)) for _ in range(times)]


async def in_hand(node: Serving, rows: int) -> None:
    """Wait until so many rows are in progress, one of them with the runner, which is held."""
    await until(lambda: node.node.batcher.running == 1 and node.node.batcher.waiting == rows - 1)


async def counted(node: Serving) -> dict[str, int]:
    lines = (await node.get("/metrics")).body.decode().splitlines()
    told = dict(line.split() for line in lines if line.startswith("inference_cache_"))
    return {name: int(float(told[f"inference_cache_{name}_total"])) for name in ("hits", "coalesced", "misses")}


async def test_a_picture_that_repeats_runs_once_in_any_protocol(tmp_path: Path) -> None:
    async with serving(tmp_path, cache=ON) as node:
        before = len(node.session.batches)
        first = await node.post("/v1/predict", picture(200))
        again = await node.post("/v1/predict?top_k=1", picture(200))
        other = await node.post("/v1/predict", picture(100))
        oip = await node.post("/v2/models/bright/infer", picture(200), Inference_Header_Content_Length="0")
        metrics = (await node.get("/metrics")).body.decode()

    assert len(node.session.batches) - before == 2
    assert again.json == first.json[:1]
    assert other.json != first.json
    assert oip.status == 200
    assert "infer;dur=" in first.headers["Server-Timing"]
    assert "cache;dur=" in again.headers["Server-Timing"]
    assert "infer" not in again.headers["Server-Timing"]
    for line in ("inference_cache_hits_total 2.0", "inference_cache_misses_total 2.0", "inference_cache_rows 2.0"):
        assert line in metrics


async def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        before = len(node.session.batches)
        for _ in range(2):
            await node.post("/v1/predict", picture())
        assert len(node.session.batches) - before == 2
        assert "inference_cache" not in (await node.get("/metrics")).body.decode()


async def test_rows_of_one_request_are_kept_one_by_one(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, cache=ON) as node:
        before = len(node.session.seen)
        first = await node.post("/v1/models/numbers:predict", '{"instances":[[1,0],[250,0]]}')
        mixed = await node.post("/v1/models/numbers:predict", '{"instances":[[250,0],[90,0],[1,0]]}')

    assert sorted(set(node.session.seen[before:])) == [1, 90, 250]
    assert [mixed.json["predictions"][place] for place in (2, 0)] == first.json["predictions"]


async def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, cache=ON) as node:
        answers = [await node.post("/v1/models/numbers:predict", f'{{"instances":[[{POISON},0]]}}') for _ in range(2)]
        assert [answer.status for answer in answers] == [500, 500]
        assert len(node.node._cache) == 0


async def test_another_version_answers_for_itself_and_an_unloaded_one_frees_its_answers(tmp_path: Path) -> None:
    root = Models(root=str(tmp_path / "models"), watch_seconds=0, keep_seconds=600)
    options = {"cache": ON, "models": root, "control": Control(token="sesame"), "drain": Drain(grace_seconds=0)}
    async with serving(tmp_path, **options) as node:
        await node.post("/v1/predict", picture())
        artefact_of(tmp_path / "models", describe(version="2"))
        await node.node.versions.follow()
        answer = await node.post("/v1/predict", picture())
        assert answer.headers["X-Fleetgate-Model"] == "bright@2"
        assert "infer" in answer.headers["Server-Timing"]
        assert len(node.node._cache) == 2
        await node.node.versions.unload("bright", "1")
        assert len(node.node._cache) == 1


async def test_equal_requests_at_the_same_time_run_once(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, **ONE_BY_ONE) as node:
        before = len(node.session.seen)
        node.session.gate.clear()
        tasks = asking(node, 90, times=9)
        await in_hand(node, 9)
        tasks += asking(node, 250)
        await in_hand(node, 10)
        assert node.node.load.work_ms < 3 * 20  # those that follow cost nothing
        node.session.gate.set()
        *same, other = await asyncio.gather(*tasks)
        told = await counted(node)

    assert node.session.seen[before:] == [90, 250]
    assert len({answer.body for answer in same}) == 1
    assert other.json != same[0].json
    timings = sorted(answer.headers["Server-Timing"] for answer in same)
    assert ["infer" in timing for timing in timings].count(True) == 1
    assert ["cache" in timing for timing in timings].count(True) == 8
    assert told == {"hits": 0, "coalesced": 8, "misses": 2}


async def test_equal_rows_of_one_request_run_once(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, **ONE_BY_ONE) as node:
        before = len(node.session.seen)
        body = '{"instances":[[90,0],[1,0],[90,0],[90,0]]}'
        answer = await node.post("/v1/models/numbers:predict", body)

    assert sorted(node.session.seen[before:]) == [1, 90]
    first, other, *rest = answer.json["predictions"]
    assert rest == [first, first]
    assert other != first


async def test_when_the_one_that_waits_to_run_hangs_up_the_next_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, **ONE_BY_ONE) as node:
        before = len(node.session.seen)
        node.session.gate.clear()
        busy = asking(node, 1)
        await in_hand(node, 1)
        first = asking(node, 90)
        await in_hand(node, 2)
        rest = asking(node, 90, times=3)
        await in_hand(node, 5)
        for number, gone in enumerate((*first, rest[0], rest[1])):
            gone.cancel()
            await in_hand(node, 4 - number)
        node.session.gate.set()
        answers = await asyncio.gather(*busy, rest[2])
        told = await counted(node)

    assert [answer.status for answer in answers] == [200, 200]
    assert node.session.seen[before:] == [1, 90]
    assert told["coalesced"] == 0


async def test_when_the_one_that_runs_hangs_up_the_others_have_its_outputs(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, **ONE_BY_ONE) as node:
        before = len(node.session.seen)
        node.session.gate.clear()
        first = asking(node, 90)
        await in_hand(node, 1)
        rest = asking(node, 90, times=3)
        await in_hand(node, 4)
        first[0].cancel()
        await until(lambda: node.node.api.in_progress == 3)
        node.session.gate.set()
        answers = await asyncio.gather(*rest)
        again = await asking(node, 90)[0]

    assert [answer.status for answer in (*answers, again)] == [200] * 4
    assert node.session.seen[before:] == [90]


async def test_the_deadline_of_the_one_that_runs_binds_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, **ONE_BY_ONE) as node:
        node.node.batcher.costs.expect_run(node.node.models.default.bucket({"picture": (2,)}), {1: 1.0})
        before = len(node.session.seen)
        node.session.gate.clear()
        busy = asking(node, 1)
        await in_hand(node, 1)
        first = asking(node, 90, X_Request_Timeout_Ms="300")
        await in_hand(node, 2)
        rest = asking(node, 90, times=3)
        late = await first[0]
        await in_hand(node, 4)
        node.session.gate.set()
        answers = await asyncio.gather(*busy, *rest)

    assert late.error == "hopeless"
    assert [answer.status for answer in answers] == [200] * 4
    assert node.session.seen[before:] == [1, 90]


async def test_when_the_one_that_runs_fails_the_next_runs(tmp_path: Path) -> None:
    failed: list[float] = []

    def prepare(session: FakeSession) -> None:
        run = session.run

        def fail_first(inputs: Arrays) -> dict[str, np.ndarray]:
            outputs = run(inputs)
            if not failed and inputs["picture"][0, 0] == 90:
                failed.append(90)
                raise ModelFailed("a stroke of bad luck")
            return outputs

        session.run = fail_first

    async with serving(tmp_path, NUMBERS, sessions=Sessions(prepare), **ONE_BY_ONE) as node:
        before = len(node.session.seen)
        node.session.gate.clear()
        tasks = asking(node, 90, times=4)
        await in_hand(node, 4)
        node.session.gate.set()
        statuses = [answer.status for answer in await asyncio.gather(*tasks)]

    assert sorted(statuses) == [200, 200, 200, 500]
    assert node.session.seen[before:] == [90, 90]


async def test_what_fails_for_everybody_is_answered_to_everybody(tmp_path: Path) -> None:
    async with serving(tmp_path, NUMBERS, **ONE_BY_ONE) as node:
        node.session.gate.clear()
        tasks = asking(node, POISON, times=5)
        await in_hand(node, 5)
        tasks += asking(node, 90, times=2)
        await in_hand(node, 7)
        node.session.gate.set()
        statuses = [answer.status for answer in await asyncio.gather(*tasks)]
        assert not node.node._cache._lines

    assert statuses == [500] * 5 + [200] * 2


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4000)), max_size=200), st.integers(1, 20))
def test_it_holds_no_more_than_it_may_and_forgets_the_longest_unused(asked: list[tuple[int, int]], most: int) -> None:
    cache, engine = Cache(Options(bytes=20_000, entries=most)), object()
    last: list[int] = []
    for name, size in asked:
        row = Row((engine, ()), digest=bytes([name]))
        Job(engine, [row], 0.0, 0.0)
        cache.answer(engine, [row])
        if row.outputs is None:
            assert not cache.follows(row)
            row.outputs = {"out": np.zeros(size, np.uint8)}
            assert cache.ended(row) == []
        last = [each for each in last if each != name] + [name]
        kept = [digest[0] for _, digest in cache._kept]
        assert cache.bytes <= 20_000
        assert len(cache) <= most
        assert cache.bytes == sum(size for _, size in cache._kept.values())
        assert kept == [each for each in last if each in kept]
    assert cache.hits + cache.misses == len(asked)
    assert not cache._lines


def test_content_is_told_apart_by_type_shape_name_and_value() -> None:
    one = np.float32([[1, 2], [3, 4]])
    variants = [
        digest(b"", {"x": one}),
        digest(b"", {"y": one}),
        digest(b"", {"x": one.reshape(4)}),
        digest(b"", {"x": one.view(np.int32)}),
        digest(b"", {"x": one + 1}),
        digest(b"x", {"x": one}),
        digest(b"", {"x": np.array([b"ab", b"c"], object)}),
        digest(b"", {"x": np.array([b"a", b"bc"], object)}),
    ]
    assert len(set(variants)) == len(variants)
    assert digest(b"", {"x": one.T.copy().T}) == variants[0]


def test_no_picture_spells_a_tensor() -> None:
    one = np.zeros(2, np.float32)
    assert digest(b"\0x\0<f4\0(2,)\0" + one.tobytes(), {}) != digest(b"", {"x": one})
