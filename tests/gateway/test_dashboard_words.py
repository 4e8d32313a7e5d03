"""Explanations in words, and events from two looks at the fleet."""

import msgspec

from gateway.dashboard.document import Registry
from gateway.dashboard.watch import Look, changes, lost
from gateway.dashboard.words import explain
from gateway.decision import Candidate, Decision
from gateway.outcome import Outcome
from tests.fakes.documents import GOOD, node
from tests.fakes.outcomes import outcome, refused


def said(one: Outcome) -> str:
    return " ".join(explain(one, threshold_pixels=8_000_000))


def candidate(name: str, finish_ms: float) -> Candidate:
    return Candidate(node=name, pool="heavy", in_flight=1, free_ms=5.0, finish_ms=finish_ms, speed=2.0)


def test_a_decision_is_told_from_size_to_answer() -> None:
    decision = Decision(
        pixels=12_000_000,
        image_format="jpeg",
        body_bytes=3_100_000,
        predicted_ms=120.0,
        size_class="heavy",
        class_why="pixels",
        policy="earliest_finish",
        winner="heavy-1",
        pool="heavy",
        starts_ms=4.0,
        finish_ms=64.0,
        candidates=[candidate("heavy-1", 64.0), candidate("heavy-2", 91.0)],
        considered=6,
    )
    words = said(
        outcome(
            pixels=12_000_000,
            body_bytes=3_100_000,
            size_class="heavy",
            pool="heavy",
            node="heavy-1",
            cost_ms=120.0,
            queue_ms=12.0,
            service_ms=61.0,
            total_ms=90.0,
            decision=decision,
        )
    )
    assert words == (
        "A JPEG of 12.0 MP, 3.1 MB: heavy because of its pixels. The threshold stands at 8.0 MP now. "
        "Predicted to cost 120 ms on a node of speed 1. Its upload took 1.0 ms. It waited 12 ms in the queue. "
        "The policy earliest_finish chose heavy-1 (heavy pool) of 6 candidates: predicted to answer in 64 ms, "
        "after 4.0 ms of earlier work. Next best: heavy-2 in 91 ms. "
        "Answered 200 after 90 ms in all; the node worked 61 ms, 13 ms later than predicted."
    )


def test_a_spilled_and_retried_request_says_so() -> None:
    words = said(outcome(attempts=2, retries=("node-busy",), pool="heavy", node="heavy-1", queue_ms=0.0))
    assert "It did not wait. It went to heavy-1 in the heavy pool." in words
    assert "One attempt before the last ended elsewhere: node-busy." in words


def test_a_refusal_is_explained_without_a_node() -> None:
    words = said(refused(detail="1000 requests wait already", queue_ms=0.0))
    assert words.endswith("It ended with 503 queue-full (1000 requests wait already) after 20 ms.")
    assert "went to" not in words


def test_the_first_look_is_one_event() -> None:
    look = Look.at([node("a"), node("b")], GOOD)
    assert [event.text for event in changes(None, look, 1.0)] == ["Watching 2 nodes"]


def test_what_changed_between_two_looks_becomes_events() -> None:
    before = Look.at([node("stays"), node("goes", why="passing"), node("falls")], GOOD)
    after = Look.at(
        [
            node("stays", models=("lite0@2",)),
            node("comes", "heavy"),
            node("falls", state="ejected", why="probe failed"),
        ],
        GOOD,
    )
    told = {(event.kind, event.subject): event for event in changes(before, after, 1.0)}
    assert told.keys() == {("version", "stays"), ("joined", "comes"), ("left", "goes"), ("ejected", "falls")}
    assert told["ejected", "falls"].text == "healthy → ejected"
    assert told["ejected", "falls"].reason == "probe failed"
    assert told["version", "stays"].text == "serves lite0@2"
    assert told["joined", "comes"].text == "joined the heavy pool with lite0@1"


def test_a_lost_and_found_registry_is_two_events() -> None:
    lost: Registry = msgspec.structs.replace(GOOD, stale="connection refused")
    good, bad = Look.at([], GOOD), Look.at([], lost)
    assert [event.text for event in changes(good, bad, 1.0)] == ["lost; the last known nodes are kept"]
    assert [event.text for event in changes(bad, good, 2.0)] == ["found again"]
    assert not list(changes(bad, bad, 3.0))


def test_who_was_failing_and_vanished_was_lost_until_it_comes_back() -> None:
    before = Look.at(
        [node("hung", state="ejected", why="probe failed: no answer"), node("leaves", state="draining")], GOOD
    )
    told = {event.subject: event for event in changes(before, Look.at([], GOOD), 100.0)}
    assert (told["hung"].kind, told["leaves"].kind) == ("lost", "left")
    assert told["hung"].reason == "probe failed: no answer"
    assert lost(told.values(), [], since=50.0) == ["hung"]
    assert lost(told.values(), [node("hung")], since=50.0) == []
    assert lost(told.values(), [], since=101.0) == []
