"""Reads a node's answers from bytes: llhttp in strict mode, and the rest of RFC 9112 that it lets pass (no I/O).

A node's answer is suspected as much as a client's request: `broken` says why it is none, and then nothing on that
connection can be believed any more.
"""

from __future__ import annotations

import re

import httptools

from gateway.node_answer import CODING, CONNECTION, ECHOED_ID, FORGED, LENGTH, PASS, SILENT, FieldRules
from wire.headers import REQUEST_ID

# All of an answer that is not body: head, 1xx answers, chunk framing, trailers. Our nodes need 1 KiB.
OVERHEAD_BYTES = 65536
# Framing may grow with the body: a byte per chunk costs five more.
OVERHEAD_PER_BODY_BYTE = 8
HEADER_COUNT = 100
# Small pieces are joined by so many: a byte per chunk must not cost 40 bytes of memory each.
PIECES = 256
_H = ord("H")
_ID = REQUEST_ID.encode()
_ASKED_ID = re.compile(rb"\r\n%b: ([^\r]*)\r\n" % _ID, re.IGNORECASE)


class AnswerReader:
    """One connection's answers, one after the other: `begin`, `feed` until `done` or `broken`."""

    __slots__ = (
        "_asked",
        "_head_only",
        "_merged",
        "_parser",
        "_received",
        "_rules",
        "body_bytes",
        "broken",
        "done",
        "head_done",
        "headers",
        "keep",
        "length",
        "pieces",
        "special",
        "status",
        "until_close",
    )

    def __init__(self, rules: FieldRules) -> None:
        self._rules = rules
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = False
        self.begin(b"", echo=False)

    def begin(self, asked: bytes, *, echo: bool) -> None:
        """Expect the answer to the request with this head; with `echo` it must repeat the request's id if any."""
        if self._head_only:
            # The old parser still waits for the body that a HEAD's length promised.
            self._parser = httptools.HttpResponseParser(self)
        self._asked = asked if echo else b""
        self._head_only = asked.startswith(b"HEAD ")
        self._received = self._merged = 0
        self.status = 0
        self.headers: list[tuple[str, str]] = []  # those that pass
        self.special: dict[int, bytes] = {}  # the others, by rule
        self.length: int | None = None  # Content-Length
        self.pieces: list[bytes] = []  # of the body, not yet taken
        self.body_bytes = 0
        self.broken = ""
        self.head_done = self.done = False
        self.keep = False  # the connection may be used again
        self.until_close = False  # only the end of the connection ends this answer

    @property
    def silent(self) -> bool:
        """Whether nothing came yet."""
        return not self._received

    def feed(self, data: bytes) -> None:
        """More bytes. Never raises: see `broken`."""
        if not self._received and data[0] != _H:
            self.broken = "it does not begin with HTTP/"  # llhttp takes RTSP, ICE and empty lines
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.broken = self.broken or str(error)
        if self._received - self.body_bytes > OVERHEAD_BYTES + OVERHEAD_PER_BODY_BYTE * self.body_bytes:
            self.broken = self.broken or "more framing than answer"

    def take(self) -> list[bytes]:
        """The pieces of the body that are here, once: an idle connection holds no old answer."""
        pieces, self.pieces, self._merged = self.pieces, [], 0
        return pieces

    # What llhttp reports

    def on_message_begin(self) -> None:
        """A byte that begins an answer, perhaps a second one that nobody asked for."""
        if self.done:
            self.broken = "more than the answer"

    def on_status(self, reason: bytes) -> None:
        """The reason phrase; it is passed on to nobody."""
        if b"\0" in reason:
            self.broken = "NUL in the status line"

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers, which are ignored."""
        if self.head_done:
            return
        rule, text = self._rules.get(name) or self._rules.learn(name)
        if rule == PASS:
            # As aiohttp reads and writes fields: bytes that are no UTF-8 survive.
            self.headers.append((text, value.decode() if value.isascii() else value.decode("utf-8", "surrogateescape")))
        elif rule != SILENT:
            special = self.special
            special[rule] = value if rule not in special else special[rule] + b"," + value

    def on_headers_complete(self) -> None:
        """The end of a head, final or 1xx."""
        status = self._parser.get_status_code()
        self.keep = self._parser.should_keep_alive()
        special = self.special
        if self.broken or FORGED in special or CODING in special or not 200 <= status <= 599 or status == 204:
            self.broken = self.broken or self._wrong_framing(status)
        if CONNECTION in special or not self.keep:  # without that field only HTTP/1.1 is kept alive
            self.broken = self.broken or self._wrong_version()
        if len(self.headers) > HEADER_COUNT:
            self.broken = self.broken or "too many header fields"
        if ECHOED_ID in special and self._asked and not echoes(self._asked, special[ECHOED_ID]):
            self.broken = self.broken or "it names another request"
        if status < 200:
            self.headers, self.special = [], {}
            return
        self.status = status
        self.head_done = True
        length = special.get(LENGTH)
        if length is not None:
            self.length = int(length)
        if self._head_only:
            self.done = True
        elif length is None and CODING not in special and status not in (204, 304):
            self.until_close = True

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, without its framing."""
        if self.done:
            self.broken = "a body where none may be"
        pieces = self.pieces
        pieces.append(piece)
        self.body_bytes += len(piece)
        if len(pieces) - self._merged >= PIECES:
            pieces[self._merged :] = [b"".join(pieces[self._merged :])]
            self._merged += 1

    def on_message_complete(self) -> None:
        """The end of an answer, final or 1xx."""
        self.done = self.head_done

    # What llhttp lets pass

    def _wrong_version(self) -> str:
        return "" if self._parser.get_http_version() in ("1.1", "1.0") else "neither HTTP/1.1 nor HTTP/1.0"

    def _wrong_framing(self, status: int) -> str:
        coding = self.special.get(CODING)
        if not 100 <= status <= 599 or status == 101:
            return "no status that can be passed on"
        if FORGED in self.special:
            return "a framing field in disguise"
        if (status < 200 or status == 204) and (coding is not None or self.special.get(LENGTH, b"0") != b"0"):
            return "a body where none may be"
        if coding is not None and (coding.lower() != b"chunked" or self._parser.get_http_version() == "1.0"):
            return "an unknown transfer coding"
        return ""


def echoes(asked: bytes, answer_id: bytes) -> bool:
    """Whether an answer that names this request id can be the one to this head. True when the head named none."""
    if b"\r\n%b: %b\r\n" % (_ID, answer_id) in asked:  # as we write it
        return True
    named = _ASKED_ID.search(asked)
    return named is None or named[1] == answer_id
