"""What is ambiguous is refused, what is forwarded is rebuilt: malformed requests over raw sockets."""

from __future__ import annotations

import logging

import pytest

from tests.fakes.gateway import chunks_of, head, jpeg, request, running
from tests.fakes.node import FakeNode
from tests.fakes.raw_client import raw_client

BODY = jpeg(size=64)
SECRET = "fg_top_secret_key"


def post(*lines: str, body: bytes = b"", version: str = "HTTP/1.1", target: str = "/v1/predict") -> bytes:
    return "\r\n".join([f"POST {target} {version}", *lines, "", ""]).encode("latin-1") + body


HOST, LENGTH, CHUNKED = "Host: fleet", "Content-Length: 64", "Transfer-Encoding: chunked"
CHUNKS = b"40\r\n" + BODY + b"\r\n0\r\n\r\n"

MALFORMED = {
    "length and chunks": (400, post(HOST, LENGTH, CHUNKED, body=CHUNKS)),
    "chunks and length": (400, post(HOST, CHUNKED, LENGTH, body=CHUNKS)),
    "two lengths": (400, post(HOST, LENGTH, "Content-Length: 65", body=BODY)),
    "the same length twice": (400, post(HOST, LENGTH, LENGTH, body=BODY)),
    "a list of lengths": (400, post(HOST, "Content-Length: 64, 64", body=BODY)),
    "a signed length": (400, post(HOST, "Content-Length: +64", body=BODY)),
    "a negative length": (400, post(HOST, "Content-Length: -1", body=BODY)),
    "a spaced length": (400, post(HOST, "Content-Length: 6 4", body=BODY)),
    "a hexadecimal length": (400, post(HOST, "Content-Length: 0x40", body=BODY)),
    "an empty length": (400, post(HOST, "Content-Length: ", body=BODY)),
    "a length beyond 64 bits": (400, post(HOST, "Content-Length: 18446744073709551616", body=BODY)),
    "the longest length of 64 bits": (413, post(HOST, "Content-Length: 18446744073709551615", body=BODY)),
    "an unknown coding": (400, post(HOST, "Transfer-Encoding: cow", body=CHUNKS)),
    "gzip, then chunks": (400, post(HOST, "Transfer-Encoding: gzip, chunked", body=CHUNKS)),
    "chunks, then identity": (400, post(HOST, "Transfer-Encoding: chunked, identity", body=CHUNKS)),
    "chunks twice": (400, post(HOST, "Transfer-Encoding: chunked, chunked", body=CHUNKS)),
    "two codings": (400, post(HOST, CHUNKED, "Transfer-Encoding: identity", body=CHUNKS)),
    "quoted coding": (400, post(HOST, 'Transfer-Encoding: "chunked"', body=CHUNKS)),
    "coding with a vertical tab": (400, post(HOST, "Transfer-Encoding: \x0bchunked", body=CHUNKS)),
    "chunks in HTTP/1.0": (400, post(CHUNKED, body=CHUNKS, version="HTTP/1.0")),
    "a space before the colon": (400, post(HOST, "Content-Length : 64", body=BODY)),
    "a folded header": (400, post(HOST, "X-Long: a", " b", LENGTH, body=BODY)),
    "a folded first header": (400, post(" X: a", HOST, LENGTH, body=BODY)),
    "a header without a name": (400, post(HOST, ": a", LENGTH, body=BODY)),
    "a header without a colon": (400, post(HOST, "Nonsense", LENGTH, body=BODY)),
    "a bare carriage return": (400, post(HOST, "X: a\rb", LENGTH, body=BODY)),
    "a bare line feed": (400, post(HOST, "X: a\nY: b", LENGTH, body=BODY)),
    "a NUL": (400, post(HOST, "X: a\0b", LENGTH, body=BODY)),
    "a control character": (400, post(HOST, "X: a\x01b", LENGTH, body=BODY)),
    "a name with parentheses": (400, post(HOST, "X(a): b", LENGTH, body=BODY)),
    "a name with an underscore": (400, post(HOST, "Content_Length: 3", LENGTH, body=BODY)),
    "no host": (400, post(LENGTH, body=BODY)),
    "two hosts": (400, post(HOST, "Host: other", LENGTH, body=BODY)),
    "an empty host": (400, post("Host: ", LENGTH, body=BODY)),
    "a host with a path": (400, post("Host: fleet/x", LENGTH, body=BODY)),
    "a host with a user": (400, post("Host: me@fleet", LENGTH, body=BODY)),
    "a host with a space": (400, post("Host: fle et", LENGTH, body=BODY)),
    "a host with a list": (400, post("Host: fleet, other", LENGTH, body=BODY)),
    "another host in the target": (400, post(HOST, LENGTH, body=BODY, target="http://other/v1/predict")),
    "a target of another scheme": (400, post(HOST, LENGTH, body=BODY, target="gopher://fleet/v1/predict")),
    "a target with a user": (400, post(HOST, LENGTH, body=BODY, target="http://me@fleet/v1/predict")),
    "a target with a fragment": (400, post(HOST, LENGTH, body=BODY, target="/v1/predict#here")),
    "a target with raw UTF-8": (400, post(HOST, LENGTH, body=BODY, target="/v1/predict/caf\xc3\xa9")),
    "a target that is no path": (400, post(HOST, LENGTH, body=BODY, target="v1/predict")),
    "a space in the target": (400, post(HOST, LENGTH, body=BODY, target="/v1/predict x")),
    "a tab in the line": (400, b"POST\t/v1/predict\tHTTP/1.1\r\nHost: fleet\r\nContent-Length: 64\r\n\r\n" + BODY),
    "a small method": (400, b"post /v1/predict HTTP/1.1\r\nHost: fleet\r\nContent-Length: 64\r\n\r\n" + BODY),
    "an invented method": (400, b"STEAL /v1/predict HTTP/1.1\r\nHost: fleet\r\n\r\n"),
    "no version": (505, b"POST /v1/predict\r\nHost: fleet\r\n\r\n"),
    "a version in letters": (400, post(HOST, LENGTH, body=BODY, version="HTTP/one")),
    "HTTP/1.2": (505, post(HOST, LENGTH, body=BODY, version="HTTP/1.2")),
    "HTTP/2.0": (505, post(HOST, LENGTH, body=BODY, version="HTTP/2.0")),
    "HTTP/0.9": (505, post(HOST, LENGTH, body=BODY, version="HTTP/0.9")),
    "CONNECT": (405, b"CONNECT fleet:443 HTTP/1.1\r\nHost: fleet\r\n\r\n"),
    "TRACE": (405, b"TRACE /v1/predict HTTP/1.1\r\nHost: fleet\r\n\r\n"),
    "OPTIONS of everything": (405, b"OPTIONS * HTTP/1.1\r\nHost: fleet\r\n\r\n"),
    "TLS on a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    "HTTP/2 with prior knowledge": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a websocket of old": (400, post(HOST, "Sec-WebSocket-Key1: x", LENGTH, body=BODY)),
}
BROKEN_CHUNKS = {
    "no number": b"zz\r\n" + BODY,
    "a signed size": b"+40\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a hexadecimal prefix": b"0x40\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\n" + BODY,
    "a space after the size": b"40 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "a bare line feed after the size": b"40\n" + BODY + b"\r\n0\r\n\r\n",
    "more bytes than the size": b"3f\r\n" + BODY + b"\r\n0\r\n\r\n",
    "fewer bytes than the size": b"41\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a line feed in an extension": b"40;a=\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a NUL in an extension": b"40;a=\0\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a trailer that is none": b"40\r\n" + BODY + b"\r\n0\r\nnonsense\r\n\r\n",
    "a trailer with a space before its colon": b"40\r\n" + BODY + b"\r\n0\r\nX : y\r\n\r\n",
}


