"""Looks along the shelves of peers for the earliest finish, only as far as somebody better can still stand there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf, nextafter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.backend import Backend
    from gateway.peers import Entry, Peers

# Learned speeds are no more exact than that, so nobody is sought who would win by less.
WORTHWHILE = 1.05
# How many busy nodes are looked at, at most: further along only a rare, much faster one could win.
LOOK = 16


def populated(groups: Sequence[Peers]) -> bool:
    """Whether anybody usable is among them."""
    for peers in groups:  # noqa: SIM110 - a generator costs three times as much, on every request
        if peers.size:
            return True
    return False


def soonest(
    groups: Sequence[Peers], cost_ms: float, now: float, lead: float, tried: frozenset[str]
) -> tuple[Backend, float, float, str] | None:
    """The earliest finish among nodes with a slot open, or open within `lead` seconds; below 0 only open ones count."""
    best, starts = inf, now
    chosen: Backend | None = None
    for peers in groups:
        for entry in peers.open:
            node = entry[3]
            if tried and node.id in tried:
                continue
            finish = now + cost_ms * node.next_ms + node.lag
            if finish < best:
                best, chosen, starts = finish, node, now
            if not node.lag:
                break  # the rest is slower
        if lead < 0.0 or not peers.full:
            continue
        slack = cost_ms * peers.fastest * WORTHWHILE
        for start, node in in_order(peers.full, now):
            if start > now + lead or start + slack >= best:
                break
            if now < node.prefetch_from or (tried and node.id in tried):
                continue
            finish = start + cost_ms * node.next_ms + node.lag
            if finish < best:
                best, chosen, starts = finish, node, start
    return None if chosen is None else (chosen, starts, best, "")


def next_finish(
    groups: Sequence[Peers], cost_ms: float, now: float, but: Backend | None, tried: frozenset[str], bound: float
) -> float:
    """The earliest finish on any node but one, however long it is still busy; infinity if not before `bound`."""
    best = nextafter(bound, inf)
    for peers in groups:
        for entry in peers.open:
            node = entry[3]
            if node is not but and node.id not in tried:
                best = min(best, now + cost_ms * node.next_ms + node.lag)
                if not node.lag:
                    break
        slack = cost_ms * peers.fastest * WORTHWHILE
        for shelf in (peers.full, peers.stuffed):
            if not shelf:
                continue
            for start, node in in_order(shelf, now):
                if start + slack >= best:
                    break
                if node is not but and node.id not in tried:
                    best = min(best, start + cost_ms * node.next_ms + node.lag)
    return best if best <= bound else inf


def in_order(shelf: list[Entry], now: float) -> Iterator[tuple[float, Backend]]:
    """Busy nodes by the time when they should be free, and that time.

    A node that is late by x is expected to be late by x more: one that hangs must not look as if it were free at once.
    """
    after = bisect_left(shelf, (now,))  # the first that is not late
    before = after - 1
    end = len(shelf)
    for _ in range(LOOK):
        if before < 0:
            if after >= end:
                return
            yield shelf[after][0], shelf[after][3]
            after += 1
            continue
        late = 2.0 * now - shelf[before][0]
        if after < end and shelf[after][0] <= late:
            yield shelf[after][0], shelf[after][3]
            after += 1
        else:
            yield late, shelf[before][3]
            before -= 1
