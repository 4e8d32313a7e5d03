"""A proof: a real node with the real model, a real Consul, killed and wiped under load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from loadtest.prove.account import rows
from loadtest.prove.results import ProveRun
from loadtest.report.saved import read

ROOT = Path(__file__).resolve().parents[2]


def test_a_killed_and_wiped_consul_costs_nothing_and_the_report_says_so(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "loadtest.prove",
        "--only",
        "Consul",
        "--light",
        "1",
        "--heavy",
        "0",
        "--quiet",
        "1",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none was lost" in done.stdout
    run = read(tmp_path / "results.json")
    assert isinstance(run, ProveRun)
    (row,) = rows(run)
    assert row.name == "Consul killed and wiped"
    assert row.sent == row.answered > 10
    assert row.noticed_seconds is not None
    assert row.recovered_seconds is not None
    assert "Consul killed and wiped" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "log" / "gateway-1.log").exists()
