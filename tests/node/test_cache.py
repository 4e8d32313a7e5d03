"""Answers to inputs that repeat: the same whatever the protocol, never another version's, within bounds."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from node.cache import Cache, digest
from node.config import Cache as Options
from node.config import Control, Drain, Models
from node.work import Row
from tests.fakes.serving import picture, serving
from tests.fakes.session import POISON, artefact_of, describe

ON = Options(bytes=1 << 20)
NUMBERS = describe("numbers", images=False)


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


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4000)), max_size=200), st.integers(1, 20))
def test_it_holds_no_more_than_it_may_and_forgets_the_longest_unused(asked: list[tuple[int, int]], most: int) -> None:
    cache, engine = Cache(Options(bytes=20_000, entries=most)), object()
    last: list[int] = []
    for name, size in asked:
        row = Row((engine, ()), digest=bytes([name]))
        cache.answer(engine, [row])
        if row.outputs is None:
            row.outputs = {"out": np.zeros(size, np.uint8)}
            cache.keep(engine, [row])
        last = [each for each in last if each != name] + [name]
        kept = [digest[0] for _, digest in cache._kept]
        assert cache.bytes <= 20_000
        assert len(cache) <= most
        assert cache.bytes == sum(size for _, size in cache._kept.values())
        assert kept == [each for each in last if each in kept]
    assert cache.hits + cache.misses == len(asked)


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
