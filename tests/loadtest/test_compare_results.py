"""Latencies, shares, goals: what was refused or lost has missed, and nobody's luck is called a win."""

from __future__ import annotations

from math import inf
from pathlib import Path

import msgspec
import pytest

from gateway.trace import TraceLine
from loadtest.compare.contenders import CONTENDERS
from loadtest.compare.figures import beats, figures
from loadtest.compare.generator import Hit
from loadtest.compare.nodes import Told
from loadtest.compare.outcome import Machine, Outcome, floor, outcome
from loadtest.compare.report import Report, markdown
from loadtest.compare.run import fleet_of, simulated
from loadtest.compare.scenarios import SCENARIOS, SEVERAL, STANDARD
from loadtest.compare.traces import recorded, trace
from loadtest.simulate.arrivals import Arrival, Load
from loadtest.simulate.recorded import BadTrace
from loadtest.simulate.results import ClassResult, Result, summarise

PLAN = fleet_of(SCENARIOS["80"])


def load(count: int) -> Load:
    """Requests 10 ms apart; every tenth is oversized."""
    arrivals = [Arrival(at=n * 0.01, actual_ms=40.0, cost_ms=40.0, heavy=n % 10 == 9) for n in range(count)]
    return Load(name="made up", arrivals=arrivals)


def good(seconds: float, node: str = "light-4") -> Hit:
    return Hit(200, seconds, 0.001, told=Told(node, 0.0, 40.0, 0.5))


def seen(hits: list[Hit], scale: float = 1.0) -> Outcome:
    return outcome("fleetgate", "80", load(len(hits)), hits, PLAN, scale, Machine())


def test_percentiles_are_of_those_that_count() -> None:
    found = seen([good(9.0)] * 10 + [good(0.1)] * 90).result
    assert found.light.p99 == pytest.approx(100.0)  # the first tenth warms up
    assert found.light.requests == 81
    assert found.within == 1.0


def test_what_was_shed_missed_its_target_and_has_no_percentile() -> None:
    hits = [good(0.1)] * 10 + [good(0.1), Hit(503, 0.001, retry_after=True)] * 45
    found = seen(hits)
    assert found.shed == pytest.approx(0.5)
    assert found.told_when == 1.0
    assert found.result.light.p50 == pytest.approx(100.0)
    assert found.result.light.p95 == inf
    assert found.result.within == pytest.approx(0.5)


def test_failures_and_silence_are_told_apart() -> None:
    found = seen([good(0.1)] * 10 + [Hit(502, 0.1)] * 18 + [Hit()] * 36 + [Hit(503, 0.1)] * 36)
    assert (found.failed, found.unanswered, found.shed) == (0.2, 0.4, 0.4)
    assert found.told_when == 0.0
    assert found.result.within == 0.0


def test_stretched_time_is_taken_back() -> None:
    stretched = [good(0.4, "heavy-0")] * 100
    found = seen(stretched, scale=2.0)
    assert found.result.light.p50 == pytest.approx(200.0)
    assert found.result.crossed == pytest.approx(81 / 90)


def test_utilisation_is_work_done_over_work_possible() -> None:
    found = seen([good(0.1, "heavy-0")] * 100)  # 40 ms on speed 2 each, 0.99 s of arrivals, power 24
    assert found.utilisation == pytest.approx(100 * 0.080 / (0.99 * 24))


def test_a_busy_machine_is_not_believed() -> None:
    assert Machine().fault == ""
    assert "idle" in Machine(idle=0.05).fault
    assert "generator" in Machine(generator_late_ms=50.0).fault
    assert "nodes" in Machine(node_late_ms=50.0).fault


def test_the_floor_is_every_request_alone() -> None:
    found = floor(load(100), PLAN)
    assert found.light.p99 == pytest.approx(40.0 / 1.2)
    assert found.heavy.p99 == pytest.approx(20.0)


def result(small_p99: float = 100.0, oversized_p99: float = 1500.0, within: float = 1.0) -> Result:
    light = ClassResult(requests=95, p50=30, p95=60, p99=small_p99, mean=30, within=within, refused=0)
    heavy = ClassResult(requests=5, p50=400, p95=900, p99=oversized_p99, mean=500, within=within, refused=0)
    return Result(name="", light=light, heavy=heavy, within=within, refused=0, crossed=0, mean=50)


def ran(contender: str, scenario: str, **changes: float) -> Outcome:
    return Outcome(contender=contender, scenario=scenario, result=result(**changes))


def test_a_difference_within_luck_beats_nobody() -> None:
    ours = ran("fleetgate", "80", small_p99=100, within=0.99)
    assert beats(ran("haproxy queue", "80", small_p99=97, within=0.991), ours) == []
    assert beats(ran("haproxy queue", "80", small_p99=80, within=0.999), ours) == [
        "small p99",
        "small within",
        "oversized within",
        "all within",
    ]


