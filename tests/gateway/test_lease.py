"""A lease ends exactly once, and how it ended decides who is to blame."""

from __future__ import annotations

import pytest

from tests.fakes.routing import fleet_named, given, scheduler_of, ticket

ENDINGS = {
    "succeeded": lambda lease: lease.succeeded(1.0, 100.0),
    "failed": lambda lease: lease.failed(1.0, "node-unreachable"),
    "busy": lambda lease: lease.busy(1.0),
    "abandoned": lambda lease: lease.abandoned(1.0),
}


def held():
    fleet = fleet_named("l1", "l2")
    return fleet, given(scheduler_of(fleet), ticket())


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_gives_the_slot_back_once(ending):
    _, lease = held()
    assert lease.backend.in_flight == 1
    ENDINGS[ending](lease)
    assert lease.ending == ending
    assert lease.backend.in_flight == 0
    for again in ENDINGS.values():
        with pytest.raises(RuntimeError, match="ended before"):
            again(lease)
    assert lease.backend.in_flight == 0


def test_only_failures_count_against_the_node():
    for ending, errors in (("failed", 1), ("succeeded", 0), ("busy", 0), ("abandoned", 0)):
        _, lease = held()
        ENDINGS[ending](lease)
        assert (lease.backend.errors, lease.backend.standing.failures) == (errors, errors)


def test_a_success_wipes_the_failures_before_it():
    fleet, lease = held()
    fleet.erred(lease.backend, "node-garbage", 0.5)
    lease.succeeded(1.0, 100.0)
    assert lease.backend.standing.failures == 0
    assert lease.backend.answers == 1


def test_a_node_that_refused_is_not_asked_again_at_once():
    fleet, lease = held()
    refused_by = lease.backend
    lease.busy(1.0)
    assert not refused_by.open
    assert fleet.backends[refused_by.id].usable


def test_it_says_what_it_is():
    _, lease = held()
    assert repr(lease) == f"<Lease t on {lease.backend.id} held>"
