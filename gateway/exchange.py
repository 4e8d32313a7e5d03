"""One request on a client's connection, and its answer: what the API sees of HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp.streams import StreamReader

from gateway import answers
from gateway.strict import HTTP_1_0
from wire.errors import ClientGone, WireError

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.reading import RequestHead

Fields = list[tuple[str, str]]


class Exchange:
    """A parsed head, the body as it comes, and the one answer that may be sent.

    What came instead of a head, when it was no request, is an error; the answer to it closes the connection.
    `whole` is the body if it came in one piece with its head; then `payload` is empty. `arrival` is monotonic seconds.
    """

    __slots__ = (
        "arrival",
        "awaits_continue",
        "begun",
        "connection",
        "head",
        "keep_alive",
        "method",
        "payload",
        "sent",
        "target",
        "varying",
        "version",
        "whole",
    )

    def __init__(
        self,
        head: RequestHead | WireError,
        varying: Mapping[str, str],
        payload: StreamReader,
        arrival: float,
        *,
        whole: bytes | None = None,
    ) -> None:
        """`varying` are the values that `head` leaves out."""
        self.connection: Connection  # set when its turn has come
        self.head = head
        self.varying = varying
        self.payload = payload
        self.whole = whole
        self.arrival = arrival
        self.awaits_continue = False
        self.begun = False  # the answer's head is sent
        self.sent = 0  # bytes of the answer's body
        if isinstance(head, WireError):
            self.method = self.target = ""
            self.version = HTTP_1_0
            self.keep_alive = False
        else:
            self.method, self.target, self.version = head.method, head.target, head.version
            self.keep_alive = head.keep_alive

    @property
    def client(self) -> str:
        """The peer's address."""
        return self.connection.client

    @property
    def unread(self) -> bool:
        """Whether some of the body has not come yet, so that nothing after it could be read as a request."""
        return not self.payload.is_eof()

    def proceed(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self.awaits_continue:
            self.awaits_continue = False
            if not self.payload.total_bytes:
                self.connection.write(answers.CONTINUE)

    def answer(self, status: int, fields: Fields, lines: str, body: Sequence[bytes] = ()) -> None:
        """Send a whole answer; `lines` are more fields, written out. Raises ClientGone."""
        size = len(body[0]) if len(body) == 1 else sum([len(chunk) for chunk in body])
        head = self._head(status, fields, lines, f"Content-Length: {size}\r\n")
        if size and ((status == 200 and self.method == "POST") or answers.may_have_body(self.method, status)):
            self.sent = size
            self.connection.writelines([head, *body])
        else:
            self.connection.write(head)

    async def stream(
        self, status: int, fields: Fields, lines: str, length: int | None, chunks: AsyncIterable[bytes]
    ) -> None:
        """Send an answer as it comes, no faster than the client reads. `length` None: nobody knows it yet.

        An answer that breaks off breaks the connection too: the client must not take it for whole. Raises ClientGone.
        """
        chunked = length is None and self.version != HTTP_1_0
        if length is None and not chunked:
            self.keep_alive = False
        framing = (
            "Transfer-Encoding: chunked\r\n" if chunked else "" if length is None else f"Content-Length: {length}\r\n"
        )
        self.connection.write(self._head(status, fields, lines, framing))
        if not answers.may_have_body(self.method, status):
            return
        try:
            async for chunk in chunks:
                await self._send(chunk, chunked)
        except BaseException:
            self.connection.abort()
            raise
        if chunked:
            self.connection.write(answers.LAST_CHUNK)

    async def _send(self, chunk: bytes, chunked: bool) -> None:
        if not chunk:
            return
        self.sent += len(chunk)
        if chunked:
            self.connection.writelines([answers.chunk_head(len(chunk)), chunk, b"\r\n"])
        else:
            self.connection.write(chunk)
        await self.connection.drained()

    def _head(self, status: int, fields: Fields, lines: str, framing: str) -> bytes:
        if self.begun:
            raise ClientGone("the answer had begun")
        self.begun = True
        self.keep_alive = self.keep_alive and self.payload.is_eof() and not self.connection.leaving
        if not self.keep_alive:
            connection = "Connection: close\r\n"
        else:
            connection = "Connection: keep-alive\r\n" if self.version == HTTP_1_0 else ""
        if status in (204, 304):
            framing = ""
        return answers.head(status, fields, f"{lines}{framing}{connection}")
