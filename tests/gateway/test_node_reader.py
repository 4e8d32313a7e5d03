"""Answers of nodes, byte by byte: what is an answer, and 60 ways of not being one."""

from random import Random

import pytest

from gateway.node_answer import REPORT, SILENT, TIMING, FieldRules
from gateway.node_reader import HEADER_COUNT, OVERHEAD_BYTES, PIECES, AnswerReader

ASKED = b"POST /v1/predict HTTP/1.1\r\nHost: n\r\nX-Request-Id: mine\r\n\r\n"
HI = b"Content-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

GARBAGE = {
    "nothing of HTTP": b"<html>no</html>",
    "a TLS record": b"\x15\x03\x01\x00\x02\x02\x46",
    "an HTTP/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "an empty line first": b"\r\n" + OK + HI,
    "a NUL first": b"\x00" + OK + HI,
    "RTSP": b"RTSP/1.0 200 OK\r\n" + HI,
    "ICE": b"ICE/1.0 200 OK\r\n" + HI,
    "ICY": b"ICY 200 OK\r\n" + HI,
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n" + HI,
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + HI,
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n" + HI,
    "HTTP/2.0 that stays open": b"HTTP/2.0 200 OK\r\nConnection: keep-alive\r\n" + HI,
    "a version without a dot": b"HTTP/11 200 OK\r\n" + HI,
    "a version of letters": b"HTTP/x.y 200 OK\r\n" + HI,
    "http in small letters": b"http/1.1 200 OK\r\n" + HI,
    "two spaces before the status": b"HTTP/1.1  200 OK\r\n" + HI,
    "no status": b"HTTP/1.1 OK\r\n" + HI,
    "status 99": b"HTTP/1.1 99 OK\r\n" + HI,
    "status 000": b"HTTP/1.1 000 OK\r\n" + HI,
    "status 600": b"HTTP/1.1 600 OK\r\n" + HI,
    "status 1000": b"HTTP/1.1 1000 OK\r\n" + HI,
    "status 20x": b"HTTP/1.1 20x OK\r\n" + HI,
    "status -200": b"HTTP/1.1 -200 OK\r\n" + HI,
    "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\n" + HI,
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\n" + HI,
    "101": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + OK + HI,
    "101 without upgrade": b"HTTP/1.1 101 Switching\r\n\r\n" + OK + HI,
    "100 with a length": b"HTTP/1.1 100 Go\r\nContent-Length: 2\r\n\r\n" + OK + HI,
    "103 with chunks": b"HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK + HI,
    "204 with a length": b"HTTP/1.1 204 No\r\n" + HI,
    "204 with chunks": b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "bare CR in a value": OK + b"X: a\rb\r\n" + HI,
    "NUL in a value": OK + b"X: a\x00b\r\n" + HI,
    "a control character in a value": OK + b"X: a\x01b\r\n" + HI,
    "a folded value": OK + b"X: a\r\n b\r\n" + HI,
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\nhi",
    "no colon": OK + b"Content-Length 2\r\n\r\nhi",
    "no name": OK + b": x\r\n" + HI,
    "a control character in a name": OK + b"X\x7f: x\r\n" + HI,
    "a space before the first field": OK + b" X: x\r\n" + HI,
    "length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\n" + HI,
    "the same length twice": OK + b"Content-Length: 2\r\n" + HI,
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\nhi",
    "a signed length": OK + b"Content-Length: +2\r\n\r\nhi",
    "a negative length": OK + b"Content-Length: -2\r\n\r\nhi",
    "a hexadecimal length": OK + b"Content-Length: 0x2\r\n\r\nhi",
    "a spaced length": OK + b"Content-Length: 1 2\r\n\r\nhi",
    "an empty length": OK + b"Content-Length: \r\n\r\nhi",
    "a length beyond 64 bits": OK + b"Content-Length: 99999999999999999999\r\n\r\nhi",
    "Content_Length": OK + b"Content_Length: 2\r\n\r\nhi",
    "Transfer_Encoding": OK + b"Transfer_Encoding: chunked\r\n" + HI,
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\nhi",
    "another coding and chunks": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks and another coding": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\nhi",
    "a vertical tab before chunked": OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a chunk size of letters": CHUNKED + b"zz\r\nhi\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"11111111111111111\r\nhi\r\n0\r\n\r\n",
    "a space after a chunk size": CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n",
    "chunks ended by LF": CHUNKED + b"2\nhi\n0\n\n",
    "a chunk without its end": CHUNKED + b"2\r\nhi0\r\n\r\n",
    "a chunk longer than it said": CHUNKED + b"2\r\nhiho\r\n0\r\n\r\n",
    "NUL in a chunk extension": CHUNKED + b"2;a\x00=b\r\nhi\r\n0\r\n\r\n",
    "CR in a chunk extension": CHUNKED + b"2;a\rb\r\nhi\r\n0\r\n\r\n",
    "a bad trailer": CHUNKED + b"2\r\nhi\r\n0\r\nX y\r\n\r\n",
    "more than it said": OK + HI + b"ho",
    "a second answer": OK + HI + OK + HI,
    "the beginning of a second answer": OK + HI + b"HTTP/1.1 20",
    "more after saying close": OK + b"Connection: close\r\n" + HI + b"ho",
    "another request's answer": OK + b"X-Request-Id: other\r\n" + HI,
    "two request ids": OK + b"X-Request-Id: mine\r\nx-request-id: other\r\n" + HI,
    "too many fields": OK + b"".join(b"X-%d: y\r\n" % n for n in range(HEADER_COUNT + 1)) + HI,
}

