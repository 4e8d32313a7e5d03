"""Whatever a client sends, in whatever pieces: it is answered or cut off in time, and nobody else notices.

`make fuzz` runs it for longer, with other examples each time.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outcome import Outcome
from tests.fakes.gateway import Running, jpeg, running
from tests.fakes.mutation import mutated
from tests.fakes.odd_requests import CASES
from tests.fakes.raw_client import SECONDS, RawClient
from tests.fakes.strict_node import StrictNode, strict_node, told_of

BODY = jpeg(size=64)
SHORT = {"header_seconds": 0.1, "body_idle_seconds": 0.1, "keepalive_seconds": 0.1, "linger_seconds": 0.1}
ORIGINALS = sorted((b"".join(case.segments) for case in CASES.values()), key=len)
# Waiting for the gateway's deadlines takes their time, so it is not tried as often.
ENDINGS = st.sampled_from(["half close"] * 12 + ["reset"] * 3 + ["close"] * 3 + ["wait"])
FIELD = rb"[A-Za-z0-9-]+: [\t -~\x80-\xff]*\r\n"
HEAD = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z -]+\r\n((?:" + FIELD + rb")*)\r\n")
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_any_request_is_answered_or_cut_off_and_nobody_else_notices():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        node = runner.run(stack.enter_async_context(strict_node()))
        gateway = runner.run(stack.enter_async_context(running(node, limits=SHORT)))
        try:

            @settings(max_examples=max(400, settings().max_examples))
            @given(mutated(ORIGINALS), ENDINGS)
            def examples(pieces: tuple[bytes, ...], ending: str) -> None:
                runner.run(one(gateway, node, pieces, ending))

            examples()
        finally:
            runner.run(stack.aclose())


async def one(gateway: Running, node: StrictNode, pieces: tuple[bytes, ...], ending: str) -> None:
    gateway.outcomes.all.clear()
    node.bodies.clear()
    async with gateway.client() as client:
        answered = await _say(client, pieces, ending)
    if answered is not None:
        _check_answers(answered, gateway.outcomes.all)
    assert node.wrong == []
    await gateway.settled()
    await gateway.until(lambda: gateway.gateway.server.cap.open == 0)
    assert (await gateway.post(BODY)).body == told_of(BODY)
    await gateway.until(lambda: gateway.gateway.client.pool.open == gateway.gateway.client.pool.idle)


async def _say(client: RawClient, pieces: tuple[bytes, ...], ending: str) -> bytes | None:
    """Everything that was answered; None when nobody could listen."""
    for piece in pieces:
        client.writer.write(piece)
        await asyncio.sleep(0)
    if ending == "reset":
        client.reset()
        return None
    if ending == "close":
        return None
    if ending == "half close" and not client.writer.is_closing():
        client.half_close()
    async with asyncio.timeout(SECONDS):
        return await client.reader.read()


def _check_answers(raw: bytes, outcomes: list[Outcome]) -> None:
    """One well-formed answer for every request that the gateway saw, and not a byte more."""
    for outcome in outcomes:
        while raw.startswith(INTERIM):
            raw = raw.removeprefix(INTERIM)
        # 499 is for ourselves: a client whose body broke off may still listen, and is told 400.
        status = 400 if outcome.status == 499 else outcome.status
        if outcome.status == 499 and not raw:
            continue
        found = HEAD.match(raw)
        assert found is not None, raw
        assert int(found[1]) == status
        assert status not in (500, 502)
        fields = dict(line.split(": ", 1) for line in found[2].decode("latin-1").lower().splitlines())
        assert found[2].lower().count(b"content-length: ") == 1
        assert fields["x-request-id"]
        body = raw[found.end() :]
        size = 0 if outcome.method == "HEAD" else int(fields["content-length"])
        assert len(body) >= size
        raw = body[size:]
        if status == 400:
            assert fields["connection"] == "close"
    assert raw.removeprefix(INTERIM) == b""
