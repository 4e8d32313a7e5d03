"""All nodes: what a snapshot changes and what it may not, and who is used when."""

from __future__ import annotations

from random import Random

import pytest

from discovery.instance import Snapshot, Status
from gateway.config import Health
from gateway.fleet import Fleet
from tests.fakes.routing import fleet_named, fleet_of, node, snapshot, with_status


def states(fleet: Fleet) -> dict[str, str]:
    return {name: backend.standing.state.value for name, backend in fleet.backends.items()}


def usable(fleet: Fleet) -> set[str]:
    return {name for name, backend in fleet.backends.items() if backend.usable}


def fail(fleet: Fleet, name: str, times: int = 3, now: float = 1.0) -> None:
    for _ in range(times):
        fleet.erred(fleet.backends[name], "node-unreachable", now)


# ---- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot_brings_who_came_and_who_left():
    fleet = fleet_named("l1", "l2")
    fleet.probed("l1", True, 1.0)
    change = fleet.adopt(snapshot(node("l2"), node("l3")), 2.0)
    assert [each.id for each in change.joined] == ["l3"]
    assert [each.id for each in change.left] == []  # l1 passes our probes
    assert states(fleet) == {"l1": "unlisted", "l2": "healthy", "l3": "healthy"}
    assert usable(fleet) == {"l1", "l2", "l3"}


def test_survivors_keep_their_memory():
    fleet = fleet_named("l1")
    backend = fleet.backends["l1"]
    backend.errors = 7
    fleet.adopt(snapshot(node("l1", max_pixels=9)), 2.0)
    assert fleet.backends["l1"] is backend
    assert (backend.errors, backend.max_pixels) == (7, 9)


def test_an_empty_answer_never_empties_the_fleet():
    """B11: Consul wiped, 200 []."""
    fleet = fleet_named("l1", "l2", "h1")
    for name in fleet.backends:
        fleet.probed(name, True, 1.0)
    change = fleet.adopt(snapshot(), 2.0)
    assert change.left == []
    assert usable(fleet) == {"l1", "l2", "h1"}
    assert fleet.servable("m", "1") == "yes"


def test_an_unlisted_node_is_dropped_when_it_fails_a_probe():
    fleet = fleet_named("l1", "l2")
    fleet.probed("l1", True, 1.0)
    fleet.adopt(snapshot(node("l2")), 2.0)
    change = fleet.probed("l1", False, 3.0, "connection refused")
    assert [each.id for each in change.left] == ["l1"]
    assert set(fleet.backends) == {"l2"}


def test_an_unlisted_node_is_listed_again_as_if_nothing_had_been():
    fleet = fleet_named("l1")
    fleet.probed("l1", True, 1.0)
    fleet.adopt(snapshot(), 2.0)
    change = fleet.adopt(snapshot(node("l1")), 3.0)
    assert change.joined == []
    assert states(fleet) == {"l1": "healthy"}


@pytest.mark.parametrize("status", [Status.MAINTENANCE, Status.CRITICAL])
def test_a_node_that_said_goodbye_is_gone_when_it_vanishes(status):
    fleet = fleet_named("l1", "l2")
    fleet.probed("l1", True, 1.0)
    fleet.adopt(snapshot(with_status(node("l1"), status), node("l2")), 2.0)
    change = fleet.adopt(snapshot(node("l2")), 3.0)
    assert [each.id for each in change.left] == ["l1"]


def test_a_node_that_no_probe_ever_reached_is_gone_when_it_vanishes():
    """A registry that invents nodes must not fill our memory."""
    fleet = fleet_named("l1")
    for number in range(50):
        fleet.adopt(snapshot(node("l1"), node(f"ghost-{number}")), float(number))
    fleet.adopt(snapshot(node("l1")), 99.0)
    assert set(fleet.backends) == {"l1"}


def test_two_announcements_of_one_id_are_one_node_whatever_their_order():
    twins = [node("l1", port=9001), node("l1", port=9002)]
    first, second = fleet_of(*twins), fleet_of(*reversed(twins))
    assert first.backends["l1"].instance == second.backends["l1"].instance


def test_staleness_is_told_and_changes_nobody():
    fleet = fleet_named("l1")
    fleet.adopt(Snapshot(instances=frozenset([node("l1")]), stale="no leader"), 5.0)
    assert fleet.stale == "no leader"
    assert usable(fleet) == {"l1"}


def test_a_node_that_changes_pool_or_models_moves():
    fleet = fleet_of(node("l1"), node("l2"))
    fleet.adopt(snapshot(node("l1", pool="heavy", models=("other@2",)), node("l2")), 1.0)
    assert fleet.servable("other", "2") == "yes"
    assert [len(peers.open) for peers in fleet.reach("other", "", 1).heavy] == [1]