def test_goals_name_the_best_other_and_may_be_missed() -> None:
    outcomes = [
        ran("fleetgate", "80", small_p99=150),
        ran("haproxy leastconn", "80", small_p99=600),
        ran("haproxy queue", "80", small_p99=160, oversized_p99=1400),
        ran("envoy least_request", "80", small_p99=1000),
        ran("nginx least_conn split", "80", small_p99=120, oversized_p99=1900),
        ran("fleetgate", "gateways4", small_p99=300),
        ran("fleetgate", "90", within=0.99),
        ran("nginx least_conn split", "90", within=0.98),
    ]
    found = {each.goal: each for each in figures(outcomes, {"80": result(small_p99=110)})}
    reached = {goal: each.reached for goal, each in found.items()}
    assert reached == {
        "small p99 at 80 % to the best single-pool proxy (haproxy queue)": False,
        "small p99 at 80 % to the best single-pool proxy without a queue of its own (haproxy leastconn)": True,
        "small p99 at 80 % to Envoy's default": False,
        "small p99 at 80 % to the zero-load floor": True,
        "oversized p99 at 80 % to the best of them (haproxy queue)": False,
        "share within target at 90 % above every proxy": True,
        "small p99, 4 gateways to 1": False,
    }


def test_overload_is_judged_by_both_shares_and_by_manners() -> None:
    ours = msgspec.structs.replace(ran("fleetgate", "130", within=0.95), told_when=1.0)
    found = figures([ours, ran("haproxy queue", "130", within=0.9)], {})
    assert [each.reached for each in found] == [True] * 4


@pytest.mark.parametrize("name", ["80", "130", "bursty60", "mix10"])
def test_a_trace_is_typical_and_the_same_for_the_same_seed(name: str) -> None:
    scenario = SCENARIOS[name]
    one, two = (trace(scenario, 10.0 * scenario.length, 3, PLAN.power) for _ in range(2))
    assert one == two
    assert one.utilisation(PLAN.power) == pytest.approx(scenario.utilisation, rel=0.05)
    assert one.seconds == pytest.approx(10.0 * scenario.length, rel=0.15)
    # Content-Length tells the classes apart as well as pixels do, but for one in some thousand.
    longest = sorted(each.body_bytes for each in one.arrivals if not each.heavy)[-3]
    assert longest < min(each.body_bytes for each in one.arrivals if each.heavy)


def test_a_recorded_trace_is_paced_to_the_load_that_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    lines = [
        TraceLine(at=100.0, pixels=1_000_000, service_ms=25.0, speed=2.0, node="heavy-1", heavy=True),
        TraceLine(at=100.5, cost_ms=50.0),  # nobody could read its header
        TraceLine(at=101.0, pixels=20_000_000, cost_ms=700.0, status=503),
    ]
    file.write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    load = recorded(file, 0.8, PLAN.power)
    assert load.utilisation(PLAN.power) == pytest.approx(0.8)
    assert [(each.heavy, each.cost_ms, each.actual_ms) for each in load.arrivals] == [
        (False, 40.0, 50.0),
        (True, 610.0, 700.0),
    ]
    file.write_bytes(msgspec.json.encode(lines[0]))
    with pytest.raises(BadTrace, match="two images"):
        recorded(file, 0.8, PLAN.power)


def test_the_simulation_takes_the_same_arrivals() -> None:
    scenario = SCENARIOS["slow"]
    arrivals = trace(scenario, 3.0, 1, PLAN.power)
    found = summarise("", simulated(scenario, arrivals), 250.0, 2500.0)
    assert found.light.requests + found.heavy.requests == pytest.approx(len(arrivals.arrivals) * 0.9, abs=1)


def test_the_report_has_a_row_for_everybody() -> None:
    told = Report(
        date="2030-01-01",
        machine="a machine",
        seconds=1,
        scale=1,
        scenarios=[SCENARIOS["80"]],
        outcomes=[ran("haproxy queue", "80", small_p99=50), ran("fleetgate", "80", oversized_p99=inf)],
        floors={"80": result()},
        simulated={"80": result()},
        figures=[],
    )
    text = markdown(told)
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert names[2:6] == ["zero-load floor", "fleetgate, simulated", "fleetgate", "haproxy queue"]
    assert "∞" in text
    assert "small p99" in next(line for line in text.splitlines() if "| haproxy queue |" in line)


def test_lists_name_what_exists() -> None:
    assert set(STANDARD) <= set(SCENARIOS)
    assert set(SEVERAL) <= set(CONTENDERS)
    assert [name for name, each in CONTENDERS.items() if each.ours] == ["fleetgate"]
    assert all(each.program != "traefik" or not each.split for each in CONTENDERS.values())
