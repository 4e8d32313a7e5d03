"""Retries are a share of recent requests, and a few that are always allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.retry_budget import WINDOW, RetryBudget


def granted(budget: RetryBudget, now: float, asked: int) -> int:
    return sum(budget.withdraw(now) for _ in range(asked))


def test_a_quiet_gateway_may_retry_a_little():
    assert granted(RetryBudget(0.2, 3.0), 0.0, 10) == 3


def test_under_load_a_fifth_of_requests_may_be_retried():
    budget = RetryBudget(0.2, 0.0)
    for number in range(100):
        budget.deposit(number * 0.05)
    assert granted(budget, 5.0, 100) == 20


def test_when_everything_fails_attempts_stay_near_the_budget():
    """B21: all nodes fail for 30 s; attempts at most 1.2 per request, beside the few always allowed."""
    budget, retries, requests = RetryBudget(0.2, 3.0), 0, 0
    for tick in range(3000):
        now = tick * 0.01
        budget.deposit(now)
        requests += 1
        retries += granted(budget, now, 2)
    assert retries <= 0.2 * requests + 3.0 * 30 + 3


def test_old_deposits_are_worth_nothing():
    budget = RetryBudget(1.0, 0.0)
    for _ in range(50):
        budget.deposit(1.0)
    assert granted(budget, 1.0 + WINDOW, 50) == 0


def test_the_balance_is_what_would_be_granted():
    budget = RetryBudget(0.5, 2.0)
    for _ in range(10):
        budget.deposit(0.0)
    assert int(budget.balance(0.0)) == granted(budget, 0.0, 99) == 7


def test_nothing_is_allowed_when_nothing_is_configured():
    budget = RetryBudget(0.0, 0.0)
    for number in range(1000):
        budget.deposit(float(number))
    assert granted(budget, 1000.0, 5) == 0


@given(
    st.floats(0, 1),
    st.floats(0, 10),
    st.lists(st.tuples(st.booleans(), st.floats(-1e6, 1e6)), max_size=80),
)
def test_clocks_may_jump_and_the_budget_stays_a_budget(share, per_second, steps):
    budget, deposits, taken = RetryBudget(share, per_second), 0, 0
    for deposit, now in steps:
        if deposit:
            budget.deposit(now)
            deposits += 1
        else:
            taken += budget.withdraw(now)
        assert budget.balance(now) >= 0.0
    assert taken <= deposits * share + len(steps) * max(1.0, per_second) + 1e-6
