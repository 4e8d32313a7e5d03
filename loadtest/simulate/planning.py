"""How many nodes are needed: the smallest fleets that hold the targets under a load."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from loadtest.simulate.arrivals import Load
from loadtest.simulate.machines import Kind, plan
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.several import simulate
from loadtest.simulate.world import Options


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet that holds the targets, no light node of which can be spared."""

    light: int
    heavy: int
    price: float
    result: Result


class Search:
    """Finds, for each number of heavy nodes, the fewest light ones with which both classes are within target."""

    def __init__(self, load: Load, options: Options, light: Kind, heavy: Kind, share: float, most: int) -> None:
        self.load, self.options = load, options
        self.light, self.heavy = light, heavy
        self.share = share  # of each class that must be within its target
        self.most = most  # nodes of one kind that are tried
        self.runs = 0

    def run(self, progress: Callable[[str], None] = lambda _: None) -> list[Answer]:
        """All fleets that are cheapest for some number of heavy nodes, the cheapest first; empty if none holds."""
        answers: list[Answer] = []
        for heavy in range(self.most + 1):
            cheapest = min((each.price for each in answers), default=float("inf"))
            if heavy * self.heavy.price >= cheapest:
                break
            left = (cheapest - heavy * self.heavy.price) / self.light.price
            limit = int(min(self.most, left))
            progress(f"{heavy} heavy")
            answer = self._fewest_light(heavy, limit)
            if answer is not None:
                answers.append(answer)
        return sorted(answers, key=lambda each: each.price)

    def _fewest_light(self, heavy: int, limit: int) -> Answer | None:
        """By halving: more nodes never make it worse, apart from noise."""
        best = self._try(limit, heavy)
        if best is None:
            return None
        low, high = 0, limit
        while low < high:
            middle = (low + high) // 2
            tried = self._try(middle, heavy)
            if tried is None:
                low = middle + 1
            else:
                best, high = tried, middle
        return best

    def _try(self, light: int, heavy: int) -> Answer | None:
        # A fleet that cannot even do the work needs no simulation.
        power = light * self.light.speed * self.light.slots + heavy * self.heavy.speed * self.heavy.slots
        if self.load.utilisation(power) >= 1.0 or not power:
            return None
        fleet = plan(light, heavy, self.light, self.heavy)
        routing = self.options.routing
        records = simulate(self.load, fleet, self.options)
        self.runs += 1
        result = summarise(f"{light} light, {heavy} heavy", records, routing.slo_light_ms, routing.slo_heavy_ms)
        if min(result.light.within, result.heavy.within) < self.share:
            return None
        price = light * self.light.price + heavy * self.heavy.price
        return Answer(light=light, heavy=heavy, price=price, result=result)
