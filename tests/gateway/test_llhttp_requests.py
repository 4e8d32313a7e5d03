"""llhttp's strict request cases against the whole gateway over raw sockets: valid is answered, invalid is refused.

Each is sent twice as it stands, and twice with what our paths need (a target of ours, a method that it takes, a Host):
at once and byte by byte. What we refuse though llhttp takes it is listed below, with the reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.gateway import Running, running
from tests.fakes.llhttp import Case, Message, cases
from tests.fakes.node import FakeNode
from tests.fakes.raw_client import RawClient

ASK, SEND = "/v2/models/toy", "/v2/models/toy/infer"
# Methods that change what the parser reads: they stay as they are.
OWN_GRAMMAR = ("CONNECT", "SOURCE", "ANNOUNCE", "PRI")
SERVED = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
# Fields that tests/gateway/test_api.py is about: they end here, or are said anew.
NOT_PASSED_ON = {"connection", "keep-alive", "te", "trailer", "upgrade", "host", "content-length", "transfer-encoding"}

# Valid for llhttp, refused by us.
STRICTER = {
    "connection: Upgrade GET request": (400, "Sec-WebSocket-Key1 is from a draft whose body has no declared length"),
    "sample: curl GET": (400, "its Host is 0.0.0.0=5000"),
    "sample: Firefox GET": (400, "its Host is 0.0.0.0=5000"),
    "sample: No HTTP version": (505, "HTTP/0.9 has no fields, so nobody knows which host is meant"),
    "transfer-encoding: POST with `chunked` as last transfer-encoding": (400, "chunked is the only coding we undo"),
    "transfer-encoding: POST with `chunked` as last transfer-encoding (multiple headers)": (
        400,
        "a second Transfer-Encoding field is read differently by different programs",
    ),
}
ALL = cases("request")


def refusal(case: Case, message: Message) -> int | None:
    """The status of what we do not serve, although it is well-formed."""
    if message.version == "1.1" and message.header("host") is None:
        return 400  # RFC 9112 section 3.2
    if message.url == "*" and message.method != "OPTIONS":
        return 400  # RFC 9112 section 3.2.4
    if message.method not in SERVED:
        return 405
    return STRICTER[case.name][0] if case.name in STRICTER else None


def ours(case: Case) -> Case:
    """The same case on our paths. Written from its end, so that the offsets before stay true."""
    text, messages = case.input, list(case.messages)
    for number in reversed(range(len(messages))):
        message = messages[number]
        if not message.url or message.method in OWN_GRAMMAR:
            continue
        sends = bool(message.body) or not message.whole
        method, url = ("POST", SEND) if sends else ("HEAD" if message.method == "HEAD" else "GET", ASK)
        after = text[message.at + len(f"{message.method} {message.url}") :]
        line, end, fields = after.partition("\r\n")
        headers = message.headers
        if end and message.header("host") is None and fields[:1] not in (" ", "\t"):
            fields, headers = f"Host: fleet\r\n{fields}", [["Host", "fleet"], *headers]
        text = f"{text[: message.at]}{method} {url}{line}{end}{fields}"
        messages[number] = replace(message, method=method, url=url, headers=headers)
    return Case(case.name, text, messages, case.error)


async def check_valid(case: Case, gateway: Running, node: FakeNode, slowly: bool) -> None:
    async with gateway.client() as client:
        await send(client, case.raw[: case.last_byte] if slowly else case.raw, slowly)
        whole = [message for message in case.messages if message.whole]
        for message in whole:
            # What comes in one segment is parsed as one: nothing in it is answered if its end is no request.
            status = refusal(case, message) if slowly or not case.goes_on else 400
            # Of a head that was refused by the parser nobody knows whether it began with HEAD.
            reply = await client.reply(message.method if status is None else "POST")
            if status is not None:
                assert (reply.status, reply.closes) == (status, True)
                assert await client.ended() == b""
                assert node.calls == []
                return
            assert reply.status in ((200,) if message.url in (ASK, SEND) else (404, 405, 411))
            if reply.closes:
                assert await client.ended() == b""
        if len(whole) == len(case.messages):
            if not (whole and reply.closes):
                await client.send("GET /healthz HTTP/1.1\r\nHost: fleet\r\n\r\n")
                assert (await client.reply()).status == 200
        else:
            client.half_close()
            await client.ended()
        saw(node, whole)


def saw(node: FakeNode, whole: list[Message]) -> None:
    """The node got what llhttp reports, and nothing else."""
    passed_on = [message for message in whole if message.url in (ASK, SEND)]
    assert [(call.method, call.target, call.body.decode("latin-1")) for call in node.calls if call.complete] == [
        (message.method, message.url, message.body) for message in passed_on
    ]
    for call, message in zip(node.calls, passed_on, strict=False):
        named = (message.header("connection") or "").lower()
        for name, value in message.headers:
            if name.lower() not in NOT_PASSED_ON and name.lower() not in named:
                assert [name, value.rstrip(" \t")] in [list(field) for field in call.headers]


async def check_invalid(case: Case, gateway: Running, node: FakeNode, slowly: bool) -> None:
    async with gateway.client() as client:
        await send(client, case.raw, slowly)
        reply = await client.reply()
        # A head whose path takes no body is answered before what is broken in the body comes.
        early = slowly and case.messages[0].head
        assert reply.status in ((400, 200, 404) if early else (400, 505))
        assert reply.closes
        assert await client.ended() == b""
        assert not any(call.complete for call in node.calls)


async def send(client: RawClient, raw: bytes, slowly: bool) -> None:
    if not slowly:
        await client.send(raw)
        return
    for byte in raw:
        try:
            await client.send(bytes([byte]))
        except ConnectionError:  # it has heard enough
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("form", [lambda case: case, ours], ids=["as it stands", "on our paths"])
async def test_llhttps_requests_are_answered_when_valid_and_refused_when_not(form, slowly):
    async with FakeNode() as node, running(node) as gateway:
        for case in map(form, ALL):
            node.calls.clear()
            check = check_valid if case.valid else check_invalid
            try:
                await check(case, gateway, node, slowly)
            except BaseException as error:
                error.add_note(f"{case.name}: {case.input!r}")
                raise
            await gateway.settled()


def test_the_cases_are_all_there_and_no_exception_is_idle():
    assert len(ALL) == 133
    names = {case.name for case in ALL if case.valid}
    assert names >= STRICTER.keys()
