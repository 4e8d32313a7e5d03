"""A short comparison end to end: real programs, the emulated fleet, the report."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from random import Random
from threading import Barrier, BrokenBarrierError

import pytest

from loadtest.compare.contenders import ROOT, Contender
from loadtest.compare.ports import Ports
from loadtest.compare.run import Bench, measure
from loadtest.compare.scenarios import SCENARIOS
from loadtest.compare.traces import trace


def test_a_quick_comparison_answers_everybody(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.compare", "--quick", "--seconds", "2", "--out", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    # 1 is the word for a machine too busy to measure on, which is no fault of ours.
    assert run.returncode in (0, 1), run.stderr
    outcomes = json.loads((tmp_path / "results.json").read_text())["outcomes"]
    assert [each["contender"] for each in outcomes] == ["fleetgate", "haproxy leastconn"]
    for each in outcomes:
        assert each["failed"] == 0
        assert each["unanswered"] == 0
        assert each["result"]["light"]["requests"] > 200
        assert each["utilisation"] > 0.4
        assert each["machine"]["generator_cpu"] > 0
    assert outcomes[1]["shed"] == 0
    assert (tmp_path / "comparison.svg").stat().st_size > 1000
    assert "haproxy leastconn" in run.stdout
    assert "haproxy leastconn" in (tmp_path / "results.md").read_text()


def test_who_cannot_start_lets_nobody_wait() -> None:
    together = Barrier(2)
    scenario = SCENARIOS["80"]
    nonsense = Contender(name="nonsense", program="traefik", policy="p2c", split=True)
    with pytest.raises(ValueError, match="Content-Length"):
        measure(nonsense, scenario, trace(scenario, 1.0, 1, 24.0), Bench(1.0, Ports(Random()), together))
    with pytest.raises(BrokenBarrierError):
        together.wait(5)


def test_no_port_is_given_twice() -> None:
    ports = Ports(Random(1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.take(1)[0]))
        found = [*ports.take(30), *ports.take(30)]
        assert len(set(found)) == 60
        assert taken.getsockname()[1] not in found