# ---- registry, probes, failures --------------------------------------------------------------------------------------


def test_degraded_nodes_are_used_only_if_nobody_healthy_is_left():
    warning = with_status(node("l1"), Status.WARNING)
    fleet = fleet_of(warning, node("l2"))
    assert usable(fleet) == {"l2"}
    fleet.drain("l2", 1.0, "maintenance")
    assert usable(fleet) == {"l1"}


def test_degraded_heavy_nodes_are_used_though_light_ones_are_healthy():
    fleet = fleet_of(with_status(node("h1"), Status.WARNING), node("l1"))
    assert usable(fleet) == {"h1", "l1"}


def test_failures_in_a_row_eject_and_time_restores():
    fleet = fleet_named("l1", "l2", "l3")
    fail(fleet, "l1", 2)
    assert usable(fleet) == {"l1", "l2", "l3"}
    fail(fleet, "l1", 1)
    assert states(fleet)["l1"] == "ejected"
    assert "3 failures in a row, last node-unreachable" in fleet.backends["l1"].standing.why
    assert usable(fleet) == {"l2", "l3"}
    fleet.refresh_if_due(1.0 + 5.5)
    assert usable(fleet) == {"l1", "l2", "l3"}


def test_at_most_a_third_is_ejected_for_failures_but_always_one():
    fleet = fleet_named(*(f"l{number}" for number in range(9)))
    for number in range(9):
        fail(fleet, f"l{number}")
    assert sum(state == "ejected" for state in states(fleet).values()) == 3
    pair = fleet_named("l1", "l2")
    fail(pair, "l1")
    fail(pair, "l2")
    assert usable(pair) == {"l2"}


def test_ejected_concurrent_failures_do_not_lengthen_the_ejection():
    fleet = fleet_named("l1", "l2", "l3")
    fail(fleet, "l1", 10)
    assert fleet.backends["l1"].standing.ejections == 1


def test_in_panic_ejections_are_ignored_but_the_dead_stay_out():
    fleet = fleet_named("l1", "l2", "l3", health=Health(eject_max_share=1.0))
    for name in ("l1", "l2", "l3"):
        fail(fleet, name)
    assert fleet.panic
    assert usable(fleet) == {"l1", "l2", "l3"}
    for _ in range(2):
        fleet.probed("l1", False, 2.0, "refused")
    assert usable(fleet) == {"l2", "l3"}


def test_the_only_node_that_serves_a_model_is_used_though_ejected():
    fleet = fleet_of(node("l1"), node("l2"), node("l3"), node("x", models=("rare@1",)))
    fail(fleet, "x")
    assert not fleet.panic
    assert "x" in usable(fleet)


def test_a_failing_new_version_is_ejected_though_nobody_else_serves_it():
    """A canary that fails must not be saved by being the only one of its version."""
    fleet = fleet_of(node("l1"), node("l2"), node("l3"), node("canary", models=("m@2",)))
    fail(fleet, "canary")
    assert "canary" not in usable(fleet)


def test_one_of_ten_passing_keeps_those_whom_our_probe_passes():
    """B14."""
    names = [f"l{number}" for number in range(10)]
    fleet = fleet_named(*names)
    for name in names:
        fleet.probed(name, True, 1.0)
    fleet.adopt(snapshot(node("l0"), *(with_status(node(name), Status.CRITICAL) for name in names[1:])), 2.0)
    assert fleet.panic
    assert usable(fleet) == set(names)
    for _ in range(2):
        fleet.probed("l5", False, 3.0, "refused")
    assert usable(fleet) == set(names) - {"l5"}


def test_never_probed_critical_nodes_are_not_used_even_in_panic():
    fleet = fleet_of(*(with_status(node(f"l{number}"), Status.CRITICAL) for number in range(3)))
    assert usable(fleet) == set()
    assert fleet.servable("m", "") == "no_node_now"


def test_a_returning_node_starts_slowly():
    fleet = fleet_named("l1", "l2")
    backend = fleet.backends["l1"]
    assert {each.prefetch_from for each in fleet.backends.values()} == {0.0}  # everybody is new at first
    for now in (1.0, 2.0):
        fleet.probed("l1", False, now, "timed out")
    fleet.probed("l1", True, 8.0)
    assert backend.prefetch_from == 18.0
    fleet.adopt(snapshot(node("l1"), node("l2"), node("l3")), 20.0)
    assert fleet.backends["l3"].prefetch_from == 30.0


# ---- operators -------------------------------------------------------------------------------------------------------


