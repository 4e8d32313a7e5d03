"""Writes what came and how it went, one short line per routed request, for `fleetgate simulate` to play again.

Small and rotating; a full disk ends the trace and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from gateway.outcome import Outcome

if TYPE_CHECKING:
    from gateway.fleet import Fleet

_log = logging.getLogger("gateway.trace")

FLUSH_BYTES = 1 << 16
FLUSH_SECONDS = 1.0  # what a crash may take with it


class TraceLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One routed request. No client, no key, no path: nothing that could name a person."""

    at: float  # seconds since the epoch, when it arrived
    pixels: int = 0
    format: str = ""
    bytes: int = 0
    model: str = ""
    heavy: bool = False
    cost_ms: float = 0.0  # as predicted, at speed 1
    service_ms: float = 0.0  # as the node measured; 0 when nobody answered
    queue_ms: float = 0.0
    total_ms: float = 0.0
    node: str = ""
    pool: str = ""
    speed: float = 0.0  # the node's, as learned
    slots: int = 1  # the node's
    status: int = 200


def own_path(path: Path, worker: int | None) -> Path:
    """Where one of several worker processes writes: a file of its own, since files rotate under their writer."""
    return path if worker is None else path.with_name(f"{path.stem}-{worker}{path.suffix}")


class Trace:
    """An observer of outcomes. Lines go to `path`; older ones to `path.1` and so on, `keep` files at most."""

    def __init__(self, path: Path, fleet: Fleet, max_bytes: int, keep: int) -> None:
        self._path = path
        self._fleet = fleet
        self._max_bytes = max_bytes
        self._keep = keep
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._pending = 0
        self._written = 0
        self._file: BinaryIO | None = None
        self.stopped = ""  # why nothing is written any more

    def finished(self, outcome: Outcome) -> None:
        """Note a request that was routed, or refused after its cost was known."""
        if self.stopped or not outcome.size_class:
            return
        line = self._encode(self._line(outcome))
        self._lines.append(line)
        self._pending += len(line) + 1
        if self._pending >= FLUSH_BYTES:
            self.flush()

    async def keep_flushed(self) -> None:
        """Write what is pending once a second, until cancelled; then the rest."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                self.flush()
        finally:
            self.close()

    def flush(self) -> None:
        """Write what is pending. Never raises: a trace is not worth a request."""
        if not self._lines or self.stopped:
            return
        data = b"\n".join(self._lines) + b"\n"
        self._lines.clear()
        self._pending = 0
        try:
            self._open().write(data)
            self._written += len(data)
        except OSError as error:
            self.stopped = str(error)
            _log.warning("the trace ends: %s", error)

    def close(self) -> None:
        """Write what is pending and let the file go."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        if self._file is not None and self._written >= self._max_bytes:
            self._file.close()
            self._file = None
            self._rotate()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
            self._written = self._file.tell()
        return self._file

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        if self._keep <= 1:
            self._path.unlink(missing_ok=True)

    def _line(self, outcome: Outcome) -> TraceLine:
        backend = self._fleet.backends.get(outcome.node)
        return TraceLine(
            at=round(outcome.at, 6),
            pixels=outcome.pixels,
            format=outcome.image_format,
            bytes=outcome.body_bytes,
            model=outcome.model,
            heavy=outcome.size_class == "heavy",
            cost_ms=round(outcome.cost_ms, 3),
            service_ms=round(outcome.service_ms, 3),
            queue_ms=round(outcome.queue_ms, 3),
            total_ms=round(outcome.total_ms, 3),
            node=outcome.node,
            pool=outcome.pool,
            speed=round(backend.speed, 4) if backend is not None else 0.0,
            slots=backend.capacity if backend is not None else 1,
            status=outcome.status,
        )
