"""The open loop against real servers that are slow, rude, wrong, gone or full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.images import Photo
from loadtest.openloop.address import Address
from loadtest.openloop.generator import Generator
from loadtest.openloop.mix import Mix
from loadtest.openloop.pool import Pool
from loadtest.openloop.results import LoadRun
from loadtest.openloop.run import CannotLoad, Order, knee_of, load
from loadtest.openloop.shot import Shot
from loadtest.openloop.verdict import Kind
from tests.fakes.node import Call, FakeNode, Reply
from wire.errors import QueueFull

CAT = (Path(__file__).resolve().parents[2] / "samples" / "cat.jpg").read_bytes()
MIX = Mix({"small": [Photo(CAT, "small", 90_000, "cat")]}, {"small": 1.0}, {"plain": 1.0})
ANSWER = b'[{"label": "cat", "score": 0.9}]'


def cat(call: Call) -> Reply:
    return Reply(body=ANSWER)


def after_the_first(behave: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
    """The first contact is answered, so that a run begins."""
    calls = iter(range(1_000_000))
    return lambda call: behave(call) if next(calls) else cat(call)


async def run(node: FakeNode, rate: float = 100.0, seconds: float = 0.5, **changes: object) -> LoadRun:
    order = Order(
        target=Address("http", "127.0.0.1", node.port),
        classes={"small": 1.0},
        protocols={"plain": 1.0},
        rate=rate,
        seconds=seconds,
        **changes,  # type: ignore[arg-type]
    )
    return await load(order, MIX, lambda line: None)


async def test_every_request_is_sent_answered_and_counted_once() -> None:
    async with FakeNode(cat) as node:
        found = await run(node, poisson=False)
    total = found.total
    assert total.sent == total.of(Kind.ANSWERED) == 50
    assert len(node.calls) == 51  # and the first contact
    assert all(call.body == CAT and call.complete for call in node.calls)
    assert total.from_due.total == total.from_sent.total == found.client.late.total == 50
    assert sum(sum(moment.ended.values()) for moment in found.timeline) == 50


async def test_a_target_that_does_not_answer_slows_nobody_down() -> None:
    gate = asyncio.Event()
    async with FakeNode(after_the_first(lambda call: Reply(body=ANSWER, gate=gate))) as node:
        running = asyncio.create_task(run(node, rate=200.0, poisson=False))
        await node.wait(lambda node: len(node.calls) == 101)  # all have come, none is answered
        gate.set()
        found = await running
    assert found.total.of(Kind.ANSWERED) == found.client.connections == 100
    assert found.client.held_back == 0


async def test_waiting_for_a_connection_shows_only_when_counted_from_due() -> None:
    async with FakeNode(lambda call: Reply(body=ANSWER, delay=0.1)) as node:
        found = await run(node, rate=40.0, poisson=False, connections=1)
    assert found.total.of(Kind.ANSWERED) == 20
    assert found.client.held_back > 10
    assert found.client.connections == 1
    # 20 requests of 0.1 s each on one connection: the last one waits over a second, whoever measures well
    assert found.total.from_due.max_ms > 1000
    assert found.total.from_due.percentile(50) > 2 * found.total.from_sent.percentile(50)


async def test_refusals_failures_and_wrong_labels_are_told_apart() -> None:
    replies = iter(
        [
            Reply(status=503, body=QueueFull("full").body("x")),
            Reply(status=502, body=b"?"),
            Reply(body=b'[{"label":"dog"}]'),
        ]
    )
    async with FakeNode(after_the_first(lambda call: next(replies, Reply(body=ANSWER)))) as node:
        found = await run(node, rate=20.0, poisson=False)
    assert found.total.ended == {Kind.REFUSED: 1, Kind.FAILED: 1, Kind.WRONG: 1, Kind.ANSWERED: 7}
    assert found.total.why == {
        "refused: 503 queue-full": 1,
        "failed: status 502": 1,
        "wrong: dog instead of cat": 1,
    }
    assert found.total.bad == 2


async def test_a_connection_closed_between_requests_costs_nothing() -> None:
    async with FakeNode(cat, close_idle=True) as node:
        found = await run(node, rate=200.0)
    assert found.total.of(Kind.ANSWERED) == found.total.sent


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(body=ANSWER, cut=5, end="close"), "in the middle of the answer"),
        (Reply(body=ANSWER, cut=5, end="reset"), "in the middle of the answer"),
        (Reply(read=10), "before any answer"),
        (Reply(raw=b"SSH-2.0-OpenSSH\r\n"), "rubbish instead of HTTP"),
        (Reply(hang=True), "no answer in time"),
    ],
)
async def test_what_has_no_answer_is_lost_and_says_why(reply: Reply, why: str) -> None:
    async with FakeNode(after_the_first(lambda call: reply)) as node:
        found = await run(node, rate=10.0, poisson=False, patience_seconds=0.5)
    assert found.total.of(Kind.LOST) == found.total.sent == 5
    assert all(why in text for text in found.total.why), found.total.why


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=ANSWER, no_length=True),
        Reply(body=ANSWER, chunked=True, piece=3),
        Reply(body=ANSWER, informational=(103,)),
        Reply(body=ANSWER, early=True, end="close"),
    ],
)
async def test_every_framing_of_an_answer_is_read(reply: Reply) -> None:
    async with FakeNode(lambda call: reply) as node:
        found = await run(node, rate=20.0)
    assert found.total.of(Kind.ANSWERED) == found.total.sent > 0


async def test_a_target_that_cannot_be_measured_is_named_before_the_run() -> None:
    async with FakeNode(lambda call: Reply(status=404, body=b"no such path")) as node:
        with pytest.raises(CannotLoad, match="answers POST /v1/predict with: status 404"):
            await run(node)
        node.behave = lambda call: Reply(body=b"<html>hello</html>")
        with pytest.raises(CannotLoad, match="200 without a label"):
            await run(node)
        node.behave = lambda call: Reply(raw=b"\x00\x01\x02\x03")
        with pytest.raises(CannotLoad, match="rubbish instead of HTTP"):
            await run(node)
    with pytest.raises(CannotLoad, match="no connection: refused"):
        await run(node)


async def test_the_search_for_the_knee_stops_at_the_first_step_that_is_too_much() -> None:
    busy: set[int] = set()

    def behave(call: Call) -> Reply:
        """Bears the first contact and three steps: 5, 10 and 15 requests."""
        busy.add(len(busy))
        return Reply(body=ANSWER) if len(busy) <= 31 else Reply(status=503, body=QueueFull("full").body("x"))

    async with FakeNode(behave) as node:
        found = await run(node, rate=100.0, seconds=5.0, poisson=False, schedule="knee")
    assert found.stopped.startswith("step 4 was too much")
    assert knee_of(found) == 30.0
    assert found.phases[4]["small"].sent == 0


async def test_clients_move_to_another_address_when_theirs_takes_no_more_connections() -> None:
    async with FakeNode(cat) as first, FakeNode(cat) as second:
        ended: list[Shot] = []
        sendable = MIX.make_all()[0]
        shots = (Shot(sendable, number * 0.02, 0) for number in range(100))
        generator = Generator(shots, ended.append, 10.0)
        addresses = [Address("http", "127.0.0.1", node.port) for node in (first, second)]
        running = asyncio.create_task(generator.run(Pool(addresses, 50, generator.ended)))
        await first.wait(lambda node: len(node.calls) > 10)
        assert not second.calls
        in_progress = generator.open
        await first.stop()
        await running
    assert len(ended) == 100
    lost = [shot for shot in ended if shot.verdict is not None and shot.verdict.kind is not Kind.ANSWERED]
    assert len(lost) <= in_progress  # as it died without a word
    assert len(first.calls) + len(second.calls) >= 100 - len(lost)
