"""What operators may read, over real HTTP."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from discovery.instance import Status
from gateway.dashboard.guard import POLICY
from gateway.decision import Decision
from tests.fakes.operators import SMALL_FLEET, desk, node, session
from tests.fakes.outcomes import failed, outcome

HOSTILE = "<img src=x onerror=alert(1)>"


async def messages(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, object]]]:
    """The events of a stream: id and document."""
    seen = ""
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("id: "):
            seen = line[4:]
        elif line.startswith("data: "):
            yield seen, json.loads(line[6:])


async def test_the_document_says_what_the_fleet_is() -> None:
    async with desk() as fleet, session(fleet) as client, client.get("/api/fleet") as answer:
        document = await answer.json()
    assert document["version"] == 1
    assert document["verdict"] == {
        "level": "ok",
        "text": "Serving. All 3 nodes healthy.",
        "notes": ["All 3 nodes healthy"],
    }
    assert [(row["id"], row["pool"], row["state"]) for row in document["nodes"]] == [
        ("light-1", "light", "healthy"),
        ("light-2", "light", "healthy"),
        ("heavy-1", "heavy", "healthy"),
    ]
    assert [(pool["name"], pool["usable"], pool["capacity"]) for pool in document["pools"]] == [
        ("light", 2, 4),
        ("heavy", 1, 2),
    ]
    assert document["nodes"][0]["models"] == ["lite0@1"]


async def test_the_document_follows_the_fleet() -> None:
    async with desk() as fleet, session(fleet) as client:
        fleet.dies("heavy-1")
        async with client.get("/api/fleet") as answer:
            document = await answer.json()
        assert document["verdict"]["text"].startswith("Serving. Heavy pool down: 1 of 1 node ejected")
        assert document["nodes"][2]["why"] == "probe failed: connection refused"
        fleet.dies("light-1")
        fleet.dies("light-2")
        async with client.get("/readyz") as answer:
            assert answer.status == 503
            assert (await answer.text()).startswith("Down. No node can serve: 3 ejected.")
        async with client.get("/healthz") as answer:
            assert answer.status == 200


async def test_a_lost_registry_is_told() -> None:
    async with desk() as fleet, session(fleet) as client:
        fleet.announce(SMALL_FLEET, stale="connection refused")
        async with client.get("/api/fleet") as answer:
            document = await answer.json()
    assert document["registry"]["stale"] == "connection refused"
    assert "Registry lost" in document["verdict"]["text"]
    assert document["verdict"]["level"] == "degraded"


async def test_the_page_is_drawn_by_the_server_too() -> None:
    nodes = [*SMALL_FLEET, node(HOSTILE, models=(f"{HOSTILE}@1",), status=Status.CRITICAL)]
    async with desk(nodes) as fleet, session(fleet) as client, client.get("/") as answer:
        text = await answer.text()
    assert answer.status == 200
    assert "Serving. Light pool degraded: 1 of 3 nodes critical." in text
    table = text.split("<noscript>\n<main", 1)[1]
    assert all(name in table for name in ("light-1", "light-2", "heavy-1", "critical in the registry"))
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


@pytest.mark.parametrize("path", ["/", "/api/fleet", "/static/app.js", "/metrics", "/nowhere", "/api/events"])
async def test_every_answer_is_locked_down(path: str) -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.get(path, headers={"Origin": "http://evil.example"}) as answer:
            headers = answer.headers
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name in headers if name.lower().startswith("access-control")]


async def test_nothing_in_the_page_is_inline() -> None:
    async with desk() as fleet, session(fleet) as client, client.get("/") as answer:
        text = await answer.text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:|https?://", text)


async def test_a_rebound_name_gets_nothing() -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.get("/api/fleet", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
            assert (await answer.json())["error"].startswith("This page is for this machine only")
        async with client.get("/api/fleet", headers={"Host": "localhost:1"}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/vendor", "/static//etc/passwd"]
)
async def test_only_the_files_of_the_table_exist(path: str) -> None:
    async with desk() as fleet, session(fleet) as client, client.get(path) as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"


async def test_files_are_compressed_and_revalidated() -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.get("/static/vendor/uplot.js") as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            etag = answer.headers["ETag"]
        async with client.get("/static/vendor/uplot.js", headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304


async def test_all_that_a_page_needs_is_below_60_kilobytes() -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.get("/") as answer:
            page, sizes = await answer.text(), [int(answer.headers["Content-Length"])]
        wanted, seen = set(re.findall(r'(?:src|href)="(static/[^"]+)"', page)), set()
        while wanted:
            path = wanted.pop()
            seen.add(path)
            async with client.get(f"/{path}") as answer:
                assert answer.status == 200, path
                sizes.append(int(answer.headers["Content-Length"]))
                imports = re.findall(r'from "\./([^"]+)"', await answer.text()) if path.endswith(".js") else []
            wanted |= {f"{path.rpartition('/')[0]}/{name}" for name in imports} - seen
    assert len(seen) >= 12
    assert sum(sizes) < 60_000


async def test_a_request_is_explained_by_its_id() -> None:
    async with desk() as fleet, session(fleet) as client:
        decision = Decision(
            pixels=1, image_format="png", body_bytes=1, predicted_ms=1.0, size_class="light", class_why="pixels",
            policy="earliest_finish", winner="light-2", pool="light", finish_ms=20.0,
        )  # fmt: skip
        fleet.journal.finished(outcome(request_id="a/b c", decision=decision))
        async with client.get("/api/decisions", params={"request_id": "a/b c"}) as answer:
            found = await answer.json()
        assert any("The policy earliest_finish chose light-2" in sentence for sentence in found["explanation"])
        assert found["request"]["decision"]["winner"] == "light-2"
        async with client.get("/api/decisions", params={"request_id": "unknown"}) as answer:
            assert answer.status == 404
        async with client.get("/api/decisions") as answer:
            assert answer.status == 400


async def test_the_stream_begins_with_the_whole_and_goes_on_with_what_is_new() -> None:
    async with desk() as fleet, session(fleet) as client, client.get("/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        stream = messages(answer)
        _, first = await anext(stream)
        assert first["whole"] is True
        assert [event["text"] for event in first["news"]["events"]] == ["Watching 3 nodes"]
        for request in ("one", "two"):
            fleet.journal.finished(failed(request_id=request))
            _, message = await anext(stream)
            assert message["whole"] is False
            assert [error["request_id"] for error in message["news"]["errors"]] == [request]
        async with client.get("/api/events") as late:
            _, first = await anext(messages(late))
        assert first["whole"] is True
        assert [error["request_id"] for error in first["news"]["errors"]] == ["one", "two"]


async def test_the_verdict_flips_within_two_seconds() -> None:
    async with desk() as fleet, session(fleet) as client, client.get("/api/events") as answer:
        stream = messages(answer)
        await anext(stream)
        fleet.dies("heavy-1")
        died = time.monotonic()
        async for _, message in stream:
            if message["document"]["verdict"]["level"] == "degraded":
                break
        # On an idle machine this is one beat; the margin is for a busy one.
        assert time.monotonic() - died < 5.0
        assert message["news"]["events"][-1]["text"] == "healthy → ejected"


async def test_a_page_that_slept_is_told_only_what_it_missed() -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.get("/api/events") as answer:
            seen, _ = await anext(messages(answer))
        fleet.journal.finished(failed(request_id="missed"))
        await asyncio.sleep(2.2)  # beats of the real clock go by while nobody listens
        async with client.get("/api/events", headers={"Last-Event-ID": seen}) as answer:
            _, message = await anext(messages(answer))
            assert message["whole"] is False
            assert [error["request_id"] for error in message["news"]["errors"]] == ["missed"]
        for strange in ("0.0", "x", f"{seen}9999", "☃.7", "", "." * 500):
            async with client.get("/api/events", params={"since": strange}) as answer:
                _, message = await anext(messages(answer))
                assert message["whole"] is True


async def test_a_page_that_slept_for_an_hour_is_told_everything() -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.get("/api/events") as answer:
            seen, _ = await anext(messages(answer))
        fleet.sleeps(3600)
        fleet.journal.finished(failed(request_id="missed"))
        async with client.get("/api/events", headers={"Last-Event-ID": seen}) as answer:
            later, message = await anext(messages(answer))
        assert message["whole"] is True
        assert [error["request_id"] for error in message["news"]["errors"]] == ["missed"]
        assert len(message["news"]["history"]) == 180  # fifteen minutes, however long it slept
        async with client.get("/api/events", headers={"Last-Event-ID": later}) as answer:
            _, message = await anext(messages(answer))
        assert message["whole"] is False


async def test_ten_pages_see_the_same() -> None:
    async with desk() as fleet, session(fleet) as client:
        answers = [await client.get("/api/events") for _ in range(10)]
        streams = [messages(answer) for answer in answers]
        for stream in streams:
            await anext(stream)
        second = [await anext(stream) for stream in streams]
        assert len({seen for seen, _ in second}) == 1
        for answer in answers:
            answer.close()


async def test_open_pages_do_not_hold_up_the_end() -> None:
    async with desk() as fleet, session(fleet) as client:
        began = time.monotonic()
        answer = await client.get("/api/events")
        await anext(messages(answer))
        await fleet.end()
        assert time.monotonic() - began < 10.0
        answer.close()


async def test_everything_remembered_can_be_asked_for_at_once() -> None:
    async with desk() as fleet, session(fleet) as client:
        fleet.journal.finished(outcome(request_id="good"))
        fleet.journal.finished(failed(request_id="bad"))
        async with client.get("/api/journal") as answer:
            journal = await answer.json()
    assert journal["version"] == 1
    assert [row["request_id"] for row in journal["decisions"]] == ["good", "bad"]
    assert journal["light_dots"] == [[480_000, 19.0, "light", "light"]]


async def test_metrics_tell_state_and_drop_nodes_that_left() -> None:
    async with desk() as fleet, session(fleet) as client:
        fleet.metrics.finished(outcome())
        fleet.dies("heavy-1")
        async with client.get("/metrics") as answer:
            text = await answer.text()
        assert 'fleetgate_pool_nodes{pool="heavy",state="ejected"} 1.0' in text
        assert 'fleetgate_node_up{node="light-1",pool="light"} 1.0' in text
        assert 'fleetgate_verdict{level="degraded"} 1.0' in text
        assert "process_cpu_seconds_total" in text
        fleet.announce(SMALL_FLEET[1:])
        fleet.dies("light-1")
        async with client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert 'fleetgate_node_up{node="light-1"' not in await answer.text()
