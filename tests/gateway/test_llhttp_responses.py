"""llhttp's strict response cases against the reader of nodes' answers, in any pieces, and through a whole gateway.

What we refuse though llhttp takes it is listed below, with the reason.
"""

from __future__ import annotations

import pytest

from gateway.node_answer import FieldRules
from gateway.node_reader import AnswerReader
from tests.fakes.gateway import jpeg, running
from tests.fakes.llhttp import Case, Message, cases
from tests.fakes.node import CUT, FakeNode, Reply

UNASKED = "one request has one answer: what follows it on the connection could be taken for the next one's"
STRICTER = {
    "connection: HTTP/1.0 with keep-alive and 204 status": UNASKED,
    "connection: HTTP/1.1 with 204 status": UNASKED,
    "connection: HTTP/1.1 with keep-alive disabled and 204 status": UNASKED,
    "connection: HTTP/1.1 with keep-alive disabled, content-length": UNASKED,
    "connection: HTTP 304 with Content-Length": UNASKED,
    "connection: HTTP 304 with Transfer-Encoding": UNASKED,
    "pipelining: Should parse multiple events": UNASKED,
    "connection: HTTP 101 response with Upgrade and Content-Length header": "no other protocol was asked for",
    "connection: HTTP 101 response with Upgrade and Transfer-Encoding header": "no other protocol was asked for",
    "sample: RTSP response": "it is not HTTP",
    "sample: ICE response": "it is not HTTP",
    "sample: HTTP version 0.9": "HTTP/0.9 has no head",
    "sample: Response starting with CRLF": "an answer begins with its status line (RFC 9112 section 4)",
    "transfer-encoding: `chunked` before other transfer-encoding": "chunked is the only coding we undo",
    "transfer-encoding: multiple transfer-encoding where chunked is not the last one": (
        "chunked is the only coding we undo"
    ),
    "transfer-encoding: `chunkedchunked` transfer-encoding does not enable chunked enconding": (
        "chunked is the only coding we undo"
    ),
}
ALL = cases("response")
PIECES = {"at once": 1 << 20, "byte by byte": 1, "in sevens": 7}


def taken(case: Case) -> Message | None:
    """The answer that a client would get; None when it must not get any."""
    if not case.valid or case.name in STRICTER:
        return None
    return next(message for message in case.messages if message.code >= 200)


def ends_with_connection(answer: Message) -> bool:
    framed = answer.header("content-length") is not None or answer.header("transfer-encoding") is not None
    return answer.head and not answer.whole and not framed


@pytest.mark.parametrize("size", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_reader_takes_llhttps_answers_when_valid_and_no_others(case, size):
    reader = AnswerReader(FieldRules())
    reader.begin(b"POST / HTTP/1.1\r\n\r\n", echo=False)
    for start in range(0, len(case.raw), size):
        reader.feed(case.raw[start : start + size])
    answer = taken(case)
    if answer is None:
        assert reader.broken
        return
    assert not reader.broken
    assert reader.status == answer.code
    assert b"".join(reader.pieces).decode("latin-1") == answer.body
    assert reader.done is answer.whole
    assert reader.until_close is ends_with_connection(answer)


async def test_a_client_gets_llhttps_valid_answers_and_502_for_the_others():
    case = ALL[0]
    node = FakeNode(lambda call: Reply(raw=case.raw, end=CUT), protocol="oip")
    mercy = {"eject_seconds": 1e-6, "eject_max_seconds": 1e-6}
    async with node, running(node, retry={"attempts": 1}, health=mercy) as gateway:
        for case in ALL:
            reply = await gateway.post(jpeg())
            answer = taken(case)
            whole = answer is not None and (answer.whole or ends_with_connection(answer))
            assert reply.status == (answer.code if answer is not None and whole else 502), case.name
            if answer is not None and whole:
                assert reply.body.decode("latin-1") == answer.body, case.name
        await gateway.settled()


def test_the_cases_are_all_there_and_no_exception_is_idle():
    assert len(ALL) == 75
    assert {case.name for case in ALL if case.valid} >= STRICTER.keys()
