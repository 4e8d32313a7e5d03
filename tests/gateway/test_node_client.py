"""One attempt on one node, over real sockets: what is sent, and what comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.node_answer import Refused
from tests.fakes.attempts import MIB, always, client, content, pieces, settled
from tests.fakes.node import FakeNode, Headers
from tests.fakes.outgoing import Outgoing, Target, until, upload
from wire.errors import ClientGone, NodeBusy, WireError

LOOPS = ["uvloop", "asyncio"]
REFUSED: Headers = (("X-Fleetgate-Refused", "busy"),)


# What is sent


async def test_a_request_arrives_as_it_was_given_with_what_is_left_of_its_budget() -> None:
    async with FakeNode() as node, client() as one:
        request = Outgoing([b"ab", b"c"], target="/v1/predict/m?x=1", headers=[("X-A", "1")], request_id="r")
        answer = await one.attempt(Target(node.instance()), request, 5000)
        (call,) = node.calls
        assert (call.method, call.target, call.body) == ("POST", "/v1/predict/m?x=1", b"abc")
        assert call.header("Host") == node.instance().address
        assert call.header("Content-Length") == "3"
        assert 0 < int(call.header("x-envoy-expected-rq-timeout-ms")) <= 5000
        assert content(answer)["request_id"] == "r"


async def test_requests_share_a_connection_one_after_the_other() -> None:
    async with FakeNode() as node, client() as one:
        answers = [await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000) for _ in range(20)]
        assert [answer.reused for answer in answers] == [False] + [True] * 19
        assert answers[0].connect_ms > 0
        assert (node.accepted, one.pool.open, one.pool.idle) == (1, 1, 1)


async def test_requests_at_once_have_a_connection_each() -> None:
    async with FakeNode(always(delay=0.05)) as node, client() as one:
        await asyncio.gather(*[one.attempt(Target(node.instance()), Outgoing(b"x"), 5000) for _ in range(10)])
        assert (node.accepted, node.pipelined) == (10, 0)


async def test_a_body_of_unknown_size_goes_out_in_chunks() -> None:
    async with FakeNode() as node, client() as one:
        answer = await one.attempt(Target(node.instance()), upload(lambda: pieces(50), None), 5000)
        assert node.calls[0].header("Transfer-Encoding") == "chunked"
        assert content(answer)["sha256"] == node.calls[0].sha256
        assert len(node.calls[0].body) == 50 * 65536


async def test_empty_pieces_do_not_end_a_chunked_body() -> None:
    async def source() -> AsyncIterator[bytes]:
        for piece in (b"", b"a", b"", b"b", b""):
            yield piece

    async with FakeNode() as node, client() as one:
        await one.attempt(Target(node.instance()), upload(source, None), 5000)
        assert node.calls[0].body == b"ab"


async def test_a_body_still_coming_goes_out_as_it_comes() -> None:
    more = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"last"

    async with FakeNode() as node, client() as one:
        attempt = asyncio.ensure_future(one.attempt(Target(node.instance()), upload(source, 9), 5000))
        await node.wait(lambda n: len(n.calls) == 1)
        assert not node.calls[0].complete
        more.set()
        assert content(await attempt)["length"] == 9


async def test_a_body_still_coming_is_never_sent_on_a_used_connection() -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        await one.attempt(target, Outgoing(b"x"), 5000)
        answer = await one.attempt(target, upload(lambda: pieces(2), 2 * 65536), 5000)
        assert not answer.reused
        assert node.accepted == 2


async def test_a_slow_node_slows_the_upload() -> None:
    gate = asyncio.Event()
    pulled = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal pulled
        async for piece in pieces(1024):
            pulled += 1
            yield piece

    async with FakeNode(always(gate=gate)) as node, client() as one:
        attempt = asyncio.ensure_future(one.attempt(Target(node.instance()), upload(source, 64 * MIB), 20_000))
        await node.wait(lambda n: len(n.calls) == 1)
        before = -1
        while pulled != before:  # until it stands still
            before = pulled
            await asyncio.sleep(0.1)
        assert pulled < 512  # what the sockets' buffers hold
        gate.set()
        assert content(await attempt)["length"] == 64 * MIB


async def test_a_body_that_is_not_as_long_as_it_said_is_never_whole_for_the_node() -> None:
    async with FakeNode() as node, client() as one:
        with pytest.raises(WireError):
            await one.attempt(Target(node.instance()), upload(lambda: pieces(1), 65537), 5000)
        await node.wait(lambda n: n.calls[0].ended == "gone")
        assert not node.calls[0].complete


async def test_what_reading_the_body_raises_ends_the_attempt_and_the_node_sees_it() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ClientGone("it hung up")

    async with FakeNode() as node, client() as one:
        with pytest.raises(ClientGone, match="hung up"):
            await one.attempt(Target(node.instance()), upload(source, 2000), 5000)
        await node.wait(lambda n: n.calls[0].ended == "gone" and not n.open)


# What comes back


@pytest.mark.parametrize(
    ("reply", "reusable"),
    [
        ({}, True),
        ({"chunked": True, "piece": 7, "trailers": (("X-Late", "1"), ("Server-Timing", "x"))}, True),
        ({"informational": (100, 103, 100)}, True),
        ({"no_length": True}, False),
        ({"end": "close"}, False),
        ({"piece": 1}, True),
    ],
)
async def test_an_answer_arrives_whole_however_it_is_framed(reply: dict[str, object], reusable: bool) -> None:
    async with FakeNode(always(**reply)) as node, client() as one:
        for number in range(3):
            answer = await one.attempt(Target(node.instance()), Outgoing(b"x", request_id=f"r{number}"), 5000)
            assert content(answer)["request_id"] == f"r{number}"
        assert node.accepted == (1 if reusable else 3)


async def test_a_client_gets_neither_load_nor_hop_by_hop_fields_nor_what_the_node_runs_on() -> None:
    headers = (
        ("Content-Type", "text/x"),
        ("Connection", "X-Hop, keep-alive"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Date", "today"),
        ("X-Fleetgate-Node", "liar"),
        ("X-Fleetgate-Model", "m@1"),
        ("Alt-Svc", 'h2="node:443"'),
        ("X-Kept", "yes"),
    )
    async with FakeNode(always(headers=headers, body=b"{}")) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x", request_id="r"), 5000)
        assert answer.headers == [("Content-Type", "text/x"), ("X-Fleetgate-Model", "m@1"), ("X-Kept", "yes")]
        assert answer.report is not None
        assert answer.report.application_utilization == 0.1
        assert answer.timing == {"queue": 0.0, "decode": 0.5, "infer": 2.5}
        assert answer.length == 2


@pytest.mark.parametrize("status", [200, 204, 304, 400, 404, 422, 500, 503, 504])
async def test_a_status_is_passed_on_as_it_is(status: int) -> None:
    async with FakeNode(always(status=status, body=b"" if status in (204, 304) else b"!")) as node, client() as one:
        for _ in range(2):
            answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
            assert answer.status == status
        assert answer.reused


async def test_head_has_no_body_and_the_connection_goes_on() -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for method in ("HEAD", "HEAD", "GET", "HEAD", "POST"):
            answer = await one.attempt(target, Outgoing(b"", method=method), 5000)
            assert bool(answer.body) == (method != "HEAD")
            assert answer.length
        assert node.accepted == 1


async def test_a_busy_node_is_told_from_a_broken_one_and_its_load_is_known() -> None:
    async with FakeNode(always(refuse=True)) as node, client() as one:
        with pytest.raises(NodeBusy) as refused:
            await one.attempt(Target(node.instance()), Outgoing(b"x" * 8 * MIB), 5000)
        assert isinstance(refused.value, Refused)
        assert refused.value.report is not None
        await until(lambda: settled(one))


async def test_a_refusal_is_heard_though_the_node_resets_what_we_still_send() -> None:
    async with FakeNode(always(early=True, status=503, headers=REFUSED, end="close")) as node, client() as one:
        for request in (
            Outgoing(b"x" * 8 * MIB),
            upload(lambda: pieces(128), 128 * 65536),
            upload(lambda: pieces(9), None),
        ):
            with pytest.raises(NodeBusy):
                await one.attempt(Target(node.instance()), request, 5000)
        await until(lambda: settled(one))
        assert one.pool.open == 0


async def test_a_refusal_is_heard_though_the_reset_came_before_we_looked() -> None:
    answer = b"HTTP/1.1 503 No\r\nX-Fleetgate-Refused: busy\r\nContent-Length: 2\r\n\r\nhi"
    gone = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        writer.close()
        gone.set()

    async def source() -> AsyncIterator[bytes]:
        yield b"x" * 65536
        await gone.wait()
        for _ in range(100):  # no await in between: our socket is not read before it is written
            yield b"x" * 65536

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, client() as one:
        port = server.sockets[0].getsockname()[1]
        target = Target(FakeNode(port=port).instance())
        with pytest.raises(NodeBusy):
            await one.attempt(target, upload(source, 101 * 65536), 5000)


async def test_an_early_answer_ends_the_upload_and_the_connection() -> None:
    stopped = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with FakeNode(always(early=True, status=413)) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), upload(source, 1000, "r"), 5000)
        assert answer.status == 413
        await stopped.wait()
        await node.wait(lambda n: not n.open)
        assert one.pool.open == 0
