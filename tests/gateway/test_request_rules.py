"""The pure rules of the request path: trust, budgets, rates, verdicts, what an error answer looks like."""

from __future__ import annotations

import json
import logging
from random import Random

import pytest

from gateway import answers, strict
from gateway.access_log import AccessLog
from gateway.admission import ByteBudget, ConnectionCap
from gateway.config import Log
from gateway.forwarding import Trust
from gateway.node_answer import Answer
from gateway.outcome import Outcome
from gateway.rate import Rate
from gateway.verdicts import Verdict, judge
from wire.errors import ClientGone, QueueFull


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.9", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.7, 10.0.0.8", "10.0.0.7"),
        ("10.0.0.1", "1.1.1.1, nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("", "1.1.1.1", ""),
    ],
)
def test_the_client_is_the_nearest_address_that_is_none_of_our_proxies(peer, chain, client):
    assert Trust(["10.0.0.0/8"]).client(peer, chain) == client


def test_nobody_is_trusted_unless_named():
    assert Trust([]).client("127.0.0.1", "1.1.1.1") == "127.0.0.1"


def test_a_byte_budget_is_never_exceeded_and_returns_to_where_it_was():
    budget = ByteBudget(100)
    assert budget.take(60)
    assert budget.fits(40)
    assert not budget.fits(41)
    assert not budget.take(41)
    assert budget.take(40)
    budget.give(100)
    assert budget.held == 0


def test_connections_are_counted_in_all_and_per_client():
    cap = ConnectionCap(3, 2, lambda client: client == "proxy")
    assert [cap.enter("a"), cap.enter("a"), cap.enter("a")] == ["", "", "client"]
    assert [cap.enter("b"), cap.enter("c")] == ["", "all"]
    cap.leave("a")
    assert cap.enter("proxy") == ""
    for client in ("a", "b", "proxy"):
        cap.leave(client)
    assert [cap.enter("proxy") for _ in range(3)] == ["", "", ""]
    assert "of 1 clients" in repr(cap)


def test_a_rate_lets_so_many_pass_in_a_second():
    rate = Rate(10.0)
    assert sum(rate.allows(1000.0) for _ in range(50)) == 10
    assert sum(rate.allows(1000.5) for _ in range(50)) == 5
    assert sum(rate.allows(1100.0) for _ in range(50)) == 10
    assert not Rate(0.0).allows(1.0)


def _outcome(status: int, at: float) -> Outcome:
    return Outcome(at=at, request_id="r", method="POST", route="predict", path="/v1/predict", status=status)


def test_errors_are_logged_always_and_successes_at_a_rate(caplog):
    caplog.set_level(logging.INFO)
    log = AccessLog(Log(access_rate=5.0), Random(1))
    for _ in range(100):
        log.finished(_outcome(200, 1000.0))
    for _ in range(20):
        log.finished(_outcome(503, 1000.0))
    statuses = [record.fields["status"] for record in caplog.records]
    assert (statuses.count(200), statuses.count(503)) == (5, 20)


def test_an_access_record_leaves_out_what_is_empty(caplog):
    caplog.set_level(logging.INFO)
    AccessLog(Log(), Random(1)).finished(_outcome(200, 1.0))
    (record,) = caplog.records
    assert record.fields == {"request_id": "r", "method": "POST", "path": "/v1/predict", "status": 200}


def _answer(status: int, code: str = "", content_type: str = "application/problem+json") -> Answer:
    body = json.dumps({"type": f"urn:fleetgate:error:{code}"}).encode() if code else b"not json"
    fields = [("content-type", content_type)]
    return Answer(status=status, headers=fields, body=[body], rest=None, length=None, report=None, timing={})


@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (_answer(200), Verdict.GOOD, ""),
        (_answer(404, "not-found"), Verdict.GOOD, ""),
        (_answer(501), Verdict.GOOD, ""),
        (_answer(503, "node-busy"), Verdict.BUSY, "node-busy"),
        (_answer(503, "draining"), Verdict.BUSY, "draining"),
        (_answer(503), Verdict.RETRY, "node-busy"),
        (_answer(503, "node-busy", "text/plain"), Verdict.RETRY, "node-busy"),
        (_answer(500), Verdict.RETRY, "node-garbage"),
        (_answer(500, "internal"), Verdict.RETRY, "node-garbage"),
        (_answer(500, "model-failed"), Verdict.FAULT, "model-failed"),
        (_answer(500, "invented"), Verdict.RETRY, "node-garbage"),
        (_answer(504), Verdict.FAULT, "deadline-missed"),
    ],
)
def test_an_answer_says_whose_fault_it_is(answer, verdict, code):
    assert judge(answer) == (verdict, code)


def test_an_error_becomes_a_problem_document():
    status, fields, body = answers.problem(QueueFull("full", headers={"Retry-After": "3"}, limit=7), "id-1")
    assert status == 503
    assert dict(fields) == {"Content-Type": "application/problem+json", "Retry-After": "3"}
    document = json.loads(body)
    assert document["type"] == "urn:fleetgate:error:queue-full"
    assert (document["detail"], document["error"], document["request_id"]) == ("full", "full", "id-1")
    assert (document["status"], document["limit"]) == (503, 7)


def test_a_client_that_seemed_gone_but_listens_sent_something_malformed():
    assert answers.problem(ClientGone("the body ended early"), "id")[0] == 400


def test_a_nodes_name_cannot_break_a_header():
    assert answers.token("node\r\nSet-Cookie: a") == "node??Set-Cookie:?a"
    assert len(answers.token("x" * 1000)) == 256


def test_sizes_of_heads_are_counted_as_they_stood_on_the_wire():
    assert strict.size([(b"Host", b"fleet"), (b"X", b"")]) == len(b"Host: fleet\r\nX: \r\n")
