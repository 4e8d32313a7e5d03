"""The head of an answer as bytes (pure). HTTP/1.1 always; what the version of the client forbids is left out."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from gateway.outcome import Outcome
from wire.errors import CONTENT_TYPE, BadRequest, ClientGone, WireError
from wire.headers import ATTEMPTS, NODE, POOL, REQUEST_ID, SERVER_TIMING

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NO_BODY = frozenset({204, 205, 304})
_UNPRINTABLE = re.compile(r"[^!-~]")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def may_have_body(method: str, status: int) -> bool:
    """Whether bytes may follow this head (RFC 9110 section 6.4.1)."""
    return method != "HEAD" and status not in _NO_BODY and status >= 200


def head(status: int, fields: Iterable[tuple[str, str]], lines: str) -> bytes:
    """Status line, fields, and more fields as whole `lines`.

    Field values came from a strict parser or from us: none holds a line break.
    """
    start = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    middle = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return f"{start}{middle}{lines}\r\n".encode("utf-8", "surrogateescape")


def chunk_head(size: int) -> bytes:
    """What stands before a chunk of `size` bytes."""
    return b"%x\r\n" % size


@lru_cache(maxsize=4096)
def token(name: str) -> str:
    """A name from the registry as a header's value: what could break a line or a log becomes `?`."""
    return _UNPRINTABLE.sub("?", name)[:256]


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))


def common_lines(outcome: Outcome, total_ms: float, node_names: bool) -> str:
    """The fields that every answer carries, as whole lines: whose it is, where the time went (ms), who worked."""
    queue, connect, infer = outcome.queue_ms, outcome.connect_ms, outcome.service_ms
    lines = (  # writing out a float costs more than all the rest, and mostly there was no wait and no connecting
        f"Date: {_date(int(outcome.at))}\r\n{REQUEST_ID}: {outcome.request_id}\r\n"
        f"{SERVER_TIMING}: recv;dur={outcome.recv_ms:.3f}, queue;dur={f'{queue:.3f}' if queue else '0.000'}, "
        f"connect;dur={f'{connect:.3f}' if connect else '0.000'}, infer;dur={f'{infer:.3f}' if infer else '0.000'}, "
        f"total;dur={total_ms:.3f}\r\n"
    )
    if node_names:
        worker = _worker_lines(outcome.node, outcome.pool) if outcome.node else ""
        lines += f"{worker}{ATTEMPTS}: {outcome.attempts}\r\n"
    return lines


@lru_cache(maxsize=4096)
def _worker_lines(node: str, pool: str) -> str:
    return f"{NODE}: {token(node)}\r\n{POOL}: {token(pool)}\r\n"


def problem(error: WireError, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, fields and body of an error: the one place where an error becomes an answer.

    499 is for logs; a client that can still hear sent something that broke off.
    """
    if isinstance(error, ClientGone):
        error = BadRequest(error.detail)
    return error.status, [("Content-Type", CONTENT_TYPE), *error.headers.items()], error.body(request_id)
