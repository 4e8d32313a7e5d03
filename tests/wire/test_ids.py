"""Request ids and traces."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.ids import Digits, Trace, child, parse_traceparent, request_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("offered", ["a", "abc-123_X.y", "x" * 128])
def test_a_printable_id_is_kept(offered: str) -> None:
    assert request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "x" * 129, "a b", "a\n", "\x1b[31m", "é", "a/b", "\u0661"])
def test_any_other_id_is_replaced(offered: str | None) -> None:
    first, second = request_id(offered), request_id(offered)
    assert first not in (offered, second)
    assert request_id(first) == first


def test_a_span_of_the_caller_is_continued() -> None:
    trace = parse_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert trace == Trace(TRACE, SPAN, 1)
    assert trace.sampled
    below = child(trace)
    assert (below.trace_id, below.flags) == (TRACE, 1)
    assert below.span_id != SPAN
    assert parse_traceparent(below.traceparent) == below


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-03-what-comes") == Trace(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_an_invalid_traceparent_is_dropped(value: str | None) -> None:
    assert parse_traceparent(value) is None


def test_a_new_trace_is_sampled_only_when_asked() -> None:
    assert child(None).traceparent.endswith("-00")
    assert child(None, lambda _: True).traceparent.endswith("-01")
    assert child(None).trace_id != child(None).trace_id


@given(st.text(max_size=60))
def test_any_text_is_a_trace_or_none(value: str) -> None:
    trace = parse_traceparent(value)
    assert trace is None or parse_traceparent(trace.traceparent) == trace


def test_digits_come_by_the_page_and_never_twice() -> None:
    digits = Digits()
    taken = [digits.take(48) for _ in range(1000)]
    assert len(set(taken)) == 1000
    assert all(re.fullmatch("[0-9a-f]{48}", each) for each in taken)
    assert child(None, digits=digits.take).span_id not in taken
