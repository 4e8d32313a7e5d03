"""A proof in short: real nodes with the real model and a real Consul, killed, wiped and restarted under load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from loadtest.prove.account import rows
from loadtest.prove.results import ProveRun
from loadtest.report.saved import read

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_lost_when_a_node_dies_consul_is_wiped_and_the_gateway_restarts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.prove", "--quick", "--light", "2", "--heavy", "0", "--quiet", "1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none was lost" in done.stdout
    run = read(tmp_path / "results.json")
    assert isinstance(run, ProveRun)
    killed, wiped, restarted = rows(run)
    assert [row.name for row in (killed, wiped, restarted)] == [
        "a light node killed",
        "Consul killed and wiped",
        "the gateway restarted",
    ]
    for row in (killed, wiped, restarted):
        assert row.lost == 0
        assert row.sent == row.answered + row.refused > 10
        assert row.recovered_seconds is not None
    for row in (killed, wiped):
        assert row.noticed_seconds is not None
        print(f"{row.name}: noticed after {row.noticed_seconds:.1f} s")
    page = (tmp_path / "report.html").read_text()
    table = (tmp_path / "results.md").read_text()
    assert all(row.name in page and row.name in table for row in (killed, wiped, restarted))
    assert "<svg" in page
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
    assert (tmp_path / "log" / "gateway-1.log").exists()