async def test_malformed_requests_get_their_status_and_never_reach_a_node():
    async with FakeNode() as node, running(node) as gateway:
        for name, (status, raw) in MALFORMED.items():
            async with gateway.client() as client:
                await client.send(raw)
                reply = await client.reply()
                assert reply.status == status, name
                assert reply.closes, name
                assert reply.headers["content-type"] == "application/problem+json", name
                assert reply.headers["x-request-id"], name
                assert await client.ended() == b"", name
        assert node.calls == []
        assert (await gateway.post(BODY)).status == 200
        await gateway.settled()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "after the head was read"])
async def test_broken_chunks_are_refused_and_hang_nobody(later):
    async with FakeNode() as node, running(node) as gateway:
        for name, chunks in BROKEN_CHUNKS.items():
            async with gateway.client() as client:
                await client.send(post(HOST, CHUNKED))
                if later:
                    await gateway.until(lambda: gateway.gateway.api.in_flight)
                await client.send(chunks)
                reply = await client.reply()
                assert (reply.status, reply.closes) == (400, True), name
                assert await client.ended() == b"", name
        assert node.calls == []
        await gateway.settled()


async def test_a_request_hidden_in_a_body_stays_a_body():
    hidden = request(BODY, "/v1/predict", "X-Hidden: 1\r\n")
    body = jpeg() + hidden
    async with FakeNode() as node, running(node) as gateway:
        reply = await gateway.post(body)
        assert reply.status == 200
        assert [call.body for call in node.calls] == [body]


