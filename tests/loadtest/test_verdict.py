"""What an answer is worth."""

from __future__ import annotations

import pytest

from loadtest.calls import PROTOCOLS, plain_label
from loadtest.openloop.verdict import Kind, judge, lost
from wire.errors import TABLE, QueueFull

CAT = b'[{"label": "cat", "score": 0.9}]'


@pytest.mark.parametrize(
    ("status", "body", "kind", "why"),
    [
        (200, CAT, Kind.ANSWERED, ""),
        (200, b'[{"label": "dog"}]', Kind.WRONG, "dog instead of cat"),
        (200, b"<html>welcome</html>", Kind.WRONG, "200 without a label: '<html>welcome</html>'"),
        (200, b"", Kind.WRONG, "200 without a label: an empty body"),
        (200, b"[]", Kind.WRONG, "200 without a label: '[]'"),
        (200, b"\xff\xfe", Kind.WRONG, "200 without a label: '??'"),
        (503, QueueFull("full").body("id"), Kind.REFUSED, "503 queue-full"),
        (429, b"slow down", Kind.REFUSED, "status 429"),
        (404, b"[1]", Kind.FAILED, "status 404"),
        (502, b'{"type": 7}', Kind.FAILED, "502 7"),
    ],
)
def test_verdicts(status: int, body: bytes, kind: Kind, why: str) -> None:
    verdict = judge(status, body, "cat", plain_label)
    assert (verdict.kind, verdict.why.replace("\ufffd", "?")) == (kind, why)


def test_every_error_of_ours_is_named_by_its_code() -> None:
    for code, row in TABLE.items():
        assert judge(row.status, row().body("id"), "cat", plain_label).why == f"{row.status} {code}"


def test_without_an_expected_label_only_the_shape_counts() -> None:
    assert judge(200, b'[{"label": "dog"}]', "", plain_label).kind is Kind.ANSWERED


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("body", [b"{}", b"null", b"7", b'"x"', b'{"outputs": 1}', b'{"outputs": [{"data": ["a"]}]}'])
def test_no_shape_of_rubbish_is_an_answer(protocol: str, body: bytes) -> None:
    assert judge(200, body, "", PROTOCOLS[protocol][1]).kind is Kind.WRONG


def test_what_a_target_says_cannot_steer_a_terminal() -> None:
    why = lost("\x1b[2Jboo\n" + "x" * 500).why
    assert why.startswith("?[2Jboo?x")
    assert len(why) == 80
