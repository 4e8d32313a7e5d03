"""The way out for spans: nothing when tracing is off, a clear word when the extra is missing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from typing import Protocol

from tracing.config import Tracing
from tracing.span import Span

_log = logging.getLogger(__name__)
# What a collector that does not answer may hold up a program that leaves.
_CLOSE_SECONDS = 2.0


class Sink(Protocol):
    """Takes spans on the event loop, sends them from a thread of its own."""

    def put(self, span: Span) -> None:
        """Take one; never waits, never raises."""
        ...

    def close(self) -> None:
        """Send what is left. Blocks as long as the collector likes."""
        ...


class Exporter:
    """A sink, and its polite end."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def put(self, spans: Iterable[Span]) -> None:
        """Take the spans of one request."""
        for span in spans:
            self._sink.put(span)

    async def close(self) -> None:
        """Send what is left, as far as it goes within two seconds."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            self._sink.close()
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:  # nobody waits any more
                return

        threading.Thread(target=work, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            _log.warning("the collector does not take the last spans; they are given up")


def open_exporter(options: Tracing, service: str, version: str) -> Exporter | None:
    """None when tracing is off. Raises ValueError, one line, when it is on and cannot be."""
    if not options.endpoint:
        return None
    try:
        from tracing.otlp import Otlp  # noqa: PLC0415 - an extra, and 0.2 s of imports
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tracing.endpoint needs the extra otel ({error.name} is missing): pip install 'fleetgate[otel]'"
        ) from None
    return Exporter(Otlp(options.endpoint, service, version))
