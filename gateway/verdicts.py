"""What a node's answer says about the node: whose fault it is, and whether another node may be asked (pure)."""

from __future__ import annotations

from enum import Enum

import msgspec

from gateway.node_answer import Answer
from wire.errors import CONTENT_TYPE, TABLE, TYPE_PREFIX, DeadlineMissed, ModelFailed, NodeBusy, NodeGarbage


class Verdict(Enum):
    """What becomes of an answer."""

    GOOD = "good"  # the client's; the node did its work
    BUSY = "busy"  # nobody's fault; another node may be asked
    FAULT = "fault"  # the node's fault, and another would do no better
    RETRY = "retry"  # the node's fault; another may be asked


class _Problem(msgspec.Struct):
    type: str = ""


_decode = msgspec.json.Decoder(_Problem).decode
_REFUSALS = frozenset({"node-busy", "draining"})
_NO_USE_ELSEWHERE = frozenset({ModelFailed.code, DeadlineMissed.code})
# What a server says that is broken, overloaded, or stands before one that is.
_BROKEN = frozenset({500, 502, 503})


def judge(answer: Answer) -> tuple[Verdict, str]:
    """The verdict and, unless good, the code of wire/errors.py that stands for it."""
    if answer.status < 500:
        return Verdict.GOOD, ""
    code = _code(answer)
    if code in _REFUSALS:
        return Verdict.BUSY, code
    if code in _NO_USE_ELSEWHERE or answer.status == 504:
        return Verdict.FAULT, code or DeadlineMissed.code
    if answer.status in _BROKEN:
        return Verdict.RETRY, NodeBusy.code if answer.status == 503 else NodeGarbage.code
    return Verdict.GOOD, ""


def _code(answer: Answer) -> str:
    """The code of a problem document of ours; "" for any other answer."""
    if not any(name.lower() == "content-type" and value.startswith(CONTENT_TYPE) for name, value in answer.headers):
        return ""
    try:
        kind = _decode(b"".join(answer.body)).type
    except msgspec.MsgspecError:
        return ""
    code = kind.removeprefix(TYPE_PREFIX)
    return code if code in TABLE else ""
