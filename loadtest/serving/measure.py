"""One round with one server: rate, latency at half of it, CPU and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop

from loadtest.openloop.address import Address
from loadtest.openloop.verdict import Kind
from loadtest.peers import Peer
from loadtest.serving import photos
from loadtest.serving.bare import NAMES as BARE
from loadtest.serving.bare import Bare
from loadtest.serving.client import Seen, closed, open_loop, pinned, ready
from loadtest.serving.contenders import CONTENDERS, PATIENCE, start
from loadtest.serving.sample import Sample, cores_busy

CONNECTIONS = 16  # in flight at saturation: two full batches for each of two workers
HALF = 0.5


class Bench:
    """`with Bench(…) as bench:` all servers are up and warm; whoever is not measured is frozen."""

    def __init__(self, names: Sequence[str], artefact: Path) -> None:
        self._names = names
        self._artefact = artefact
        self._stack = ExitStack()
        self._up: dict[str, Peer | Bare] = {}

    def __enter__(self) -> Bench:
        with ExitStack() as stack:
            for name in self._names:
                contender: Bare | Peer
                contender = Bare(name, self._artefact) if name in BARE else start(name, self._artefact)
                stack.enter_context(contender)
                self._up[name] = contender
            # Last, since children would inherit it.
            stack.enter_context(pinned())
            self._runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            for name in self._names:
                if isinstance(peer := self._up[name], Peer):
                    self._runner.run(_ready(peer))
                    peer.pause()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sample(self, name: str, kind: str, seconds: float) -> Sample:
        """`seconds` at saturation, twice that at half of it."""
        up = self._up[name]
        if isinstance(up, Bare):
            return up.sample(kind, seconds)
        up.resume()
        try:
            self._runner.run(_ready(up))
            return self._runner.run(_sample(up, kind, seconds))
        finally:
            up.pause()


async def _ready(peer: Peer) -> None:
    await ready(_address(peer), CONTENDERS[peer.name].sendable(photos.chosen()[0][0]), PATIENCE)


async def _sample(peer: Peer, kind: str, seconds: float) -> Sample:
    target, draw, cpu = _address(peer), photos.drawing(kind, CONTENDERS[peer.name].sendable), peer.cpu_seconds
    full = await closed(target, draw, CONNECTIONS, max(0.7, seconds / 4), seconds, cpu)
    per_second = full.tally.of(Kind.ANSWERED) / full.seconds
    busy = cores_busy()
    half = await open_loop(target, draw, max(1.0, HALF * per_second), 2 * seconds, cpu)
    others = busy() - (half.server_cpu + half.client_cpu) / half.seconds
    sample = Sample(
        server=peer.name,
        images=kind,
        setting=CONTENDERS[peer.name].setting,
        answered=full.tally.of(Kind.ANSWERED),
        not_answered=_unanswered(full) + _unanswered(half),
        bad=full.tally.bad + half.tally.bad,
        per_second=per_second,
        cpu_ms=_each(full.server_cpu, full),
        client_cpu_ms=_each(full.client_cpu, full),
        half_rate=HALF * per_second,
        half_cpu_ms=_each(half.server_cpu, half),
        half=half.tally.from_due,
        rss_mb=peer.resident_bytes() / 1e6,
        pss_mb=peer.proportional_bytes() / 1e6,
        others=max(0.0, others),
        faults={**full.tally.why, **half.tally.why},
    )
    small = half.by_class.get("small")
    return msgspec.structs.replace(sample, half_small=small.from_due) if small else sample


def _address(peer: Peer) -> Address:
    host, port = peer.address.split(":")
    return Address("http", host, int(port))


def _each(seconds: float, seen: Seen) -> float:
    return seconds * 1e3 / max(1, seen.tally.of(Kind.ANSWERED))


def _unanswered(seen: Seen) -> int:
    return seen.tally.sent - seen.tally.of(Kind.ANSWERED)
