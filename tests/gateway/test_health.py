"""Probes of real nodes, and what the fleet makes of them."""

import asyncio
import json
import time
from random import Random

import pytest

from discovery.instance import Snapshot
from gateway.backend import Backend
from gateway.config import Health
from gateway.fleet import Change, Fleet
from gateway.health import FRESH, HASTE, JITTER, next_wait, vouched_for
from tests.fakes.node import FakeNode
from tests.fakes.node_process import node_process
from tests.fakes.probing import OFTEN, probing

LOOPS = ["uvloop", "asyncio"]
SELDOM = Health(probe_interval=3600.0, probe_timeout=5.0)


async def test_who_joins_is_probed_at_once() -> None:
    async with FakeNode() as first, FakeNode() as second, probing(SELDOM) as one:
        one.adopt(first)
        await one.until(lambda: one.probed(first))
        one.adopt(first, second)
        await one.until(lambda: one.probed(second))
        assert (first.probes, second.probes) == (1, 1)


async def test_a_probe_brings_the_nodes_load() -> None:
    metrics = {"inflight": 3, "queue_depth": 2, "capacity": 8, "work_ms": 40}
    report = {"application_utilization": 0.6, "rps_fractional": 1.0, "eps": 0.0, "named_metrics": metrics}
    async with FakeNode(ready_report="JSON " + json.dumps(report)) as node, probing(SELDOM) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node))
        assert one.fleet.backends[node.instance().id].reported_queue == 2


async def test_probes_share_a_connection() -> None:
    async with FakeNode() as node, probing(OFTEN) as one:
        one.adopt(node)
        await one.until(lambda: len(one.verdicts) >= 10)
        assert node.accepted == 1


async def test_a_dead_node_is_out_and_back_when_it_answers_again() -> None:
    async with FakeNode() as node, probing(OFTEN) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node))
        await node.stop()
        await one.until(lambda: one.probed(node) is False)
        assert "refused" in one.why(node)
        await node.start()
        await one.until(lambda: one.probed(node))


async def test_a_node_that_hangs_is_out_and_back_when_it_goes_on() -> None:
    async with node_process() as process, probing(OFTEN) as one:
        node = FakeNode(port=process.port)
        one.adopt(node)
        await one.until(lambda: one.probed(node))
        process.pause()
        await one.until(lambda: one.probed(node) is False)
        process.resume()
        await one.until(lambda: one.probed(node))


async def test_a_node_that_hangs_is_out_without_waiting_for_another_turn() -> None:
    options = Health(probe_interval=3600.0, probe_timeout=0.4)
    async with FakeNode(ready=0) as node, probing(options) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node) is False)
        assert one.verdicts == [node.instance().id] * 2
        assert one.why(node) == "no answer in time"


async def test_a_probe_that_was_lost_on_its_way_is_made_up_for_by_a_second() -> None:
    options = Health(probe_interval=3600.0, probe_timeout=5.0)
    async with FakeNode(ready=0) as node, probing(options) as one:
        one.adopt(node)
        await node.wait(lambda n: n.probes == 1)
        node.ready = 200
        await one.until(lambda: one.probed(node))
        assert one.verdicts == [node.instance().id]
        assert node.probes == 2


