"""Versions come and go inside a running node: not a request is lost, and a bad one changes nothing."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tritonclient.http.aio import InferenceServerClient

from node.config import Control, Drain, Models
from repository.manifest import ArtefactError
from tests.fakes.serving import Got, Serving, picture, serving, until
from tests.fakes.session import SECONDS, FakeSession, Sessions, artefact_of, describe

WHITE = picture()
TOKEN = {"Authorization": "Bearer sesame"}
AT_ONCE = Drain(grace_seconds=0.0)


@asynccontextmanager
async def following(
    tmp_path: Path, *versions: str, keep: float = 60.0, load_seconds: float = 60.0, **options: object
) -> AsyncIterator[Serving]:
    """A node that serves the newest version in its model repository; tests look for it."""
    root = Models(root=str(tmp_path / "models"), watch_seconds=0, keep_seconds=keep, load_seconds=load_seconds)
    options = {"drain": AT_ONCE, "control": Control(token="sesame"), **options}
    manifests = [describe(version=version) for version in versions or ("1",)]
    async with serving(tmp_path, *manifests, models=root, **options) as node:
        yield node


def publish(tmp_path: Path, version: str, name: str = "bright") -> Path:
    return artefact_of(tmp_path / "models", describe(name, version))


def model_of(answer: Got) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["X-Fleetgate-Model"]


def announced(tmp_path: Path) -> list[str]:
    (entry,) = (tmp_path / "registry").glob("*.json")
    document = entry.read_bytes()
    return list(msgspec.json.decode(document)["models"])


async def index(node: Serving) -> dict[str, tuple[str, str]]:
    answer = await node.post("/v2/repository/index")
    return {f"{each['name']}@{each['version']}": (each["state"], each["reason"]) for each in answer.json}


async def test_a_new_version_answers_at_once_and_the_old_one_finishes_what_it_has(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        old = node.session
        old.gate.clear()
        begun = asyncio.create_task(node.post("/v1/predict", WHITE))
        await until(lambda: node.node.batcher.running)
        publish(tmp_path, "2")
        await node.node.versions.follow()
        after = await node.post("/v1/predict", WHITE)
        old.gate.set()
        pinned = await node.post("/v1/predict/bright/1", WHITE)

        assert [model_of(each) for each in (await begun, after, pinned)] == ["bright@1", "bright@2", "bright@1"]
        assert announced(tmp_path) == ["bright@2", "bright@1"]
        assert not old.closed


async def test_the_old_version_leaves_the_registry_before_the_node_and_closes_when_unused(tmp_path: Path) -> None:
    async with following(tmp_path, keep=0.0) as node:
        old = node.session
        old.gate.clear()
        begun = asyncio.create_task(node.post("/v1/predict/bright/1", WHITE))
        await until(lambda: node.node.batcher.running)
        publish(tmp_path, "2")
        await node.node.versions.follow()
        await until(lambda: len(node.node.models.engines) == 1)

        assert announced(tmp_path) == ["bright@2"]
        late = await node.post("/v1/predict/bright/1", WHITE)
        assert (late.status, late.headers["X-Fleetgate-Refused"]) == (503, "busy")
        assert not old.closed
        old.gate.set()
        assert model_of(await begun) == "bright@1"
        await until(lambda: old.closed)
        page = (await node.get("/metrics")).body.decode()
        assert 'model="bright@1"' not in page
        assert 'inference_model_changes_total{model="bright",outcome="unloaded"} 1.0' in page


async def test_no_request_is_lost_while_versions_come_and_go(tmp_path: Path) -> None:
    async with following(tmp_path, keep=0.02) as node:
        stop = asyncio.Event()
        answers: list[str] = []

        async def ask() -> None:
            while not stop.is_set():
                answers.append(model_of(await node.post("/v1/predict", WHITE)))

        clients = [asyncio.create_task(ask()) for _ in range(4)]
        await until(lambda: answers)
        for version in ("2", "3", "4", "5"):
            publish(tmp_path, version)
            await node.node.versions.follow()
            seen = len(answers)
            await until(lambda seen=seen: len(answers) > seen + 20)
        stop.set()
        await asyncio.gather(*clients)
        await until(lambda: len(node.node.models.engines) == 1)

    assert set(answers) == {f"bright@{version}" for version in range(1, 6)}
    assert [session.closed for session in node.sessions.opened] == [True] * 5


async def test_the_repository_is_watched(tmp_path: Path) -> None:
    root = Models(root=str(tmp_path / "models"), watch_seconds=0.01)
    async with serving(tmp_path, models=root) as node:
        publish(tmp_path, "2")
        publish(tmp_path, "1", name="dark")
        await until(lambda: len(node.node.models.engines) == 3)

        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@2"
        assert model_of(await node.post("/v1/predict/dark", WHITE)) == "dark@1"
        assert announced(tmp_path) == ["bright@2", "dark@1", "bright@1"]


async def test_an_unfinished_version_is_left_alone(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        place = publish(tmp_path, "2")
        manifest = place / "manifest.json"
        manifest.rename(tmp_path / "later")
        await node.node.versions.follow()
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"

        (tmp_path / "later").rename(manifest)
        await node.node.versions.follow()
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@2"


async def test_a_broken_version_leaves_the_old_one_serving_and_is_told_everywhere(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        place = publish(tmp_path, "2")
        (place / "graph.pb").write_bytes(b"no graph, and another one")
        await node.node.versions.follow()
        await node.node.versions.follow()

        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"
        assert (await node.get("/v2/health/ready")).status == 200
        state, why = (await index(node))["bright@2"]
        assert state == "UNAVAILABLE"
        assert "graph.pb has 25 bytes, the manifest says 8" in why
        assert "bright@2" in (page := (await node.get("/")).body.decode())
        assert why in page
        metrics = (await node.get("/metrics")).body.decode()
        assert "inference_models_failed 1.0" in metrics
        assert 'inference_model_changes_total{model="bright",outcome="failed"} 1.0' in metrics  # not tried again

        shutil.rmtree(place)
        publish(tmp_path, "2")
        await node.node.versions.follow()
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@2"
        assert "inference_models_failed 0.0" in (await node.get("/metrics")).body.decode()


async def test_a_version_repaired_while_it_fails_to_load_is_taken(tmp_path: Path) -> None:
    def repair(session: FakeSession) -> None:
        if session.manifest.version == "2" and not repaired:
            shutil.rmtree(tmp_path / "models" / "bright" / "2")
            repaired.append(publish(tmp_path, "2"))
            raise ArtefactError("it was broken")

    repaired: list[Path] = []
    async with following(tmp_path, sessions=Sessions(repair)) as node:
        publish(tmp_path, "2")
        await node.node.versions.follow()
        assert (await index(node))["bright@2"] == ("UNAVAILABLE", "it was broken")
        await node.node.versions.follow()

        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@2"


async def test_a_version_deleted_while_it_loads_is_not_told_of_for_ever(tmp_path: Path) -> None:
    def delete(session: FakeSession) -> None:
        if session.manifest.version == "2":
            shutil.rmtree(tmp_path / "models" / "bright" / "2")
            raise ArtefactError("it is gone")

    async with following(tmp_path, sessions=Sessions(delete)) as node:
        publish(tmp_path, "2")
        await node.node.versions.follow()
        assert "bright@2" in await index(node)
        await node.node.versions.follow()

        assert list(await index(node)) == ["bright@1"]
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"


async def test_failures_are_forgotten_with_what_failed_also_where_only_orders_look(tmp_path: Path) -> None:
    def fail(session: FakeSession) -> None:
        if session.manifest.version == "2" or session.manifest.name == "other":
            raise ArtefactError("it is broken")

    async with following(tmp_path, sessions=Sessions(fail)) as node:
        publish(tmp_path, "2")
        publish(tmp_path, "1", "other")
        await node.node.versions.follow()
        assert "inference_models_failed 2.0" in (await node.get("/metrics")).body.decode()

        shutil.rmtree(tmp_path / "models" / "bright" / "2")
        await node.post("/v2/repository/models/bright/load", **TOKEN)
        assert "inference_models_failed 1.0" in (await node.get("/metrics")).body.decode()
        shutil.rmtree(tmp_path / "models" / "other")
        await node.node.versions.follow()

        assert "inference_models_failed 0.0" in (await node.get("/metrics")).body.decode()


async def test_a_version_that_names_itself_otherwise_is_not_served(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        publish(tmp_path, "2").rename(tmp_path / "models" / "bright" / "3")
        await node.node.versions.follow()

        assert (await index(node))["bright@3"] == ("UNAVAILABLE", "its manifest calls it bright@2")


async def test_a_load_that_hangs_is_given_up_and_the_next_one_goes(tmp_path: Path) -> None:
    release = threading.Event()

    def prepare(session: FakeSession) -> None:
        if session.manifest.version == "2":
            release.wait(SECONDS)

    async with following(tmp_path, sessions=Sessions(prepare), load_seconds=0.2) as node:
        publish(tmp_path, "2")
        await node.node.versions.follow()
        assert (await index(node))["bright@2"] == ("UNAVAILABLE", "not warm after 0.2 s")
        publish(tmp_path, "3")
        await node.node.versions.follow()
        release.set()

        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@3"


async def test_back_to_the_version_before_takes_no_new_session(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        publish(tmp_path, "2")
        await node.node.versions.follow()
        answer = await node.post("/v2/repository/models/bright/load", b'{"parameters": {"version": 1}}', **TOKEN)
        assert answer.status == 200
        await node.node.versions.follow()  # what an operator chose stays

        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"
        assert len(node.sessions.opened) == 2
        assert announced(tmp_path) == ["bright@1", "bright@2"]

        await node.post("/v2/repository/models/bright/load", **TOKEN)
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@2"


async def test_a_version_taken_from_the_repository_is_rolled_back_but_an_empty_one_unloads_nothing(
    tmp_path: Path,
) -> None:
    async with following(tmp_path, "1", "2") as node:
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@2"
        shutil.rmtree(tmp_path / "models" / "bright" / "2")
        await node.node.versions.follow()
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"
        shutil.rmtree(tmp_path / "models")
        await node.node.versions.follow()

        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"
        assert (await node.get("/v2/health/ready")).status == 200


async def test_a_node_starts_with_the_version_before_a_broken_one(tmp_path: Path) -> None:
    def fail_second(session: FakeSession) -> None:
        if session.manifest.version == "2":
            raise ArtefactError("no operation of that name")

    async with following(tmp_path, "1", "2", sessions=Sessions(fail_second)) as node:
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"
        assert (await index(node))["bright@2"] == ("UNAVAILABLE", "no operation of that name")


async def test_tritons_own_client_loads_unloads_and_lists(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        publish(tmp_path, "1", name="dark")
        client = InferenceServerClient(node.address)
        try:
            before = await client.get_model_repository_index()
            await client.load_model("dark", headers=TOKEN)
            loaded = await client.get_model_repository_index()
            await client.unload_model("bright", headers=TOKEN)
            after = await client.get_model_repository_index()
        finally:
            await client.close()

        told = [{each["name"]: each["state"] for each in entries} for entries in (before, loaded, after)]
        assert told == [
            {"bright": "READY", "dark": "UNAVAILABLE"},
            {"bright": "READY", "dark": "READY"},
            {"bright": "UNAVAILABLE", "dark": "READY"},
        ]
        assert announced(tmp_path) == ["dark@1"]
        assert model_of(await node.post("/v1/predict", WHITE)) == "dark@1"
        assert node.sessions.opened[0].closed
        await node.node.versions.follow()
        assert "bright" not in str(announced(tmp_path))


async def test_an_order_needs_the_token_and_must_be_possible(tmp_path: Path) -> None:
    load, unload = "/v2/repository/models/bright/load", "/v2/repository/models/bright/unload"
    async with following(tmp_path) as node:
        tries = [
            await node.post(load),
            await node.post(load, Authorization="Bearer sesam"),
            await node.post("/v2/repository/models/bright/reload", **TOKEN),
            await node.post("/v2/repository/models/..%2f/load", **TOKEN),
            await node.post("/v2/repository/models/dark/load", **TOKEN),
            await node.post(load, b'{"parameters": {"version": "../1"}}', **TOKEN),
            await node.post(load, b'{"parameters": {"config": "{}"}}', **TOKEN),
            await node.post(unload, **TOKEN),
            await node.get(load, **TOKEN),
        ]
        assert [each.status for each in tries] == [401, 401, 404, 404, 404, 404, 400, 400, 405]
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@1"
    async with following(tmp_path / "closed", control=Control()) as node:
        assert (await node.post(load, **TOKEN)).status == 403
        assert (await node.post("/v2/repository/index")).status == 200


async def test_a_failed_order_says_why_and_changes_nothing(tmp_path: Path) -> None:
    def fail_second(session: FakeSession) -> None:
        if session.manifest.version == "2":
            raise RuntimeError("no memory")

    async with following(tmp_path, sessions=Sessions(fail_second)) as node:
        publish(tmp_path, "2")
        answer = await node.post("/v2/repository/models/bright/load", **TOKEN)
        publish(tmp_path, "3")
        await node.node.versions.follow()  # not held back by the order that failed

        assert answer.status == 400
        assert "bright@2 cannot be loaded: no memory" in answer.body.decode()
        assert model_of(await node.post("/v1/predict", WHITE)) == "bright@3"


async def test_only_the_version_before_is_kept_warm(tmp_path: Path) -> None:
    async with following(tmp_path) as node:
        for version in ("2", "3"):
            publish(tmp_path, version)
            await node.node.versions.follow()
        await until(lambda: node.sessions.opened[0].closed)

        assert announced(tmp_path) == ["bright@3", "bright@2"]


async def test_a_node_may_leave_while_it_loads(tmp_path: Path) -> None:
    release = threading.Event()
    begun = threading.Event()

    def prepare(session: FakeSession) -> None:
        if session.manifest.version == "2":
            begun.set()
            release.wait(SECONDS)

    async with following(tmp_path, sessions=Sessions(prepare)) as node:
        publish(tmp_path, "2")
        order = asyncio.create_task(node.post("/v2/repository/models/bright/load", **TOKEN))
        await until(begun.is_set)
        assert (await index(node))["bright@2"] == ("LOADING", "")
        await node.node.leave()
        release.set()

        assert (await order).error == "draining"


@pytest.mark.parametrize(("order", "newest"), [(("2", "10"), "10"), (("a", "2"), "2"), (("b", "a"), "b")])
async def test_the_newest_version_is_by_number_above_words(tmp_path: Path, order: tuple[str, str], newest: str) -> None:
    async with following(tmp_path, *order) as node:
        assert model_of(await node.post("/v1/predict", WHITE)) == f"bright@{newest}"