async def test_what_follows_an_error_on_the_same_connection_is_not_read_as_a_request():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(post(HOST, LENGTH, CHUNKED, body=CHUNKS), request(BODY))
        assert (await client.reply()).status == 400
        assert await client.ended() == b""
        assert node.calls == []


async def test_an_upgrade_is_ignored_and_ends_the_connection():
    async with FakeNode() as node, running(node) as gateway:
        for protocol in ("websocket", "h2c"):
            async with gateway.client() as client:
                await client.send(request(BODY, headers=f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n"), b"\0\1\2\3")
                reply = await client.reply()
                assert (reply.status, reply.closes) == (200, True)
                assert await client.ended() == b""
        assert all(not call.header("Upgrade") for call in node.calls)


async def test_the_target_may_be_absolute_when_it_agrees_with_host():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(post(HOST, LENGTH, body=BODY, target="http://FLEET/v1/predict?x=1"))
        assert (await client.reply()).status == 200
        assert node.calls[0].target == "/v1/predict?x=1"


async def test_no_error_repeats_what_the_client_sent(caplog):
    caplog.set_level(logging.DEBUG)
    async with FakeNode() as node, running(node) as gateway:
        for line in (f"Authorization: Bearer {SECRET}\0", f"X-Api-Key : {SECRET}", f"X-Api-Key: {SECRET}\x01"):
            async with gateway.client() as client:
                await client.send(post(HOST, line, LENGTH, body=BODY))
                reply = await client.reply()
                assert reply.status == 400
                assert SECRET.encode() not in reply.body
        assert SECRET not in caplog.text
        assert "Traceback" not in caplog.text


async def test_trailers_are_read_and_dropped():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(post(HOST, CHUNKED), b"40\r\n" + BODY + b"\r\n0\r\nX-Checksum: 1\r\n\r\n")
        assert (await client.reply()).status == 200
        await client.send(request(BODY))
        assert (await client.reply()).status == 200
        assert [call.body for call in node.calls] == [BODY, BODY]
        assert not node.calls[0].header("X-Checksum")


async def test_a_head_byte_by_byte_and_a_body_in_tiny_chunks_are_whole_requests():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        for byte in head(64):
            await client.send(bytes([byte]))
        await client.send(BODY)
        assert (await client.reply()).status == 200
        await client.send(post(HOST, CHUNKED))
        await chunks_of(client, BODY, 1)
        assert (await client.reply()).status == 200
        assert [call.body for call in node.calls] == [BODY, BODY]


async def test_pipelined_requests_are_answered_in_order():
    async with FakeNode() as node, running(node) as gateway, raw_client(gateway.address) as client:
        await client.send(b"".join(request(BODY, headers=f"X-Request-Id: number-{n}\r\n") for n in range(100)))
        for n in range(100):
            reply = await client.reply()
            assert (reply.status, reply.headers["x-request-id"]) == (200, f"number-{n}")
        assert len(node.calls) == 100


async def test_pipelined_requests_are_all_answered_to_a_client_that_sends_no_more():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(request(BODY) * 3)
        client.half_close()
        replies = [await client.reply() for _ in range(3)]
        assert [(reply.status, reply.closes) for reply in replies] == [(200, False), (200, False), (200, True)]
        assert await client.ended() == b""


async def test_a_refusal_is_heard_by_a_client_that_goes_on_sending():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send("POST /v1/predict\r\n\r\n")
        await gateway.until(lambda: gateway.outcomes.all)
        for _ in range(100):
            await client.send(BODY)
        assert (await client.reply()).status == 505
        assert await client.ended() == b""
