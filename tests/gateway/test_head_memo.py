"""Heads that came before: recognised only when every byte but plain values of varying fields is the same."""

import pytest

from gateway.head_memo import HEADS, HeadMemo, one_head, plain_length, varying_names

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX-Id: one\r\n\r\n"


def memo() -> HeadMemo[str]:
    known = HeadMemo[str](["content-length", "x-id"])
    looked = known.look(HEAD)
    assert looked is not None
    known.keep(looked[0], "known")
    return known


def found(data: bytes, whose: str = "") -> tuple[str | None, list[bytes]]:
    known = memo()
    looked = known.look(data, whose)
    return (None, []) if looked is None else (known.get(looked[0]), looked[1])


def test_a_head_with_other_values_is_the_same_head() -> None:
    assert found(HEAD) == ("known", [b"12", b"one"])
    assert found(HEAD.replace(b"12", b"99999").replace(b"one", b"another; id")) == ("known", [b"99999", b"another; id"])


def test_where_the_body_begins_is_told_and_how_the_fields_are_called() -> None:
    looked = memo().look(HEAD + b"the body\r\n\r\n")
    assert looked is not None
    assert looked[2] == len(HEAD)
    assert varying_names(looked[0]) == ["content-length", "x-id"]


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"Host: a", b"Host: b"),
        HEAD.replace(b"Host", b"host"),
        HEAD.replace(b"Content-Length", b"content-length"),
        HEAD.replace(b"Content-Length: 12\r\nX-Id: one", b"X-Id: one\r\nContent-Length: 12"),
        HEAD.replace(b"POST", b"PUT "),
        HEAD.replace(b"X-Id: one\r\n", b""),
        HEAD.replace(b"X-Id: one\r\n", b"X-Id: one\r\nX-Id: two\r\n"),
        HEAD.replace(b"X-Id: one", b"X-Id:one"),
        HEAD.replace(b"X-Id: one", b"X-Id:  one"),
        HEAD.replace(b"X-Id: one", b"X-Id: one "),
        HEAD.replace(b"X-Id: one", b"X-Id: "),
        HEAD.replace(b"X-Id: one", b"X-Id: o\tne"),
        HEAD.replace(b"X-Id: one", b"X-Id: o\x00ne"),
        HEAD.replace(b"X-Id: one", b"X-Id: o\xe9e"),
        HEAD.replace(b"X-Id: one", b"X-Id: one\r"),
        HEAD.replace(b"X-Id: one", b"X-Id: one\n"),
        HEAD.replace(b"X-Id: one", b"X-Id: one\r\n two"),
        HEAD.replace(b"X-Id: one", b"X-Id : one"),
        HEAD.replace(b"X-Id: one", b"X-Id: " + b"1" * 300),
        b"\r\n" + HEAD,
        HEAD.replace(b"\r\n", b"\n"),
    ],
)
def test_any_other_difference_makes_another_head(other: bytes) -> None:
    assert found(other)[0] is None


def test_the_same_bytes_from_somebody_else_are_another_head() -> None:
    assert found(HEAD, "192.0.2.7")[0] is None


def test_half_a_head_and_a_long_one_are_looked_up_in_vain() -> None:
    assert memo().look(HEAD[:-1]) is None
    assert memo().look(HEAD[:-2] + b"Cookie: " + b"c" * 4096 + b"\r\n\r\n") is None


def test_however_many_heads_there_are_memory_is_bounded() -> None:
    known = HeadMemo[int]([])
    for number in range(3 * HEADS):
        known.keep((number,), number)
    assert sum(known.get((number,)) is not None for number in range(3 * HEADS)) <= HEADS


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" + HEAD,
        b"\r\n\r\n" + HEAD,
        HEAD.replace(b"Host: a", b"Host: a\r\n b"),
        HEAD.replace(b"Host: a\r\n", b"Host: a\n"),
        HEAD.replace(b"Host: a\r\n", b"Host: a\r\r\n"),
    ],
)
def test_what_parsers_skip_join_or_forgive_is_not_one_head(data: bytes) -> None:
    looked = memo().look(data)
    assert looked is not None
    assert not one_head(data, looked[2], b"POST ", fields=3)


def test_a_head_of_as_many_lines_as_fields_is_one() -> None:
    assert one_head(HEAD + b"body", len(HEAD), b"POST ", fields=3)
    assert not one_head(HEAD, len(HEAD), b"POST ", fields=2)
    assert not one_head(HEAD, len(HEAD), b"GET ", fields=3)


@pytest.mark.parametrize(("value", "length"), [(b"1", 1), (b"1234567890", 1234567890)])
def test_lengths_that_all_read_alike(value: bytes, length: int) -> None:
    assert plain_length(value) == length


@pytest.mark.parametrize(
    "value", [b"0", b"00", b"012", b"+1", b"-1", b"1 ", b"1,1", b"0x1", b"1_0", b"1e1", b"12345678901"]
)
def test_other_lengths_are_left_to_the_parser(value: bytes) -> None:
    assert plain_length(value) == 0
