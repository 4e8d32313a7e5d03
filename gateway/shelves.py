"""Looks along the shelves of peers for the earliest finish, only as far as somebody better can still stand there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.backend import Backend
    from gateway.peers import Entry, Peers

# Learned speeds are no more exact than that, so nobody is sought who would win by less.
WORTHWHILE = 1.05
# How many nodes of a shelf are looked at, at most: further along only a rare, much faster one could win.
LOOK = 16


def populated(groups: Sequence[Peers]) -> bool:
    """Whether anybody usable is among them."""
    for peers in groups:  # noqa: SIM110 - a generator costs three times as much, on every request
        if peers.size:
            return True
    return False


def stuck(groups: Iterable[Peers], now: float, lead: float) -> bool:
    """Whether somebody usable is there, and nobody has a slot open, or open within `lead` seconds.

    Who is later than that is expected to be as late again (earliest_busy).
    """
    some = False
    for peers in groups:
        full = peers.full
        if peers.open or (full and full[0][0] <= now + lead and peers.next_due(now - lead) <= now + lead):
            return False
        if peers.size:
            some = True
    return some


def soonest(
    groups: Sequence[Peers], cost_ms: float, now: float, lead: float, tried: frozenset[str]
) -> tuple[Backend, float, float, str] | None:
    """The earliest finish among nodes with a slot open, or open within `lead` seconds; below 0 only open ones count."""
    best, starts = inf, now
    chosen: Backend | None = None
    for peers in groups:
        looked = 0
        for entry in peers.open:
            node = entry[3]
            if tried and node.id in tried:
                continue
            finish = now + cost_ms * node.next_ms + node.lag
            if finish < best:
                best, chosen, starts = finish, node, now
            looked += 1
            if not node.lag or looked == LOOK:
                break  # the rest is slower
        full = peers.full
        if lead >= 0.0 and full and full[0][0] <= now + lead and now + cost_ms * peers.fastest < best:
            found = earliest_busy(full, peers.fastest, cost_ms, now, now + lead, best, tried)
            if found is not None:
                chosen, starts, best = found
    return None if chosen is None else (chosen, starts, best, "")


def next_finish(groups: Sequence[Peers], cost_ms: float, now: float, tried: frozenset[str], bound: float) -> float:
    """The earliest finish on any node, however long it is still busy; infinity if not before `bound`."""
    best = bound
    for peers in groups:
        looked = 0
        for entry in peers.open:
            node = entry[3]
            if node.id not in tried:
                best = min(best, now + cost_ms * node.next_ms + node.lag)
                looked += 1
                if not node.lag or looked == LOOK:
                    break
        latest = best - cost_ms * peers.fastest  # whoever starts later cannot win
        for shelf in (peers.full, peers.stuffed):
            if shelf and shelf[0][0] < latest:
                found = earliest_busy(shelf, peers.fastest, cost_ms, now, inf, best, tried)
                if found is not None:
                    best = found[2]
    return best if best < bound else inf


def earliest_busy(
    shelf: list[Entry],
    fastest: float,
    cost_ms: float,
    now: float,
    limit: float,
    best: float,
    tried: frozenset[str],
) -> tuple[Backend, float, float] | None:
    """The busy node, free by `limit`, that finishes first and before `best`: it, when it is free, when it is done.

    A node that is late by x is expected to be late by x more: one that hangs must not look as if it were free at once.
    So the shelf is walked from the present both ways, and no further than a node as fast as the fastest could win.
    """
    found: tuple[Backend, float, float] | None = None
    slack = cost_ms * fastest * WORTHWHILE
    after = bisect_left(shelf, (now,))  # the first that is not late
    before = after - 1
    end = len(shelf)
    for _ in range(LOOK):
        late = 2.0 * now - shelf[before][0] if before >= 0 else inf
        if after < end and shelf[after][0] <= late:
            start, node = shelf[after][0], shelf[after][3]
            after += 1
        elif before >= 0:
            start, node = late, shelf[before][3]
            before -= 1
        else:
            break
        if start > limit or start + slack >= best:
            break
        if (limit < inf and now < node.prefetch_from) or (tried and node.id in tried):
            continue  # nothing is sent ahead to a node that just came, but it may be waited for
        finish = start + cost_ms * node.next_ms + node.lag
        if finish < best:
            best = finish
            found = (node, start, finish)
    return found
