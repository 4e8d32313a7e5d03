"""The figures to reach, as ratios within one run, and who beats us at what. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

import msgspec

from loadtest.compare.contenders import CONTENDERS
from loadtest.compare.outcome import Outcome
from loadtest.simulate.results import Result

MARGIN = 0.05  # less than this is luck


class Figure(msgspec.Struct, frozen=True):
    """One goal: what was wanted and what was seen."""

    goal: str
    wanted: str
    seen: str
    reached: bool


class Results:
    """Outcomes by scenario and contender."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._by_name = {(each.scenario, each.contender): each for each in outcomes}

    def ours(self, scenario: str) -> Outcome | None:
        """What fleetgate did."""
        return self._by_name.get((scenario, "fleetgate"))

    def of(self, scenario: str, contender: str) -> Outcome | None:
        """What one did."""
        return self._by_name.get((scenario, contender))

    def others(self, scenario: str) -> list[Outcome]:
        """What all others did."""
        return [
            each
            for (where, who), each in self._by_name.items()
            if where == scenario and who in CONTENDERS and not CONTENDERS[who].ours
        ]


def beats(theirs: Outcome, ours: Outcome) -> list[str]:
    """In what another is better than we are, by more than luck."""
    lower = {
        "small p99": (theirs.result.light.p99, ours.result.light.p99),
        "small p50": (theirs.result.light.p50, ours.result.light.p50),
        "oversized p99": (theirs.result.heavy.p99, ours.result.heavy.p99),
        "oversized p50": (theirs.result.heavy.p50, ours.result.heavy.p50),
    }
    higher = {
        "small within": (theirs.result.light.within, ours.result.light.within),
        "oversized within": (theirs.result.heavy.within, ours.result.heavy.within),
        "all within": (theirs.result.within, ours.result.within),
    }
    found = [name for name, (them, us) in lower.items() if isfinite(them) and them < us * (1 - MARGIN)]
    # A share near one is beaten by its misses, not by percents of itself.
    return found + [name for name, (them, us) in higher.items() if them > us + 0.002 and (1 - them) < 0.8 * (1 - us)]


def figures(outcomes: Sequence[Outcome], floors: dict[str, Result]) -> list[Figure]:
    """Every goal that this run can judge."""
    results = Results(outcomes)
    found: list[Figure] = []
    if (ours := results.ours("80")) is not None:
        found += _at_80(results, ours, floors["80"])
    for load in ("90", "95"):
        if (ours := results.ours(load)) is not None and (others := results.others(load)):
            best = max(others, key=lambda each: each.result.within)
            seen = f"{ours.result.within:.1%}, best other {best.result.within:.1%} ({best.contender})"
            goal = f"share within target at {load} % above every proxy"
            found.append(Figure(goal, "more than any", seen, ours.result.within > best.result.within))
    if (ours := results.ours("130")) is not None:
        found += _overload(results, ours)
    for mix in ("mix2", "mix10"):
        if (ours := results.ours(mix)) is not None:
            seen = f"{ours.result.within:.1%}"
            found.append(Figure(f"share within target, {mix}", "98.0%", seen, ours.result.within > 0.98))
    one, four = results.ours("80"), results.ours("gateways4")
    if one is not None and four is not None:
        found.append(_ratio("small p99, 4 gateways to 1", 1.4, four.result.light.p99, one.result.light.p99))
    return found


def _at_80(results: Results, ours: Outcome, floor: Result) -> list[Figure]:
    small = ours.result.light.p99
    found = []
    single = [each for each in results.others("80") if not CONTENDERS[each.contender].split]
    counting = [each for each in single if not CONTENDERS[each.contender].queue]
    for among, which in ((single, "single-pool proxy"), (counting, "single-pool proxy without a queue of its own")):
        if among:
            best = min(among, key=lambda each: each.result.light.p99)
            goal = f"small p99 at 80 % to the best {which} ({best.contender})"
            found.append(_ratio(goal, 1 / 3, small, best.result.light.p99))
    if (default := results.of("80", "envoy least_request")) is not None:
        found.append(_ratio("small p99 at 80 % to Envoy's default", 1 / 8, small, default.result.light.p99))
    found.append(_ratio("small p99 at 80 % to the zero-load floor", 1.5, small, floor.light.p99))
    if results.others("80"):
        best = min(results.others("80"), key=lambda each: each.result.heavy.p99)
        goal = f"oversized p99 at 80 % to the best of them ({best.contender})"
        found.append(_ratio(goal, 1.0, ours.result.heavy.p99, best.result.heavy.p99))
    return found


def _overload(results: Results, ours: Outcome) -> list[Figure]:
    found = [
        Figure("small within target at 130 %", "90.0%", f"{ours.result.light.within:.1%}", _at_least(ours, 0.9, True)),
        Figure("all within target at 130 %", "70.0%", f"{ours.result.within:.1%}", _at_least(ours, 0.7, False)),
        Figure("503s at 130 % that carry Retry-After", "100%", f"{ours.told_when:.0%}", ours.told_when == 1.0),
    ]
    others = results.others("130")
    if others:
        best = max(others, key=lambda each: each.result.within)
        seen = f"{ours.result.within:.1%}, best other {best.result.within:.1%} ({best.contender})"
        goal = "share within target at 130 % above every proxy"
        found.append(Figure(goal, "more than any", seen, ours.result.within > best.result.within))
    return found


def _at_least(ours: Outcome, share: float, small: bool) -> bool:
    return (ours.result.light.within if small else ours.result.within) >= share


def _ratio(goal: str, most: float, ours: float, theirs: float) -> Figure:
    ratio = ours / theirs if 0 < theirs < inf else (0.0 if isfinite(ours) else inf)
    return Figure(goal, f"{most:.2f}", f"{ratio:.2f} ({ours:.0f} to {theirs:.0f} ms)", ratio <= most)
