"""One attempt on one node, over real sockets: what is sent, what comes back, and which error each failure is."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.node_answer import Answer, Refused
from gateway.node_client import NodeClient
from tests.fakes.node import Call, FakeNode, Headers, Reply
from tests.fakes.node_process import node_process
from tests.fakes.outgoing import Outgoing, Target, until, upload
from wire.errors import ClientGone, DeadlineMissed, NodeBusy, NodeGarbage, NodeUnreachable, WireError

LOOPS = ["uvloop", "asyncio"]
MIB = 1 << 20
REFUSED: Headers = (("X-Fleetgate-Refused", "busy"),)


@asynccontextmanager
async def client(**options: float) -> AsyncIterator[NodeClient]:
    one = NodeClient(2.0, MIB, **options)
    try:
        yield one
    finally:
        await one.close()
        assert one.pool.open == 0


def always(**reply: object) -> Callable[[Call], Reply]:
    return lambda call: Reply(**reply)


def content(answer: Answer) -> dict[str, object]:
    return json.loads(b"".join(answer.body))


async def pieces(count: int, size: int = 65536) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


async def whole(answer: Answer) -> bytes:
    parts = list(answer.body)
    if answer.rest is not None:
        parts += [piece async for piece in answer.rest]
    return b"".join(parts)


def settled(one: NodeClient) -> bool:
    """Every connection is closed or free again: nothing leaked."""
    return one.pool.open == one.pool.idle


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


# Long answers


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_answer_is_handed_on_while_it_comes(chunked: bool) -> None:
    body = bytes(range(256)) * 20_000
    async with FakeNode(always(body=body, chunked=chunked)) as node, client() as one:
        for _ in range(2):
            answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
            assert answer.rest is not None
            assert answer.length == (None if chunked else len(body))
            assert await whole(answer) == body
        assert (one.pool.open, one.pool.idle) == (1, 1)


async def test_a_long_answer_waits_for_its_reader() -> None:
    sent = 0

    def body(call: Call) -> bytes:
        return b"x" * 64 * MIB

    class Counting(FakeNode):
        async def _answer(self, call: Call, reply: Reply, writer: asyncio.StreamWriter) -> None:
            await super()._answer(call, reply, writer)
            nonlocal sent
            sent += 1

    async with Counting(always(body=body)) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 20_000)
        await asyncio.sleep(0.2)
        assert sent == 0  # the node could not yet send it all
        assert sum(map(len, answer.body)) < 3 * MIB
        assert len(await whole(answer)) == 64 * MIB


@pytest.mark.parametrize("how", ["discard", "forget", "cancel"])
async def test_a_long_answer_that_nobody_reads_to_its_end_closes_its_connection(how: str) -> None:
    async with FakeNode(always(body=b"x" * 32 * MIB)) as node, client() as one:
        answer: Answer | None = await one.attempt(Target(node.instance()), Outgoing(b"x"), 20_000)
        assert answer is not None
        assert answer.rest is not None
        await anext(aiter(answer.rest))
        if how == "discard":
            answer.discard()
        elif how == "cancel":
            reading = asyncio.ensure_future(whole(answer))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        answer = reading = None  # the last references
        await node.wait(lambda n: not n.open)
        await until(lambda: settled(one))
        assert one.pool.open == 0


async def test_a_long_answer_that_breaks_off_is_garbage_to_its_reader() -> None:
    async with FakeNode(always(body=b"x" * 8 * MIB, cut=3 * MIB, end="close")) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        with pytest.raises(NodeGarbage):
            await whole(answer)


async def test_a_node_that_stops_in_a_long_answer_is_given_up() -> None:
    behave = always(body=b"x" * 2 * MIB, piece=MIB + 200_000, piece_delay=60.0)
    async with FakeNode(behave) as node, client(stall_seconds=0.1) as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        with pytest.raises(DeadlineMissed):
            await whole(answer)
        await until(lambda: settled(one))


async def test_a_deadline_is_over_once_an_answer_has_begun_to_flow() -> None:
    async with FakeNode(always(body=b"x" * 3 * MIB, piece=MIB + 1000, piece_delay=0.2)) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 300)
        await asyncio.sleep(0.3)
        assert len(await whole(answer)) == 3 * MIB


# Failures


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"raw": b"<html>", "end": "close"}, NodeGarbage),
        ({"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}, NodeGarbage),
        ({"says": 3}, NodeGarbage),
        ({"says": 3000, "end": "close"}, NodeGarbage),
        ({"cut": 5, "end": "close"}, NodeGarbage),
        ({"cut": 5, "end": "reset"}, NodeGarbage),
        ({"chunked": True, "cut": 5, "end": "close"}, NodeGarbage),
        ({"raw": b"HTTP/1.1 200 OK\r\nContent-Le", "end": "close"}, NodeGarbage),
        ({"raw": b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"}, NodeGarbage),
        ({"raw": b"", "end": "close"}, NodeUnreachable),
        ({"raw": b"", "end": "reset"}, NodeUnreachable),
        ({"read": 100}, NodeUnreachable),
        ({"hang": True}, DeadlineMissed),
        ({"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"}, DeadlineMissed),
        ({"raw": b"HTTP/1.1 100 Continue\r\n\r\n"}, DeadlineMissed),
    ],
)
async def test_a_failure_is_its_error_and_the_next_request_knows_nothing_of_it(
    reply: dict[str, object], error: type[WireError]
) -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for bad in (False, True, False, True, False):
            node.behave = always(**reply) if bad else always()
            for request in (Outgoing(b"x" * 100_000, request_id="r"), upload(lambda: pieces(2), None, "r")):
                if bad:
                    with pytest.raises(error):
                        await one.attempt(target, request, 300)
                else:
                    assert content(await one.attempt(target, request, 5000))["request_id"] == "r"
        await node.wait(lambda n: len(n.open) == one.pool.open)
        await until(lambda: settled(one))


async def test_a_node_that_is_not_there_cannot_be_reached() -> None:
    async with FakeNode() as node:
        target = Target(node.instance())
    async with client() as one:
        with pytest.raises(NodeUnreachable, match="refused"):
            await one.attempt(target, Outgoing(b"x"), 5000)


async def test_a_node_that_resets_every_connection_cannot_be_reached() -> None:
    async with FakeNode(reset_at_accept=True) as node, client() as one:
        with pytest.raises(NodeUnreachable):
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)


async def test_no_time_left_is_not_asked_with() -> None:
    async with FakeNode() as node, client() as one:
        for _ in range(2):
            with pytest.raises(NodeUnreachable):
                await one.attempt(Target(node.instance()), Outgoing(b"x"), -1)
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        assert len(node.calls) == 2


async def test_connections_closed_while_idle_fail_no_request() -> None:
    async with FakeNode(close_idle=True) as node, client() as one:
        target = Target(node.instance())

        async def post(worker: int) -> None:
            for number in range(100):
                request = Outgoing(b"x", request_id=f"{worker}-{number}")
                assert content(await one.attempt(target, request, 5000))["request_id"] == request.request_id

        await asyncio.gather(*map(post, range(10)))
        assert len(node.count) == 1000
        assert set(node.count.values()) == {1}


async def test_an_answer_that_nobody_asked_for_ends_the_connection_and_reaches_nobody() -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for _ in range(5):
            await one.attempt(target, Outgoing(b"x", request_id="a"), 5000)
            (writer,) = node.open
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            await until(lambda: not one.pool.open)
            answer = await one.attempt(target, Outgoing(b"x", request_id="b"), 5000)
            assert content(answer)["request_id"] == "b"
        assert node.accepted == 6


async def test_an_answer_to_another_request_is_garbage() -> None:
    def shifted(call: Call) -> Reply:
        return Reply(echo_id=False, headers=(("X-Request-Id", "somebody-else"),))

    async with FakeNode(shifted) as node, client() as one:
        with pytest.raises(NodeGarbage):
            await one.attempt(Target(node.instance()), Outgoing(b"x", request_id="mine"), 5000)
        assert one.pool.idle == 0
        await one.attempt(Target(node.instance(protocol="oip")), Outgoing(b"x", request_id="mine"), 5000)


async def test_a_missed_deadline_is_seen_by_the_node() -> None:
    async with FakeNode(always(hang=True)) as node, client() as one:
        with pytest.raises(DeadlineMissed):
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 50)
        await node.wait(lambda n: n.calls[0].ended == "gone")


async def test_a_cancelled_attempt_is_seen_by_the_node() -> None:
    async with FakeNode(always(hang=True)) as node, client() as one:
        for request in (Outgoing(b"x"), upload(lambda: pieces(2), None)):
            attempt = asyncio.ensure_future(one.attempt(Target(node.instance()), request, 5000))
            await node.wait(lambda n: bool(n.calls) and n.calls[-1].complete)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await node.wait(lambda n: n.calls[-1].ended == "gone")
            node.calls.clear()


async def test_a_cancel_in_the_moment_of_the_answer_harms_no_other_request() -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for number in range(50):
            attempt = asyncio.ensure_future(one.attempt(target, Outgoing(b"x"), 5000))
            await until(lambda: node.calls and node.calls[-1].ended and one.pool.idle)
            node.calls.clear()
            attempt.cancel()
            answer = await one.attempt(target, Outgoing(b"x", request_id=f"n{number}"), 5000)
            assert content(answer)["request_id"] == f"n{number}"
            await asyncio.wait([attempt])
        await until(lambda: settled(one))


async def test_a_node_killed_while_it_works_is_an_error_at_once() -> None:
    async with node_process("--latency", "30") as process, client() as one:
        attempt = asyncio.ensure_future(one.attempt(Target(process.instance()), Outgoing(b"x"), 20_000))
        await until(lambda: one.pool.open)
        process.kill()
        with pytest.raises(NodeUnreachable):
            await attempt
        with pytest.raises(NodeUnreachable):
            await one.attempt(Target(process.instance()), Outgoing(b"x"), 20_000)


async def test_closing_ends_what_is_under_way() -> None:
    async with FakeNode(always(hang=True)) as node:
        async with client() as one:
            attempts = [
                asyncio.ensure_future(one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)) for _ in range(3)
            ]
            await node.wait(lambda n: len(n.calls) == 3)
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert all(isinstance(result, NodeUnreachable) for result in results)
