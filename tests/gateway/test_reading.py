"""Heads of requests, remembered: whether the parser saw a head again or not, the request is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.admission import ConnectionCap
from gateway.config import Limits
from gateway.exchange import Exchange
from gateway.reading import RequestHeads, split
from gateway.server import Server
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode
from wire.errors import WireError

POST = "POST /v1/predict HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 600_000  # bytes: its reader is slower than it comes


class Forgetful(RequestHeads):
    """Lets the parser see everything."""

    def find(self, data: bytes, client: str) -> None:
        pass


class Counting(RequestHeads):
    """Counts the heads that the parser did not see."""

    found = 0

    def find(self, data: bytes, client: str):
        found = super().find(data, client)
        self.found += found is not None
        return found


class Wire(asyncio.Transport):
    """Keeps what is written; holds back while reading is paused."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.written = b""
        self.closed = False
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.written += b"".join(pieces)

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    abort = close


class Told:
    """A server that keeps what requests it understood, and answers each."""

    def __init__(self, heads: RequestHeads) -> None:
        self.requests: list[tuple[object, ...]] = []
        self.server = Server(self._handle, Limits(), ConnectionCap(10, 10, lambda _: False))
        self.server.heads = heads

    async def _handle(self, exchange: Exchange) -> None:
        if isinstance(exchange.head, WireError):
            self.requests.append(("fault", str(exchange.head)))
        else:
            try:
                body = await exchange.payload.read() if exchange.whole is None else exchange.whole
            except WireError as error:
                body = repr(error).encode()
            fields = sorted(exchange.head.repeating), sorted(exchange.varying.items())
            self.requests.append(
                (exchange.method, exchange.target, exchange.version, exchange.keep_alive, *fields, body)
            )
        exchange.answer(200, [], f"X: {len(self.requests)}\r\n", [b"ok"])


async def say(told: Told, pieces: Sequence[bytes], turns: Sequence[int]) -> bytes:
    """The pieces, one after the other, with so many turns of the loop in between; everything that is answered."""
    wire, connection = Wire(), told.server()
    connection.connection_made(wire)
    await asyncio.sleep(0)
    for number, piece in enumerate(pieces):
        for _ in range(100):
            if not wire.paused:
                break
            await asyncio.sleep(0)
        if wire.closed:
            break
        connection.data_received(piece)
        for _ in range(turns[number % len(turns)]):
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    return wire.written


def request(number: int, size: int, more: str = "") -> bytes:
    return f"{POST}X-Request-Id: id-{number}\r\n{more}Content-Length: {size}\r\n\r\n".encode() + b"b" * size


ONES = [
    request(1, 10),
    request(2, 10),
    request(3, 2000),
    request(4, 1),
    request(5, 7, "Accept: */*\r\n"),
    request(6, LARGE),
    GET,
    b"\r\n" + GET,
    b"\r\n\r\n" + GET,
    GET.replace(b"\r\n", b"\n"),
    request(7, 0),
    f"{POST}Content-Length: 007\r\n\r\n1234567".encode(),
    f"{POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345".encode(),
    f"{POST}Content-Length:  5\r\n\r\n12345".encode(),
    f"{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode(),
    f"{POST}X-Request-Id: a\r\nX-Request-Id: b\r\nContent-Length: 1\r\n\r\n1".encode(),
    f"{POST}X-Request-Id: a\r\n b\r\nContent-Length: 1\r\n\r\n1".encode(),
    f"{POST}Connection: close\r\nContent-Length: 3\r\n\r\nabc".encode(),
    f"{POST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc".encode(),
    POST.replace("1.1", "1.0").encode() + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"rubbish\r\n\r\n",
]
# What a client may leave behind: a known head that follows must not be taken for a request of its own.
LEFT_OVER = [
    b"",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: ",
    b"GET /x HTTP/1.1\r\nHost: a\r\n",
    b"GET /secret",
    b"\r\n",
    f"{POST}Content-Length: 50\r\n\r\nab".encode(),
    f"{POST}Transfer-Encoding: chunked\r\n\r\n3\r\nab".encode(),
    b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n" * 40,
]
CUTS = st.lists(st.integers(min_value=0, max_value=5000), max_size=6)


