"""Heads of requests, remembered: only what repeats, only within bounds, and never for the wrong request."""

from collections.abc import Sequence

from gateway.reading import Reading, Readings
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode
from wire.paths import Call, Kind

Raw = Sequence[tuple[bytes, bytes]]


def reading(start: str = "POST / HTTP/1.1\r\n") -> Reading:
    return Reading(Call(Kind.PREDICT), "192.0.2.1", "/", {}, start, "")


def test_fields_that_vary_are_taken_out_however_they_are_spelled() -> None:
    raw = [(b"Host", b"a"), (b"CONTENT-length", b"3"), (b"x-request-id", b"one"), (b"Accept", b"caf\xe9")]
    repeating, varying = Readings().split(raw)
    assert repeating == [(b"Host", b"a"), (b"Accept", b"caf\xe9")]
    assert varying == {"content-length": "3", "x-request-id": "one"}


def test_a_varying_field_said_twice_is_joined_as_any_other() -> None:
    _, varying = Readings().split([(b"X-Request-Id", b"one"), (b"x-request-id", b"two")])
    assert varying == {"x-request-id": "one, two"}


def test_a_long_head_is_not_remembered() -> None:
    readings = Readings()
    raw = [(b"Cookie", b"c" * 4096)]
    readings.keep(("long",), raw, reading())
    readings.keep(("target",), [], reading("GET /" + "x" * 4096))
    readings.keep(("short",), [], reading())
    assert readings.get(("long",)) is None
    assert readings.get(("target",)) is None
    assert readings.get(("short",)) is not None


def test_however_many_heads_clients_make_up_few_are_remembered() -> None:
    readings = Readings()
    for number in range(10_000):
        name = b"X-%d" % number
        readings.split([(name, b"")])
        readings.keep((number,), [(name, b"")], reading())
    assert sum(readings.get((number,)) is not None for number in range(10_000)) <= 512
    assert readings.split([(b"Content-Length", b"1"), (b"X-77777", b"")])[1] == {"content-length": "1"}


async def test_a_head_that_came_before_gets_its_own_id_length_and_trace() -> None:
    parents = [f"00-{n}{n * 31}-{n}{n * 15}-01" for n in ("1", "2")]
    async with FakeNode() as node, running(node) as gateway:
        for parent, size in zip(parents, (300, 400), strict=True):
            headers = f"Accept: a/b\r\ntraceparent: {parent}\r\ntracestate: x={size}\r\nX-Request-Id: of-{size}\r\n"
            await gateway.post(jpeg(size=size), headers=headers)
        await gateway.post(jpeg(size=500), headers="Accept: a/b\r\n")
        assert [call.request_id for call in node.calls[:2]] == ["of-300", "of-400"]
        assert [call.header("tracestate") for call in node.calls] == ["x=300", "x=400", ""]
        assert [call.header("traceparent")[3:35] for call in node.calls[:2]] == ["1" * 32, "2" * 32]
        assert [call.header("Content-Length") for call in node.calls] == ["300", "400", "500"]
        assert len({call.request_id for call in node.calls}) == 3
