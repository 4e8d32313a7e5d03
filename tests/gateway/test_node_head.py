"""Heads of requests to nodes: rebuilt, and proof against what would end a line early."""

import pytest

from gateway.node_head import field_lines, request_head, request_line
from tests.fakes.outgoing import Outgoing
from wire.errors import BadRequest


def test_a_head_is_rebuilt_from_its_parts() -> None:
    request = Outgoing(b"abc", target="/v1/predict?a=b", headers=[("X-A", "1"), ("x-b", "ü")])
    assert request_head(request, "[::1]:9000", 3, 1234.9).split(b"\r\n") == [
        b"POST /v1/predict?a=b HTTP/1.1",
        b"Host: [::1]:9000",
        b"x-envoy-expected-rq-timeout-ms: 1234",
        b"Content-Length: 3",
        b"X-A: 1",
        "x-b: ü".encode(),
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    ("method", "length", "framing"),
    [
        ("POST", None, b"Transfer-Encoding: chunked"),
        ("POST", 0, b"Content-Length: 0"),
        ("PUT", 0, b"Content-Length: 0"),
        ("GET", 0, None),
        ("HEAD", 0, None),
        ("GET", 5, b"Content-Length: 5"),
    ],
)
def test_there_is_one_framing_or_none(method: str, length: int | None, framing: bytes | None) -> None:
    head = request_head(Outgoing(b"", method=method), "n:1", length, 1000)
    lines = [line for line in head.split(b"\r\n") if line.startswith((b"Content-Length", b"Transfer-Encoding"))]
    assert lines == ([] if framing is None else [framing])


def test_bytes_that_are_no_utf8_leave_as_they_came() -> None:
    value = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert b"X-A: caf\xe9\r\n" in request_head(Outgoing(b"", headers=[("X-A", value)]), "n:1", 0, 1000)


def test_a_budget_below_a_millisecond_is_not_said_as_none() -> None:
    assert b"timeout-ms: 1\r\n" in request_head(Outgoing(b""), "n:1", 0, 0.2)


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_forged_line_is_refused(bad: str) -> None:
    for field in (("X-A", bad), (bad, "x")):
        with pytest.raises(BadRequest):
            field_lines([("X-Good", "1"), field])
    with pytest.raises(BadRequest):
        request_line("POST", "/" + bad)


def test_a_space_in_the_target_is_refused() -> None:
    with pytest.raises(BadRequest):
        request_line("POST", "/ HTTP/1.1")