async def test_a_mistake_about_one_node_does_not_end_the_probing_of_others(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeNode(ready=0) as node, FakeNode(ready=0) as other, probing(OFTEN) as one:
        mistakes = iter([KeyError("once")])
        judged = one.judged

        def mistaken(backend: Backend, change: Change) -> None:
            judged(backend, change)
            if (mistake := next(mistakes, None)) is not None:
                raise mistake

        one.prober._judged = mistaken
        one.adopt(node, other)
        await one.until(lambda: min(one.verdicts.count(each.instance().id) for each in (node, other)) >= 4)
        assert [record.getMessage() for record in caplog.records] == ["probe failed"]


async def test_a_node_that_closes_idle_connections_is_asked_on_new_ones() -> None:
    async with FakeNode(close_idle=True) as node, probing(OFTEN) as one:
        one.adopt(node)
        await one.until(lambda: len(one.verdicts) >= 5)
        assert one.probed(node)
        assert one.fleet.backends[node.instance().id].standing.probe_failures == 0


async def test_a_node_that_moved_is_asked_where_it_is_now() -> None:
    async with FakeNode(name="one") as before, FakeNode(name="one", ready=503) as after, probing(OFTEN) as one:
        one.adopt(before)
        await one.until(lambda: one.probed(before))
        one.adopt(after)
        await one.until(lambda: one.probed(after) is False)
        await before.wait(lambda node: not node.open)


async def test_connections_of_lost_probes_are_not_kept() -> None:
    async with FakeNode(ready=0) as node, probing(OFTEN) as one:
        one.adopt(node)
        await one.until(lambda: len(one.verdicts) >= 6)
        await node.wait(lambda n: len(n.open) <= 2)


async def test_nodes_that_join_together_are_not_asked_together_for_long() -> None:
    options = Health(probe_interval=1.0, probe_timeout=5.0)
    async with FakeNode() as node, probing(options) as one:
        one.adopt(*[FakeNode(name=f"node-{number}", port=node.port) for number in range(50)])
        await one.until(lambda: len(set(one.verdicts)) == 50)
        moments, known = set(), len(one.verdicts)
        for count in range(known + 1, known + 50):
            await one.until(lambda count=count: len(one.verdicts) >= count)
            moments.add(round(time.monotonic(), 2))
        assert len(moments) > 10


async def test_who_answers_requests_is_asked_all_the_same_now_and_then() -> None:
    async with FakeNode() as node, probing(OFTEN) as one:
        one.adopt(node)
        backend = one.fleet.backends[node.instance().id]
        backend.answers, backend.last_answer = 1, time.monotonic() + 3600.0
        await one.until(lambda: len(one.verdicts) >= 3)
        node.ready = 503
        await one.until(lambda: one.probed(node) is False)


async def test_who_answered_requests_and_hangs_now_is_out() -> None:
    async with node_process() as process, probing(OFTEN) as one:
        node = FakeNode(port=process.port)
        one.adopt(node)
        backend = one.fleet.backends[node.instance().id]
        backend.answers, backend.last_answer = 1, time.monotonic() + 3600.0
        await one.until(lambda: len(one.verdicts) >= 2)
        process.pause()
        backend.last_answer = time.monotonic()
        await one.until(lambda: one.probed(node) is False)


def answering() -> Backend:
    """A foreign server that passed its probe at 10 s and answered a request at 20 s."""
    instance = FakeNode(port=1).instance()
    fleet = Fleet(Health(), Random(1))
    fleet.adopt(Snapshot(instances=frozenset([instance])), 0.0)
    fleet.probed(instance.id, True, 10.0)
    backend = fleet.backends[instance.id]
    backend.answers, backend.last_answer = 1, 20.0
    return backend


def test_an_answer_vouches_for_a_foreign_server_for_a_moment() -> None:
    backend = answering()
    assert vouched_for(backend, 20.0, 1.0)
    assert vouched_for(backend, 20.0 + 0.99 * FRESH, 1.0)
    assert not vouched_for(backend, 20.0 + 1.01 * FRESH, 1.0)


def test_no_answer_vouches_for_who_failed_since_or_was_never_asked() -> None:
    for change in ({"failures": 1}, {"probe_failures": 1}, {"probed": False}, {"probed": None}):
        backend = answering()
        for name, value in change.items():
            setattr(backend.standing, name, value)
        assert not vouched_for(backend, 20.0, 1.0)
    backend = answering()
    backend.answers = 0
    assert not vouched_for(backend, 20.0, 1.0)


def test_a_node_of_ours_is_asked_whatever_it_answers_since_it_may_be_about_to_leave() -> None:
    backend = answering()
    backend.share(1, [], [], 15.0)
    assert not vouched_for(backend, 20.0, 1.0)


def test_what_others_gave_a_node_that_is_not_asked_grows_old_all_the_same() -> None:
    instance = FakeNode(port=1).instance()
    fleet = Fleet(Health(), Random(1))
    fleet.adopt(Snapshot(instances=frozenset([instance])), 0.0)
    backend = fleet.backends[instance.id]
    backend.refused(1.0)
    fleet.spared(instance.id, 2.0)
    assert backend.foreign
    fleet.spared(instance.id, 9.0)
    assert not backend.foreign


async def test_a_suspected_node_is_asked_now_and_not_when_it_is_its_turn() -> None:
    async with FakeNode() as node, probing(SELDOM) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node))
        await node.stop()
        for _ in range(SELDOM.probe_failures):
            one.prober.suspect(node.instance().id)
            known = len(one.verdicts)
            await one.until(lambda known=known: len(one.verdicts) > known)
        assert one.probed(node) is False
        # Everybody knows: more failed attempts cause no more probes.
        known = len(one.verdicts)
        for _ in range(100):
            one.prober.suspect(node.instance().id)
        await asyncio.sleep(0.05)
        assert len(one.verdicts) == known


