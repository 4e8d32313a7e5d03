"""Turns between models, over all kinds of demand."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from node.fairness import Shares


def serve(shares: Shares, costs: dict[str, float], turns: int) -> Counter[str]:
    """All of them always want something: how much work each gets done."""
    done: Counter[str] = Counter()
    for _ in range(turns):
        who = min(costs, key=shares.turn)
        shares.charge(who, costs[who])
        done[who] += costs[who]
    return done


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(1, 500), min_size=2))
def test_work_is_shared_equally_whatever_a_piece_of_it_costs(costs: dict[str, float]) -> None:
    done = serve(Shares(), costs, 2000)

    assert max(done.values()) - min(done.get(who, 0.0) for who in costs) <= 2 * max(costs.values())


@given(st.floats(1, 500), st.integers(1, 400), st.floats(1, 500))
def test_who_comes_late_waits_for_one_piece_and_has_saved_nothing(cost: float, turns: int, late_cost: float) -> None:
    shares = Shares()
    serve(shares, {"flood": cost}, turns)
    shares.charge("flood", cost)
    assert shares.turn("late") <= shares.turn("flood")

    done = serve(shares, {"flood": cost, "late": late_cost}, 500)
    assert abs(done["flood"] - done["late"]) <= 2 * max(cost, late_cost)


def test_only_those_that_lie_ahead_are_remembered() -> None:
    shares = Shares()
    for number in range(1000):
        shares.charge(number, 1.0)
        shares.charge("other", 50.0)

    assert len(shares._until) < 60