ANSWERS = {
    "with a length": (OK + HI, 200, b"hi", True),
    "without a reason": (b"HTTP/1.1 200\r\n" + HI, 200, b"hi", True),
    "in chunks": (CHUNKED + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", 200, b"hi", True),
    "in chunks with extensions": (CHUNKED + b"2;a=b\r\nhi\r\n0;c\r\n\r\n", 200, b"hi", True),
    "with trailers": (CHUNKED + b"2\r\nhi\r\n0\r\nServer-Timing: late;dur=1\r\n\r\n", 200, b"hi", True),
    "after 100 and 103": (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + HI, 200, b"hi", True),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + HI, 200, b"hi", False),
    "of HTTP/1.0 that stays open": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + HI, 200, b"hi", True),
    "that closes": (OK + b"Connection: close\r\n" + HI, 200, b"hi", False),
    "204": (b"HTTP/1.1 204 No\r\n\r\n", 204, b"", True),
    "304 with the length of what is not sent": (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    "503": (b"HTTP/1.1 503 Busy\r\n" + HI, 503, b"hi", True),
    "with the id that was asked with": (OK + b"x-request-id: mine\r\n" + HI, 200, b"hi", True),
    "that offers an upgrade": (OK + b"Connection: upgrade\r\nUpgrade: h2c\r\n" + HI, 200, b"hi", True),
}


def reader(asked: bytes = ASKED) -> AnswerReader:
    one = AnswerReader(FieldRules())
    one.begin(asked, echo=True)
    return one


def feed(one: AnswerReader, data: bytes, sizes: list[int]) -> None:
    """In parts of these sizes, over and over; as a connection does, nothing after the end or a fault."""
    start = 0
    while start < len(data) and not one.broken and not one.done:
        size = sizes[start % len(sizes)]
        one.feed(data[start : start + size])
        start += size


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_answer(garbage: bytes) -> None:
    one = reader()
    one.feed(garbage)
    assert one.broken


