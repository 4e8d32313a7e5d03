"""What is left of a version that a running node has unloaded: nothing."""

import gc
import weakref
from pathlib import Path

import tensorflow as tf

from node.config import Drain, Models, Session
from tests.fakes.artefacts import WarmSessions, toy
from tests.fakes.serving import serving

NUMBERS = tf.TensorSpec((None, 3), tf.float32, name="x")


async def test_an_unloaded_version_is_closed_and_nothing_holds_on_to_it(tmp_path: Path) -> None:
    root, sessions = tmp_path / "root", WarmSessions()
    toy(root / "toy" / "1", lambda x: 2.0 * x, NUMBERS)
    options = {"models": Models(root=str(root), watch_seconds=0), "drain": Drain(grace_seconds=0)}
    async with serving(tmp_path, sessions=sessions, session=Session(threads=2, runners=2), **options) as node:

        async def ask(version: str) -> float:
            answer = await node.post(f"/v1/models/toy/versions/{version}:predict", '{"instances":[[1,1,1],[1,1,1]]}')
            return float(answer.json["predictions"][0][0])

        old = sessions.warm[0]()
        assert old is not None
        closing, runner = old._runner._close, weakref.ref(old._runner)
        tensorflows = weakref.ref(old._runner._session), weakref.ref(old._runner._session.graph)
        engine = weakref.ref(node.node.models.default)
        del old
        assert await ask("1") == 2
        toy(root / "toy" / "2", lambda x: 3.0 * x, NUMBERS, version="2")
        await node.node.versions.follow()
        assert [await ask(version) for version in "12"] == [2, 3]
        assert closing.alive

        await node.node.versions.unload("toy", "1")

        assert not closing.alive
        assert [each() for each in (sessions.warm[0], runner, *tensorflows)] == [None] * 4
        assert {await ask("2") for _ in range(5)} == {3}
        gc.collect()
        assert engine() is None
