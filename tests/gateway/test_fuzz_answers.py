"""Whatever a node answers, in whatever pieces: its client gets an answer that is one, and nobody else any of it.

`make fuzz` runs it for longer, with other examples each time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outcome import Outcome
from tests.fakes.gateway import Running, jpeg, running
from tests.fakes.llhttp import cases
from tests.fakes.mutation import mutated
from tests.fakes.raw_client import Reply
from tests.fakes.strict_node import CLOSE, KEEP, RESET, Script, StrictNode, strict_node, told_of, whole_answer
from wire.errors import WireError

BODY = jpeg(size=64)
BUFFER = 1024
LONG = b"x" * 3000  # longer than what is handed on whole, below
ORIGINALS = [
    whole_answer(b"{}"),
    whole_answer(LONG),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n" + LONG + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + whole_answer(b"{}"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    # Not 503: for how long a node that refused is left alone is not what this is about.
    b"HTTP/1.1 500 Busy\r\nX-Fleetgate-Refused: busy\r\nContent-Length: 4\r\n\r\nbusy",
    b"HTTP/1.1 422 No\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    b'HTTP/1.1 200 OK\r\nendpoint-load-metrics: JSON {"application_utilization":0.1,"rps_fractional":1}\r\n'
    b"Server-Timing: queue;dur=1, infer;dur=2\r\nX-Request-Id: mine\r\nDate: now\r\nContent-Length: 2\r\n\r\n{}",
    *[case.raw for case in cases("response") if case.valid],
]
# A node that keeps its connection and says no more is given up at the client's deadline, which takes its time.
ENDINGS = st.sampled_from([CLOSE] * 10 + [RESET] * 6 + [KEEP])
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: fleet\r\nContent-Length: 64\r\n"
IMPATIENT = b"X-Request-Timeout-Ms: 100\r\n"


def test_any_answer_becomes_one_that_is_and_nobody_else_gets_any_of_it():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        node = runner.run(stack.enter_async_context(strict_node()))
        mercy = {"eject_seconds": 1e-6, "eject_max_seconds": 1e-6, "probe_interval": 0.05}
        options = {"limits": {"answer_buffer_bytes": BUFFER}, "retry": {"attempts": 1}, "health": mercy}
        gateway = runner.run(stack.enter_async_context(running(node, **options)))
        try:

            @settings(max_examples=max(400, settings().max_examples))
            @given(mutated(ORIGINALS), ENDINGS)
            def examples(pieces: tuple[bytes, ...], ending: str) -> None:
                runner.run(one(gateway, node, Script(pieces, ending)))

            examples()
        finally:
            runner.run(stack.aclose())


async def one(gateway: Running, node: StrictNode, script: Script) -> None:
    said = [script]
    node.script = lambda: said.pop() if said else None
    async with gateway.client() as client:
        await client.send(HEAD, IMPATIENT if script.end == KEEP else b"", b"\r\n", BODY)
        try:
            reply = await client.reply()
        except (asyncio.IncompleteReadError, ConnectionError):
            # A long answer that broke off on its way; its length or its last chunk is missed.
            assert len(b"".join(script.pieces)) > BUFFER
            assert await client.ended() == b""
        else:
            check(reply, gateway.outcomes.last)
            await silence(node)
            if not reply.closes and len(reply.body) <= BUFFER:  # else more than it said may have broken it off
                await client.send(HEAD, b"\r\n", BODY)
                second = await client.reply()
                assert second.body == told_of(BODY), second
    await silence(node)
    after = await gateway.post(BODY)
    assert after.body == told_of(BODY), after
    assert node.wrong == []
    await gateway.settled()
    pool = gateway.gateway.client.pool
    await gateway.until(lambda: pool.open == pool.idle and len(node.open) <= pool.open + 1)


def check(reply: Reply, outcome: Outcome) -> None:
    """It is an answer, and nothing in it was meant for us."""
    assert 200 <= reply.status <= 599
    assert outcome.error != WireError.code
    assert reply.headers["x-request-id"] == outcome.request_id
    assert not {"endpoint-load-metrics", "keep-alive", "x-fleetgate-refused"} & reply.headers.keys()


async def silence(node: StrictNode) -> None:
    """Whatever the node says beyond its answer comes before the next request; who could tell it from an answer?"""
    while node.playing:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
