"""The verdict: one sentence, and always the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.dashboard.document import Node, Registry, Verdict
from gateway.dashboard.verdict import NO_TARGETS, age, judge
from gateway.windows import Quantiles, Window
from tests.fakes.documents import GOOD, node, pool, window


def verdict(
    *nodes: Node,
    recent: Window | None = None,
    registry: Registry = GOOD,
    lost: Sequence[str] = (),
    targets: Mapping[str, float] = NO_TARGETS,
    **changes: Any,
) -> Verdict:
    pools = [pool(name, list(nodes), **changes) for name in ("light", "heavy")]
    return judge(pools, nodes, registry, recent or window(), lost=lost, targets=targets)


LIGHT, LIGHT2, HEAVY = node("l1"), node("l2"), node("h1", "heavy")


def test_all_is_well() -> None:
    said = verdict(LIGHT, LIGHT2, HEAVY)
    assert (said.level, said.text) == ("ok", "Serving. All 3 nodes healthy.")


def test_the_sentence_of_the_issue() -> None:
    said = verdict(LIGHT, HEAVY, node("h2", "heavy", "ejected"), recent=window(errors=5))
    assert said.level == "degraded"
    assert said.text == "Serving. Heavy pool degraded: 1 of 2 nodes ejected. 5 errors in 10 s."


def test_latency_far_above_its_target_is_told_when_it_is_no_chance() -> None:
    slow, few = Quantiles(200, 900.0, 4200.0, 9000.0), Quantiles(5, 900.0, 4200.0, 9000.0)
    targets = {"light": 250.0, "heavy": 0.0}
    said = verdict(LIGHT, HEAVY, recent=window(light=slow), targets=targets)
    assert (said.level, said.text) == ("degraded", "Serving. Slow: light p95 is 4.2 s, the target 250 ms.")
    assert verdict(LIGHT, HEAVY, recent=window(light=few), targets=targets).level == "ok"
    assert verdict(LIGHT, HEAVY, recent=window(light=slow), targets={"light": 1100.0}).level == "ok"
    assert verdict(LIGHT, HEAVY, recent=window(light=slow)).level == "ok"


def test_no_healthy_node_is_down_though_processes_run() -> None:
    said = verdict(node("l1", state="ejected"), node("h1", "heavy", "critical"), recent=window(ok=0, refused=9))
    assert (said.level, said.text) == ("down", "Down. No node can serve: 1 critical, 1 ejected. 9 refused in 10 s.")


def test_healthy_nodes_that_fail_every_request_are_down() -> None:
    said = verdict(LIGHT, HEAVY, recent=window(ok=0, errors=7))
    assert (said.level, said.text) == ("down", "Down. Nothing succeeded in 10 s: 7 errors.")


def test_two_failures_on_a_quiet_night_are_not_the_end() -> None:
    assert verdict(LIGHT, HEAVY, recent=window(ok=0, errors=2)).level == "degraded"


def test_one_error_among_many_is_told_and_does_not_alarm() -> None:
    said = verdict(LIGHT, HEAVY, recent=window(ok=1000, errors=1))
    assert (said.level, said.text) == ("ok", "Serving. All 2 nodes healthy. 1 error in 10 s.")


def test_a_pool_without_a_usable_node_says_where_its_work_goes() -> None:
    said = verdict(LIGHT, node("h1", "heavy", "ejected"))
    assert said.level == "degraded"
    assert said.text == ("Serving. Heavy pool down: 1 of 1 node ejected; oversized images go to light nodes.")


def test_a_fleet_without_heavy_nodes_is_well_and_says_so() -> None:
    said = verdict(LIGHT, LIGHT2)
    assert said.level == "ok"
    assert "No heavy nodes: oversized images go to light nodes." in said.text


def test_a_drained_node_is_no_fault() -> None:
    said = verdict(LIGHT, node("l2", state="draining"), HEAVY)
    assert (said.level, said.text) == ("ok", "Serving. All 2 nodes healthy. Light pool: 1 of 2 draining.")


def test_refusals_degrade() -> None:
    said = verdict(LIGHT, HEAVY, recent=window(refused=12))
    assert (said.level, said.text) == ("degraded", "Serving. 12 refused in 10 s.")


def test_a_long_wait_degrades() -> None:
    said = verdict(LIGHT, HEAVY, queued=4, oldest_wait_seconds=7.4)
    assert (said.level, said.text) == ("degraded", "Serving. 4 light waiting, the oldest for 7 s.")


def test_a_lost_registry_degrades_and_is_named() -> None:
    lost = Registry(url="", answered=True, stale="connection refused", for_seconds=42, updates=3, failures=1)
    said = verdict(LIGHT, HEAVY, registry=lost)
    assert said.level == "degraded"
    assert said.text == "Serving. Registry lost 42 s ago (connection refused); last known nodes kept."


def test_a_registry_that_never_answered_is_down() -> None:
    silent = Registry(url="", answered=False, stale="", for_seconds=0, updates=0, failures=0)
    said = verdict(registry=silent)
    assert (said.level, said.text) == ("down", "Down. The registry has not answered yet.")


def test_an_empty_fleet_is_down() -> None:
    assert verdict().text == "Down. No node has announced itself."


def test_a_model_that_nobody_can_serve_is_named() -> None:
    said = verdict(LIGHT, node("l2", state="ejected", models=("resnet@2",)))
    assert said.level == "degraded"
    assert "No node can serve resnet@2." in said.text


def test_suspected_nodes_in_use_are_told() -> None:
    said = verdict(LIGHT, node("l2", state="ejected", usable=True))
    assert "Too few others are left: 1 suspected node is used." in said.text


def test_a_leaving_gateway_is_down() -> None:
    said = judge([pool("light", [LIGHT])], [LIGHT], GOOD, window(), draining=True)
    assert (said.level, said.text) == ("down", "Down. This gateway is leaving and takes nothing new.")


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (42, "42 s"), (150, "2 min"), (7_300, "2 h"), (200_000, "2 d")]
)
def test_ages_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_a_node_that_vanished_without_a_goodbye_is_not_forgotten_at_once() -> None:
    said = verdict(LIGHT, LIGHT2, HEAVY, lost=["c"])
    assert (said.level, said.text) == ("degraded", "Serving. Lost without a goodbye: c.")
    said = verdict(lost=["a", "b", "c", "d"])
    assert (said.level, said.text) == ("down", "Down. Lost without a goodbye: a, b, c and 1 more.")