def test_an_operators_drain_survives_snapshots_and_is_taken_back():
    fleet = fleet_named("l1", "l2")
    fleet.drain("l1", 1.0, "new disk")
    fleet.adopt(snapshot(node("l1"), node("l2")), 2.0)
    assert states(fleet)["l1"] == "draining"
    assert fleet.backends["l1"].standing.why == "drained by an operator: new disk"
    assert usable(fleet) == {"l2"}
    fleet.undrain("l1", 3.0)
    assert usable(fleet) == {"l1", "l2"}


def test_an_operators_ejection_holds_even_in_panic_until_restored():
    fleet = fleet_named("l1")
    fleet.eject("l1", 1.0, "smells of smoke")
    assert usable(fleet) == set()
    fleet.restore("l1", 2.0)
    assert usable(fleet) == {"l1"}


def test_restore_ends_an_ejection_for_failures():
    fleet = fleet_named("l1", "l2")
    fail(fleet, "l1")
    fleet.restore("l1", 1.1)
    assert usable(fleet) == {"l1", "l2"}
    assert fleet.backends["l1"].standing.failures == 0


def test_weight_zero_takes_a_node_out_of_the_choice():
    fleet = fleet_named("l1", "l2")
    fleet.set_weight("l1", 0.0)
    fleet.refresh_if_due(1.0)
    assert usable(fleet) == {"l2"}
    fleet.set_weight("l1", 0.5)
    fleet.refresh_if_due(1.0)
    assert usable(fleet) == {"l1", "l2"}


def test_an_order_for_an_unknown_node_is_an_error():
    fleet = fleet_named("l1")
    for order in (fleet.undrain, fleet.restore):
        with pytest.raises(KeyError):
            order("nobody", 1.0)
    assert fleet.probed("nobody", True, 1.0).left == []


# ---- models ----------------------------------------------------------------------------------------------------------


def test_a_model_nobody_ever_announced_is_unknown_and_one_whose_node_is_away_is_not():
    fleet = fleet_of(node("l1"), with_status(node("l2", models=("other@3",)), Status.MAINTENANCE))
    assert fleet.servable("m", "") == "yes"
    assert fleet.servable("m", "1") == "yes"
    assert fleet.servable("m", "2") == "unknown_model"
    assert fleet.servable("other", "3") == "no_node_now"
    fleet.adopt(snapshot(node("l1")), 1.0)  # it left for good; a restart would look the same
    assert fleet.servable("other", "") == "no_node_now"
    assert fleet.servable("nonsense", "") == "unknown_model"


def test_before_the_first_snapshot_no_model_is_unknown():
    assert Fleet(Health(), Random(1)).servable("anything", "") == "no_node_now"


def test_the_default_model_is_what_most_nodes_announce_and_it_sticks():
    fleet = fleet_of(node("l1", models=("b@1",)), node("l2", models=("b@1", "a@1")))
    assert fleet.default_model == "b"
    fleet.adopt(
        snapshot(node("l2", models=("b@1", "a@1")), node("l3", models=("a@1",)), node("l4", models=("a@1",))), 1.0
    )
    assert fleet.default_model == "b"
    fleet.adopt(snapshot(node("l3", models=("a@1",))), 2.0)
    assert fleet.default_model == "a"


def test_nodes_that_announce_no_models_take_whatever_comes():
    fleet = fleet_of(node("l1", models=()))
    assert fleet.default_model == ""
    assert fleet.servable("anything", "7") == "yes"


def test_the_most_pixels_are_those_of_any_known_node_usable_or_not():
    fleet = fleet_of(node("l1", max_pixels=10), with_status(node("h1", max_pixels=99), Status.CRITICAL))
    assert fleet.max_pixels("m") == 99
    assert fleet.max_pixels("nonsense") == 0


def test_reach_is_the_same_object_for_the_same_choice_of_nodes():
    fleet = fleet_of(node("l1", max_pixels=10), node("h1", max_pixels=99))
    assert fleet.reach("m", "", 5) is fleet.reach("m", "1", 10)
    assert fleet.reach("m", "", 50) is not fleet.reach("m", "", 5)
    assert fleet.reach("m", "", 50).light == ()


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_view_tells_state_since_and_why():
    fleet = fleet_named("l2", "l1", "h1")
    fail(fleet, "h1", now=4.0)
    rows = fleet.view(6.0)
    assert [row.id for row in rows] == ["l1", "l2", "h1"]
    row = rows[-1]
    assert (row.state, row.since_seconds, row.registry, row.probe) == ("ejected", 2.0, "passing", "unknown")
    assert row.last_error == "node-unreachable"
    assert row.errors == row.failures == 3
    assert repr(fleet).startswith("<Fleet [<Backend ")
