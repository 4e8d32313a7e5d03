"""No JSON of a few megabytes may hold the interpreter for long: it is refused before it is parsed."""

from __future__ import annotations

import pytest

from wire import json_body, oip
from wire.errors import BadRequest, TooLarge


@pytest.mark.parametrize("number", [b"1e300", b"4.9e-324", b"1E+0300"])
def test_many_numbers_with_extreme_exponents_are_refused(number: bytes) -> None:
    with pytest.raises(TooLarge, match="exponents"):
        json_body.check(b"[" + b",".join([number] * 2000) + b"]")


def test_ordinary_numbers_and_some_extreme_ones_are_not() -> None:
    json_body.check(b"[" + b",".join([b"0.5", b"-1.25e-12", b"6.02E23"] * 50_000) + b"]")
    json_body.check(b"[" + b",".join([b"1e300"] * 900 + [b"0.5"] * 50_000) + b"]")


def test_text_that_looks_like_numbers_costs_nothing() -> None:
    json_body.check(b'{"b64": "' + b"e123," * 100_000 + b'"}')


def test_millions_of_strings_are_refused_before_they_are_looked_for() -> None:
    with pytest.raises(TooLarge, match="strings"):
        json_body.check(b'{"a":[' + b"[]," * 40 + b'"",' * 1_000_000 + b'""]}')


def test_deep_nesting_is_refused() -> None:
    with pytest.raises((BadRequest, TooLarge)):
        json_body.check(b"[" * 900_000 + b"]" * 900_000)


def test_a_timeout_beyond_what_a_float_holds_is_refused() -> None:
    head = b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[1]}],"parameters":{"timeout":'
    with pytest.raises(BadRequest, match="timeout"):
        oip.decode(head + b"9" * 400 + b"}}", None)