async def test_a_storm_of_suspicions_is_one_probe() -> None:
    async with FakeNode() as node, probing(SELDOM) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node))
        for _ in range(1000):
            one.prober.suspect(node.instance().id)
        one.prober.suspect("nobody")
        await one.until(lambda: len(one.verdicts) == 2)
        assert node.probes == 2


@pytest.mark.parametrize(
    ("status", "verdict", "why"),
    [(200, True, ""), (204, True, ""), (429, True, "429"), (503, None, "503"), (400, None, "400"), (404, None, "404")],
)
async def test_a_status_is_a_verdict(status: int, verdict: bool | None, why: str) -> None:
    async with FakeNode(ready=status) as node, probing(SELDOM) as one:
        one.adopt(node)
        await one.until(lambda: one.verdicts)
        assert one.probed(node) is verdict
        assert why in one.why(node)


async def test_a_foreign_server_needs_no_load_report() -> None:
    async with FakeNode(protocol="oip", ready_report=None) as node, probing(SELDOM) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node))


async def test_who_left_is_probed_no_more() -> None:
    async with FakeNode() as first, FakeNode() as second, probing(OFTEN) as one:
        one.adopt(first, second)
        await one.until(lambda: one.probed(first) and one.probed(second))
        backend = one.fleet.backends[first.instance().id]
        one.prober.follow([], [backend])
        await first.wait(lambda node: not node.open)
        probes, known = first.probes, len(one.verdicts)
        await one.until(lambda: len(one.verdicts) >= known + 5)
        assert first.probes == probes
        assert list(one.prober.watched) == [second.instance().id]


async def test_an_unlisted_node_that_dies_leaves_and_is_probed_no_more() -> None:
    async with FakeNode() as first, FakeNode() as second, probing(OFTEN) as one:
        one.adopt(first, second)
        await one.until(lambda: one.probed(first) and one.probed(second))
        one.adopt(second)  # the registry forgot the first
        assert first.instance().id in one.fleet.backends
        await first.stop()
        await one.until(lambda: first.instance().id not in one.fleet.backends)
        assert list(one.prober.watched) == [second.instance().id]


async def test_nodes_that_hang_do_not_keep_the_others_from_being_probed() -> None:
    async with FakeNode() as well, FakeNode(ready=0) as hung, probing(OFTEN) as one:
        others = [FakeNode(name=f"hung-{number}", port=hung.port) for number in range(100)]
        one.adopt(well, *others)
        await one.until(lambda: all(one.fleet.backends[node.name].standing.probed is False for node in others))
        assert one.probed(well)


async def test_closing_ends_probes_under_way() -> None:
    async with FakeNode(ready=0) as node:
        async with probing(SELDOM) as one:
            one.adopt(node)
            await node.wait(lambda n: n.probes == 1 or bool(n.open))
        await node.wait(lambda n: not n.open)


def test_the_next_probe_comes_around_the_interval_and_sooner_after_a_lost_one() -> None:
    rng = Random(3)
    waits = [next_wait(2.0, False, rng) for _ in range(1000)]
    assert 2.0 * (1 - JITTER) <= min(waits) < 1.9
    assert 2.1 < max(waits) <= 2.0 * (1 + JITTER)
    assert next_wait(2.0, True, rng) <= 2.0 * (1 + JITTER) / HASTE
