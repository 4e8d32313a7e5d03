"""A real node's end of the gateways' streams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from node.config import Drain
from tests.fakes.granting import Stream, stream
from tests.fakes.raw_client import raw_client
from tests.fakes.serving import limits, picture, serving, until
from wire.grants import GRANT, Ask, Beat, Drop, No, Others, Yes, encode, label

IMAGE = picture()
ONE_SLOT = limits(slots=1)


async def test_each_gateway_hears_of_the_requests_of_the_others(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ONE_SLOT) as node, stream(node.address, "one") as one:
        assert await one.line() == Others(1, [], [])
        async with stream(node.address, "two") as two:
            assert await one.line() == await two.line() == Others(2, [], [])
            node.session.gate.clear()
            asked = asyncio.create_task(node.post("/v1/predict", IMAGE, **{GRANT: label("one", 0, 9000.0, True)}))
            said = await two.hear(Others)
            assert (said.gateways, said.light_ms) == (2, [])
            assert said.heavy_ms == [pytest.approx(9000.0, abs=1000.0)]
            node.session.gate.set()
            assert (await asked).status == 200
            await two.until(Others(2, [], []))
        await one.until(Others(1, [], []))


async def test_a_full_node_that_is_shared_refuses_before_the_body_and_keeps_the_place_it_promised(
    tmp_path: Path,
) -> None:
    async with (
        serving(tmp_path, limits=ONE_SLOT) as node,
        stream(node.address, "one") as one,
        stream(node.address, "two") as two,
        raw_client(node.address) as unasked,
    ):
        await one.until(Others(2, [], []))
        node.session.gate.clear()
        running = asyncio.create_task(node.post("/v1/predict", IMAGE, **{GRANT: label("two", 0, 50.0, False)}))
        await until(lambda: node.node.load.admitted == 1)
        await one.say(Ask(1, 10.0, 50.0, False))
        await two.say(Ask(1, 5.0, 50.0, False))
        assert await one.hear(Yes) == Yes(1)
        assert await two.hear(No) == No(1)
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: node\r\nContent-Length: 9999999\r\n{GRANT}: two 0 50.0 light\r\n\r\n"
        )
        await unasked.send(head)
        refused = await unasked.reply()
        assert (refused.status, refused.headers["x-fleetgate-refused"]) == (503, "busy")
        granted = asyncio.create_task(node.post("/v1/predict", IMAGE, **{GRANT: label("one", 1, 50.0, False)}))
        await until(lambda: node.node.load.admitted == 2)
        node.session.gate.set()
        assert [(await each).status for each in (running, granted)] == [200, 200]
        assert node.node.granting.credits.stays == []


async def test_a_stream_that_breaks_gives_its_grants_back(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ONE_SLOT) as node, stream(node.address, "one") as one:
        credit = node.node.granting.credits
        async with stream(node.address, "dead") as dead:
            await dead.say(Ask(1, 0.0, 50.0, False))
            assert await dead.hear(Yes) == Yes(1)
            assert credit.reserved == 1
            dead.kill()
            await until(lambda: not credit.reserved)
        async with stream(node.address, "mad") as mad:
            await mad.say(Ask(1, 0.0, 50.0, False))
            assert await mad.hear(Yes) == Yes(1)
            await mad.say(b"nonsense\n")
            await until(lambda: not credit.reserved)
            assert await mad.line() is None
        async with stream(node.address, "polite") as polite:
            await polite.say(Ask(1, 0.0, 50.0, False))
            assert await polite.hear(Yes) == Yes(1)
            await polite.say(Drop(1))
            await until(lambda: not credit.reserved)
        assert len(credit.seats) <= 2
        await one.until(Others(1, [], []))


async def test_a_beat_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, stream(node.address, "one") as one:
        await one.say(Beat())
        await one.until(Beat())


async def test_a_gateway_that_speaks_and_does_not_listen_is_let_go(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, stream(node.address, "deaf") as deaf:
        assert await deaf.line() == Others(1, [], [])
        talking = asyncio.create_task(_flood(deaf))
        await until(lambda: not node.node.granting.credits.seats)
        talking.cancel()


async def _flood(deaf: Stream) -> None:
    with suppress(ConnectionError):
        while True:
            await deaf.say(encode(Beat()) * 1000)


async def test_a_grant_nobody_uses_expires(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ONE_SLOT) as node, stream(node.address, "one") as one:
        await one.say(Ask(1, 0.0, 50.0, False))
        assert await one.hear(Yes) == Yes(1)
        await until(lambda: not node.node.granting.credits.reserved)
        assert node.node.granting.credits.answers["expired"] == 1


@pytest.mark.parametrize(
    ("gateway", "method", "status"), [("", "POST", 400), ("a b", "POST", 400), ("one", "PUT", 405)]
)
async def test_what_is_no_stream_is_refused(tmp_path: Path, gateway: str, method: str, status: int) -> None:
    async with serving(tmp_path) as node, stream(node.address, gateway, method) as line:
        assert line.status == status
        assert node.node.granting.credits.seats == []


async def test_a_node_that_leaves_ends_its_streams_and_waits_for_none(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, drain=Drain(grace_seconds=0.0, seconds=30)) as node,
        stream(node.address, "one") as one,
    ):
        assert await one.line() == Others(1, [], [])
        async with asyncio.timeout(10):
            await node.node.leave()
            assert await one.line() is None


async def test_a_label_that_is_none_counts_as_no_label(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        assert (await node.post("/v1/predict", IMAGE, **{GRANT: "nonsense"})).status == 200