@settings(max_examples=max(300, settings().max_examples), deadline=None)
@given(
    st.lists(st.sampled_from(ONES[:7]), min_size=1, max_size=4),
    st.lists(st.sampled_from(ONES), min_size=1, max_size=6),
    st.lists(st.tuples(st.sampled_from(ONES[:8]), st.sampled_from(LEFT_OVER)), max_size=3),
    st.booleans(),
    CUTS,
    st.lists(st.integers(min_value=0, max_value=4), min_size=1, max_size=3),
)
def test_a_stream_of_requests_is_understood_alike_whether_heads_are_remembered_or_not(
    before: list[bytes],
    ones: list[bytes],
    left_over: list[tuple[bytes, bytes]],
    apart: bool,
    cuts: list[int],
    turns: list[int],
) -> None:
    async def compare() -> None:
        heads = Counting()
        await say(Told(heads), before, [8])
        known = heads.found
        # What the parser refuses stands alone: it forgets good requests that came in the same piece.
        sorts = [(good, list(group)) for good, group in groupby(ones, lambda one: one in ONES[:8])]
        pieces = [piece for good, group in sorts for piece in (group if apart or not good else [b"".join(group)])]
        pieces = [piece for one, rest in left_over for piece in (one + rest, before[0])] + pieces
        for cut in cuts:
            at = min(range(len(pieces)), key=lambda n: -len(pieces[n]))
            pieces = [*pieces[:at], pieces[at][:cut], pieces[at][cut:], *pieces[at + 1 :]]
        pieces = [piece for piece in pieces if piece]
        told, reference = Told(heads), Told(Forgetful())
        answers = await say(told, pieces, turns), await say(reference, pieces, turns)
        assert told.requests == reference.requests
        assert answers[0] == answers[1]
        event("the parser was spared" if heads.found > known else "the parser saw all")

    asyncio.run(compare())


async def test_the_parser_does_not_see_a_head_twice() -> None:
    told = Told(heads := Counting())
    await say(told, [request(n, n * 100) for n in range(1, 6)], [8])
    assert heads.found == 4
    assert [len(one[-1]) for one in told.requests] == [100, 200, 300, 400, 500]


