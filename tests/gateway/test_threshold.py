"""The moving threshold: each pool's share of work is its share of capacity."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.threshold import Threshold


def test_before_anything_arrived_nothing_is_heavy():
    assert Threshold().cut(0.5) == float("inf")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_work_below_the_cut_is_the_share_asked_for(share):
    rng, threshold, costs = Random(1), Threshold(), []
    for _ in range(4000):
        cost = 10 + 30 * rng.lognormvariate(0, 0.6)
        if rng.random() < 0.05:
            cost *= 20
        costs.append(cost)
        threshold.add(cost)
    cut = threshold.cut(share)
    below = sum(cost for cost in costs if cost <= cut) / sum(costs)
    assert below == pytest.approx(share, abs=0.08)


def test_a_mix_that_changed_is_followed():
    threshold = Threshold()
    for _ in range(3000):
        threshold.add(10.0)
    for _ in range(3000):
        threshold.add(1000.0)
    assert threshold.cut(0.5) > 900


@given(st.lists(st.floats(0, 1e300), max_size=50), st.floats(0, 1))
def test_any_costs_and_shares_give_a_cut(costs, share):
    threshold = Threshold()
    for cost in costs:
        threshold.add(cost)
    assert threshold.cut(share) >= 0
