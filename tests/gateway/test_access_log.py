"""What a client writes into its request cannot write into the log, by any header or path."""

from __future__ import annotations

import json
import logging

import pytest

from fleetgate.logs import JsonFormatter, TextFormatter
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode, Reply

FORGED = b'\x1b[2J\x85\xe2\x80\xa8{"event": "forged", "level": "error"}\tadmin=true'
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "name", ["X-Request-Id", "traceparent", "X-Forwarded-For", "User-Agent", "Content-Type", "Via"]
)
async def test_a_header_cannot_forge_a_line(name: str, caplog: pytest.LogCaptureFixture) -> None:
    lines = await _logged(caplog, f"{name}: ".encode() + FORGED + b"\r\n")
    assert all("forged" not in json.loads(line)["event"] for line in lines)


async def test_a_path_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    lines = await _logged(caplog, b"", "/v1/predict/%0d%0aevent=forged%1b[2J?key=secret")
    assert not any("secret" in line for line in lines)


async def test_what_a_node_says_cannot_forge_a_line_either(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"type": "urn:fleetgate:error:\\r\\nforged\\u001b[2J", "detail": "\\r\\nforged"}'
    await _logged(
        caplog, b"", reply=Reply(status=500, headers=[("Content-Type", "application/problem+json")], body=body)
    )


async def test_the_line_holds_request_and_trace_id(caplog: pytest.LogCaptureFixture) -> None:
    head = f"X-Request-Id: mine\r\ntraceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n".encode()
    (entry,) = [json.loads(line) for line in await _logged(caplog, head) if '"request"' in line]
    assert (entry["request_id"], entry["trace_id"], entry["status"]) == ("mine", TRACE, 200)


async def _logged(
    caplog: pytest.LogCaptureFixture, head: bytes, path: str = "/v1/predict", reply: Reply | None = None
) -> list[str]:
    """The log as JSON lines, once it is sure that no line in either form holds a control character."""
    body = jpeg()
    start = f"POST {path} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {len(body)}\r\n".encode()
    with caplog.at_level(logging.INFO):
        async with (
            FakeNode(lambda call: reply or Reply()) as node,
            running(node) as gateway,
            gateway.client() as client,
        ):
            await client.send(start, head, b"\r\n", body)
            await client.reply()
    assert any(record.getMessage() == "request" for record in caplog.records)
    for formatter in (TextFormatter(), JsonFormatter("gateway")):
        lines = [formatter.format(record) for record in caplog.records if record.exc_info is None]
        assert all(len(line.splitlines()) == 1 for line in lines), lines
        assert not any(set(line) & set("\x1b\x00\x7f\x85\u2028\u2029\r\n") for line in lines), lines
    return lines
