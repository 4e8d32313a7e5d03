"""What an answer is worth: the right label, a refusal with its reason, a failure, or rubbish. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from wire.errors import TYPE_PREFIX

LONGEST = 80  # characters of a reason: what a target says is printed
_MALFORMED = (ValueError, KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError)


class Kind(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"  # 200 and the right label
    WRONG = "wrong"  # 200, but not the answer to this photo
    REFUSED = "refused"  # 429 or 503: come back later
    FAILED = "failed"  # any other status
    LOST = "lost"  # no answer at all


class Verdict(msgspec.Struct, frozen=True):
    """Kind and, unless answered, why in a few words."""

    kind: Kind
    why: str = ""


GOOD = Verdict(Kind.ANSWERED)


def judge(status: int, body: bytes, label: str, best_label: Callable[[bytes], str]) -> Verdict:
    """Of a whole HTTP answer. Without an expected `label` any answer of the protocol's shape is right."""
    if status != 200:
        return Verdict(Kind.REFUSED if status in (429, 503) else Kind.FAILED, reason(status, body))
    try:
        got = best_label(body)
    except _MALFORMED:
        return Verdict(Kind.WRONG, _printable(f"200 without a label: {_text(body)}"))
    if label and got != label:
        return Verdict(Kind.WRONG, _printable(f"{got} instead of {label}"))
    return GOOD


def reason(status: int, body: bytes) -> str:
    """The error's code when the body is one of ours (wire/errors.py), else the status."""
    try:
        kind = str(msgspec.json.decode(body)["type"])
    except (msgspec.DecodeError, *_MALFORMED):
        return f"status {status}"
    return _printable(f"{status} {kind.removeprefix(TYPE_PREFIX)}")


def lost(why: str) -> Verdict:
    """No answer."""
    return Verdict(Kind.LOST, _printable(why))


def _text(body: bytes) -> str:
    return repr(body[:40].decode(errors="replace")) if body else "an empty body"


def _printable(text: str) -> str:
    """What a target sends never reaches a terminal unescaped."""
    return "".join(c if c.isprintable() else "?" for c in text)[:LONGEST]