@pytest.mark.parametrize(("data", "status", "body", "keep"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("sizes", [[1 << 20], [1], [3, 7, 2]], ids=["whole", "bytes", "pieces"])
def test_an_answer_is_read_however_it_is_cut(
    data: bytes, status: int, body: bytes, keep: bool, sizes: list[int]
) -> None:
    one = reader()
    feed(one, data, sizes)
    assert not one.broken
    assert (one.done, one.status, b"".join(one.take()), one.keep) == (True, status, body, keep)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_byte_by_byte_is_found_or_ends_the_answer_before(garbage: bytes) -> None:
    one = reader()
    feed(one, garbage, [1])
    # What follows a whole answer is the connection's to judge: it comes while nothing was asked.
    assert one.broken or (one.done and garbage.startswith(OK) and b"".join(one.take()) == b"hi")


def test_an_answer_without_length_ends_with_the_connection() -> None:
    one = reader()
    one.feed(OK + b"\r\nhi")
    assert (one.until_close, one.done, one.keep, one.take()) == (True, False, False, [b"hi"])


def test_a_head_request_has_no_body_whatever_the_answer_says() -> None:
    one = AnswerReader(FieldRules())
    for said in (b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n"):
        one.begin(b"HEAD / HTTP/1.1\r\n\r\n", echo=True)
        one.feed(OK + said + b"\r\n")
        assert (one.done, one.broken, one.take()) == (True, "", [])
    one.begin(b"GET / HTTP/1.1\r\n\r\n", echo=True)
    one.feed(OK + HI)
    assert (one.done, one.take()) == (True, [b"hi"])


def test_a_body_in_answer_to_head_is_garbage() -> None:
    one = AnswerReader(FieldRules())
    one.begin(b"HEAD / HTTP/1.1\r\n\r\n", echo=False)
    one.feed(OK + HI)
    assert one.broken


def test_a_foreign_node_may_name_its_own_id() -> None:
    one = AnswerReader(FieldRules())
    one.begin(ASKED, echo=False)
    one.feed(OK + b"X-Request-Id: other\r\n" + HI)
    assert one.done
    assert not one.broken


def test_fields_are_sorted_by_who_they_are_for() -> None:
    one = reader()
    one.feed(
        OK + b"Content-Type: image/x\r\nServer: s\r\nDate: d\r\nKeep-Alive: 5\r\nX-Fleetgate-Model: m@1\r\n"
        b"X-Fleetgate-Node: liar\r\nendpoint-load-metrics: TEXT a:1\r\nSERVER-TIMING: a;dur=1\r\n"
        b"server-timing: b;dur=2\r\nX-Latin: caf\xe9\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n" + HI
    )
    assert one.headers == [
        ("Content-Type", "image/x"),
        ("X-Fleetgate-Model", "m@1"),
        ("X-Latin", "caf\udce9"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]
    assert one.special[TIMING] == b"a;dur=1,b;dur=2"
    assert one.special[REPORT] == b"TEXT a:1"
    assert one.length == 2


@pytest.mark.parametrize(
    "flood",
    [
        OK + b"X: " + b"a" * (1 << 20),
        OK + b"X" * (1 << 20),
        b"HTTP/1.1 200 " + b"o" * (1 << 20),
        OK + b"X: y\r\n" * (1 << 17),
        b"HTTP/1.1 100 Go\r\n\r\n" * (1 << 16),
        CHUNKED + b"2;" + b"a" * (1 << 20),
        CHUNKED + b"0\r\nX: " + b"a" * (1 << 20),
        CHUNKED + b"0\r\n" + b"X: y\r\n" * (1 << 17),
    ],
    ids=["value", "name", "reason", "fields", "1xx", "extension", "trailer", "trailers"],
)
def test_framing_without_end_is_garbage_before_it_fills_the_memory(flood: bytes) -> None:
    one = reader()
    fed = 0
    while not one.broken and fed < len(flood):
        one.feed(flood[fed : fed + 4096])
        fed += 4096
    assert one.broken
    assert fed <= OVERHEAD_BYTES + 8192


def test_a_byte_per_chunk_is_an_answer_and_not_a_memory_leak() -> None:
    one = reader()
    one.feed(CHUNKED)
    for _ in range(40):
        one.feed(b"1\r\nx\r\n" * 1000)
        assert len(one.pieces) < PIECES + 40_000 / PIECES
    one.feed(b"0\r\n\r\n")
    assert not one.broken
    assert b"".join(one.take()) == b"x" * 40_000


def test_a_hostile_node_does_not_fill_the_table_of_names() -> None:
    rules = FieldRules()
    for number in range(10_000):
        rules.learn(b"X-%d" % number)
    assert rules.get(b"X-9999") is None
    assert rules.learn(b"X-Fleetgate-Node")[0] == SILENT


def test_noise_never_raises() -> None:
    rng = Random(7)
    samples = [data for data, *_ in ANSWERS.values()] + list(GARBAGE.values())
    for _ in range(5000):
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        one = reader()
        feed(one, bytes(data), [rng.randint(1, 40) for _ in range(5)])
