"""Server-Timing, ours and other people's."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.timing import decode, encode


def test_what_is_encoded_is_decoded() -> None:
    durations = {"queue": 0.0, "decode": 12.25, "infer": 48.125}
    assert encode(durations) == "queue;dur=0.000, decode;dur=12.250, infer;dur=48.125"
    assert decode(encode(durations)) == durations


def test_what_is_no_duration_is_left_out() -> None:
    assert encode({"a": nan, "b": -1.0, "c": inf, "d": 1.0}) == "d;dur=1.000"
    assert decode("a;dur=nan, b;dur=-1, c;dur=inf, d;dur=x, e, f;desc=x, g;dur=1, ;dur=2, h h;dur=3") == {"g": 1.0}


@pytest.mark.parametrize(
    ("value", "durations"),
    [
        ("", {}),
        ("miss, db;dur=53, app;dur=47.2", {"db": 53.0, "app": 47.2}),
        ('infer;desc="resnet50@7";dur=48.2', {"infer": 48.2}),
        ('cache;desc="Cache, Read; dur=9";dur="23.2"', {"cache": 23.2}),
        (' total ; DUR = 123.4 ;desc="say \\"hi, you\\""', {"total": 123.4}),
        ("a;dur=1,a;dur=2", {"a": 1.0}),
        ('a;desc="never closed, b;dur=2', {"b": 2.0}),
        ("a;dur=1," * 400, {}),
    ],
)
def test_other_forms_of_the_header_are_read(value: str, durations: dict[str, float]) -> None:
    assert decode(value) == durations


@given(st.text(max_size=200) | st.text(alphabet='a;dur=1.,"\\ ', max_size=200))
def test_any_text_gives_sound_durations(value: str) -> None:
    for name, ms in decode(value).items():
        assert name.isascii()
        assert 0 <= ms < inf
