"""A worker process with what it tells us: its document and what is new, beat by beat, over its own socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import aiohttp
import msgspec

from gateway.dashboard.document import Worker
from gateway.workers.process import Process
from gateway.workers.told import FAMILIES_PATH, STREAM_PATH, Family, Told, decode_families, decode_told

# A worker is no other machine: what takes longer is stuck.
CALL_SECONDS = 5.0
_AGAIN_SECONDS = 0.2
_SILENT_SECONDS = 3.0
_ORIGIN = "http://localhost"
# It does not answer, or, being of the program before ours, not in our words.
_UNHEARD = (aiohttp.ClientError, asyncio.IncompleteReadError, TimeoutError, OSError, msgspec.DecodeError)


class Member:
    """`told` is the last message; `families` its metrics when they were last asked for."""

    def __init__(self, process: Process, hear: Callable[[Told], None]) -> None:
        self.process = process
        self.told: Told | None = None
        self.heard = time.monotonic()
        self.families: list[Family] = []
        self.leaving = False
        self._hear = hear
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        connector = aiohttp.UnixConnector(str(process.operators))
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    def __str__(self) -> str:
        return f"worker {self.process.number} (pid {self.process.pid})"

    def __repr__(self) -> str:
        return f"<Member {self}{' leaving' if self.leaving else ''}>"

    @property
    def can_serve(self) -> bool:
        """Whether it has told of a node that it may use."""
        return self.told is not None and any(node.usable for node in self.told.document.nodes)

    @property
    def speaks(self) -> bool:
        """Whether it was heard of lately."""
        return self.told is not None and time.monotonic() - self.heard < _SILENT_SECONDS

    def row(self) -> Worker:
        """Its line in the document."""
        document = self.told.document if self.told else None
        state = "serving" if self.speaks else "starting" if document is None else "silent"
        return Worker(
            number=self.process.number,
            pid=self.process.pid,
            state="leaving" if self.leaving else state,
            for_seconds=round(time.monotonic() - self.process.started, 1),
            in_flight=document.gateway.in_flight if document else 0,
            per_second=document.last_10s.per_second if document else 0.0,
        )

    async def count(self) -> list[Family]:
        """Its metrics now, or as they were when it last answered."""
        with suppress(*_UNHEARD):
            async with self._session.get(_ORIGIN + FAMILIES_PATH) as answer:
                self.families = decode_families(await answer.read())
        return self.families

    async def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Pass on a call to its operator side. Raises aiohttp.ClientError, TimeoutError or OSError."""
        async with self._session.request(method, _ORIGIN + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def close(self) -> None:
        """Hear no more of it; its last word is waited for if it has ended by itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_SECONDS if self.process.ended.is_set() else 0):
                await asyncio.shield(self._listening)
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._session.close()

    async def _listen(self) -> None:
        while not self.process.ended.is_set():
            with suppress(*_UNHEARD):
                await self._stream()
                return
            await asyncio.sleep(_AGAIN_SECONDS)  # it does not listen yet, or is gone

    async def _stream(self) -> None:
        forever = aiohttp.ClientTimeout(total=None)
        async with self._session.get(_ORIGIN + STREAM_PATH, timeout=forever, read_bufsize=1 << 20) as answer:
            while True:
                length = int.from_bytes(await answer.content.readexactly(4))
                told = decode_told(await answer.content.readexactly(length))
                self.told, self.heard = told, time.monotonic()
                self._hear(told)
                if told.families is not None:
                    self.families = told.families
                    return
