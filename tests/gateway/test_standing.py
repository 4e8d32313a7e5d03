"""The word for a node: who says what, whose word is stronger, and how long it holds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from discovery.instance import Status
from gateway.config import Health
from gateway.standing import Standing, State

HEALTH = Health(probe_failures=2, eject_failures=3, eject_seconds=5.0, eject_max_seconds=60.0)


def standing(**said) -> Standing:
    one = Standing(HEALTH, 0.0)
    for name, value in said.items():
        setattr(one, name, value)
    return one


def word(one: Standing, now: float = 0.0) -> str:
    return one.judge(now)[0].value


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({}, "healthy"),
        ({"status": Status.WARNING}, "degraded"),
        ({"status": Status.CRITICAL}, "critical"),
        ({"status": Status.MAINTENANCE}, "draining"),
        ({"listed": False}, "unlisted"),
        ({"probed": False}, "ejected"),
        ({"ejected_until": 9.0}, "ejected"),
        ({"operator": "drain"}, "draining"),
        ({"operator": "eject"}, "ejected"),
        ({"operator": "drain", "probed": False}, "draining"),
        ({"status": Status.MAINTENANCE, "operator": "eject"}, "draining"),
        ({"status": Status.CRITICAL, "probed": False}, "ejected"),
        ({"status": Status.WARNING, "listed": False}, "unlisted"),
    ],
)
def test_every_judge_has_its_word(said, state):
    assert word(standing(**said), 1.0) == state


def test_every_word_has_a_reason():
    for said in ({}, {"probed": False, "probe_why": "connection refused"}, {"listed": False}, {"calm_at": 5.0}):
        assert standing(**said).judge(1.0)[1]
    assert standing(probed=False, probe_why="connection refused").judge(0.0)[1] == "probe failed: connection refused"


def test_one_lost_probe_is_chance_two_are_a_pattern():
    one = standing()
    one.probe(False, 1.0, "timed out")
    assert word(one, 1.0) == "healthy"
    one.probe(False, 2.0, "timed out")
    assert word(one, 2.0) == "ejected"
    one.probe(True, 3.0, "")
    assert word(one, 3.0) == "healthy"


def test_ejections_grow_and_end_by_themselves():
    one = standing()
    lengths = []
    now = 0.0
    for _ in range(20):
        one.eject("bad", now, 0.0)
        lengths.append(one.ejected_until - now)
        now = one.ejected_until
        assert word(one, now - 0.01) == "ejected"
        assert word(one, now) == "healthy"
    assert lengths[:3] == [5.0, 10.0, 15.0]
    assert max(lengths) == 60.0


def test_good_conduct_for_a_minute_is_forgotten_history():
    one = standing()
    one.eject("bad", 0.0, 0.0)
    one.eject("bad", 10.0, 0.0)
    one.eject("bad", 200.0, 0.0)
    assert one.ejected_until == 205.0


def test_jitter_keeps_ejected_nodes_from_returning_together():
    one = standing()
    one.eject("bad", 0.0, 1.0)
    assert one.ejected_until == pytest.approx(5.5)


def test_after_an_ejection_one_more_failure_is_enough():
    one = standing()
    assert [one.error("node-garbage", 0.0) for _ in range(3)] == [False, False, True]
    one.eject("bad", 0.0, 0.0)
    one.serve_out(5.0)
    assert one.error("node-garbage", 5.1)


def test_a_first_return_from_critical_is_believed_at_once():
    one = standing()
    one.listed_as(Status.CRITICAL, 10.0)
    one.listed_as(Status.PASSING, 11.0)
    assert word(one, 11.0) == "healthy"


def test_a_node_that_flaps_changes_three_times_in_a_minute_at_most():
    """B15: the check flaps each second for a minute."""
    one = standing()
    words = []
    for second in range(60):
        one.listed_as(Status.CRITICAL if second % 2 else Status.PASSING, float(second))
        words.append(word(one, float(second)))
    changes = sum(before != after for before, after in pairwise(words))
    assert changes <= 3
    for second in range(60, 140):
        one.listed_as(Status.PASSING, float(second))
    assert word(one, 140.0) == "healthy"


def test_a_clock_that_jumps_back_locks_nobody_out_for_long():
    one = standing()
    one.eject("bad", 1e6, 0.0)
    one.calm_at = 1e6
    assert word(one, 10.0) in {"critical", "ejected"}
    assert word(one, 10.0 + 66.0) == "healthy"


def test_next_change_is_when_time_alone_changes_the_word():
    one = standing()
    assert one.next_change(0.0) == float("inf")
    one.eject("bad", 0.0, 0.0)
    assert one.next_change(1.0) == 5.0
    assert one.next_change(5.0) == float("inf")


@pytest.mark.parametrize(
    ("said", "spare"),
    [
        ({"ejected_until": 9.0}, True),
        ({"status": Status.CRITICAL, "probed": True}, True),
        ({"status": Status.CRITICAL}, False),  # nobody vouches for it
        ({"probed": False}, False),
        ({"operator": "eject"}, False),
        ({"status": Status.MAINTENANCE}, False),
    ],
)
def test_in_panic_only_suspects_are_used_not_the_dead_nor_the_leaving(said, spare):
    one = standing(**said)
    one.state, _ = one.judge(1.0)
    assert one.spare is spare


def test_a_pardon_cleans_the_record():
    one = standing(failures=7)
    one.eject("bad", 0.0, 0.0)
    one.pardon()
    assert word(one) == State.HEALTHY
    assert one.failures == one.ejections == 0