@pytest.mark.parametrize(
    "odd",
    [
        b"\r\n\r\n" + GET,
        GET.replace(b"\r\n", b"\n"),
        f"{POST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        f"{POST}Content-Length:  5\r\n\r\n12345".encode(),
        f"{POST}X-Request-Id: a\r\nX-Request-Id: b\r\nContent-Length: 1\r\n\r\n1".encode(),
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_what_depends_on_more_than_the_bytes_of_the_head_is_not_remembered(odd: bytes) -> None:
    heads = Counting()
    for _ in range(3):
        await say(Told(heads), [odd], [8])
    assert heads.found == 0


async def test_a_known_head_behind_half_a_head_is_part_of_that() -> None:
    told, reference = Told(RequestHeads()), Told(Forgetful())
    known, half = request(1, 3), b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: "
    for each in (told, reference):
        await say(each, [known, known], [8])
        for pieces in (
            [known + half, known],
            [f"{POST}Content-Length: 4\r\n\r\nab".encode(), b"cd" + half, known],
            [f"{POST}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".encode() + half, known],
            [b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /secret", *[b"GET HTTP/1.1\r\nHost: a\r\n\r\n"] * 3],
        ):
            await say(each, pieces, [8])
    assert told.requests == reference.requests


async def test_more_requests_at_once_than_the_parser_holds_are_all_answered_in_order() -> None:
    told = Told(RequestHeads())
    await say(told, [GET, GET], [8])
    many = b"".join(b"GET /n%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(90))
    await say(told, [f"{POST}Content-Length: 4\r\n\r\nab".encode(), b"cd", many, GET], [200])
    assert [one[1] for one in told.requests[3:]] == [*(f"/n{number}" for number in range(90)), "/v1/models"]


async def test_a_head_that_is_too_large_with_its_own_values_is_refused_though_a_shorter_one_came_before() -> None:
    told, reference = Told(RequestHeads()), Told(Forgetful())
    for each in (told, reference):
        each.server.limits = Limits(headers_bytes=1024)
        more = "".join(f"traceparent: {'1' * 200}\r\nX-{n}: {'2' * 200}\r\n" for n in range(4))
        await say(each, [request(1, 3), request(1, 3), request(1, 3, more), request(1, 3, more)], [8])
    assert told.requests == reference.requests


async def test_thousands_of_requests_behind_one_whose_head_is_known_are_held_back() -> None:
    told = Told(RequestHeads())
    await say(told, [GET], [8])
    answered = await say(told, [GET * 3000], [8])
    assert answered.count(b"HTTP/1.1 200") >= 32


async def test_a_client_whose_heads_are_always_new_is_not_looked_up_for_ever() -> None:
    told = Told(heads := Counting())
    await say(told, [*(request(1, 5, f"X-{n}: 1\r\n") for n in range(20)), request(2, 5), request(3, 5)], [8])
    assert len(told.requests) == 22
    assert heads.found == 0


def test_fields_that_vary_are_taken_out_however_they_are_spelled() -> None:
    raw = [(b"Host", b"a"), (b"CONTENT-length", b"3"), (b"x-request-id", b"one"), (b"Accept", b"caf\xe9")]
    repeating, varying = split(raw)
    assert repeating == [(b"Host", b"a"), (b"Accept", b"caf\xe9")]
    assert varying == {"content-length": "3", "x-request-id": "one"}


def test_a_varying_field_said_twice_is_joined_as_any_other() -> None:
    _, varying = split([(b"X-Request-Id", b"one"), (b"x-request-id", b"two")])
    assert varying == {"x-request-id": "one, two"}


async def test_a_head_that_came_before_gets_its_own_id_length_and_trace() -> None:
    parents = [f"00-{n}{n * 31}-{n}{n * 15}-01" for n in ("1", "2")]
    async with FakeNode() as node, running(node) as gateway:
        async with gateway.client() as client:
            for parent, size in zip(parents, (300, 400), strict=True):
                headers = f"Accept: a/b\r\ntraceparent: {parent}\r\ntracestate: x={size}\r\nX-Request-Id: of-{size}\r\n"
                head = f"POST /v1/predict HTTP/1.1\r\nHost: g\r\n{headers}Content-Length: {size}\r\n\r\n"
                await client.send(head, jpeg(size=size))
                assert (await client.reply()).status == 200
        await gateway.post(jpeg(size=500), headers="Accept: a/b\r\n")
        assert [call.request_id for call in node.calls[:2]] == ["of-300", "of-400"]
        assert [call.header("tracestate") for call in node.calls] == ["x=300", "x=400", ""]
        assert [call.header("traceparent")[3:35] for call in node.calls[:2]] == ["1" * 32, "2" * 32]
        assert [call.header("Content-Length") for call in node.calls] == ["300", "400", "500"]
        assert len({call.request_id for call in node.calls}) == 3


async def test_the_body_of_a_known_head_may_come_in_any_pieces_and_break_off() -> None:
    async with FakeNode() as node, running(node) as gateway:
        image = jpeg(size=300_000)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: g\r\nContent-Length: {len(image)}\r\n\r\n".encode()
        async with gateway.client() as client:
            for cuts in ([], [0], [1, 2, 3], [100_000, 200_000]):
                at = 0
                await client.send(head)
                for cut in [*cuts, len(image)]:
                    await client.send(image[at:cut])
                    await asyncio.sleep(0.01)
                    at = cut
                assert (await client.reply()).status == 200
            await client.send(head, image[:1000])
            await gateway.until(lambda: gateway.gateway.api.in_flight == 1)
            client.half_close()
            assert (await client.reply()).status == 400
        assert [len(call.body) for call in node.calls] == [300_000] * 4
        assert gateway.outcomes.last.status == 499
        await gateway.settled()
