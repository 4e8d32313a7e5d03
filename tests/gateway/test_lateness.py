"""How late our own loop was, and when a silent node is believed to be silent."""

from __future__ import annotations

import pytest

from gateway.lateness import Lateness, more_time


def test_a_timer_that_rings_in_time_loses_nothing() -> None:
    lateness = Lateness(0.0)
    for turn in range(10):
        lateness.expect(turn * 0.1, (turn + 1) * 0.1)
    assert lateness.lost(1.0) == pytest.approx(0.0)


def test_what_is_late_adds_up_also_while_it_is_not_over() -> None:
    lateness = Lateness(0.0)
    lateness.expect(0.0, 1.0)
    assert lateness.lost(0.5) == 0.0
    assert lateness.lost(1.25) == 0.25
    lateness.expect(1.5, 2.0)
    assert lateness.lost(1.75) == 0.5
    assert lateness.lost(3.0) == 1.5


def test_a_timer_that_is_set_earlier_loses_nothing() -> None:
    lateness = Lateness(0.0)
    lateness.expect(0.0, 1.0)
    lateness.expect(0.2, 0.3)
    assert lateness.lost(0.3) == 0.0


@pytest.mark.parametrize(
    ("late", "more"), [(0.0, 0.0), (0.04, 0.0), (0.06, 0.06), (0.5, 0.5), (0.51, None), (9.0, None)]
)
def test_a_limit_is_longer_by_what_we_were_late_and_says_nothing_if_that_was_most_of_it(
    late: float, more: float | None
) -> None:
    assert more_time(1.0, late) == more
    assert more_time(2.0, 2 * late) == (more if more is None else 2 * more)
