"""The comparison of proxies in short: every part runs, nothing fails; no figure is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_fleetgate_and_envoy_are_measured_without_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.proxy", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert {each["proxy"] for each in results["samples"]} == {"fleetgate from source", "envoy"}
    assert {each["backends"] for each in results["samples"]} == {1, 18}
    assert {(each["proxy"], each["own_half"]) for each in results["latencies"]} == {
        (proxy, own) for proxy in ("fleetgate from source", "envoy") for own in (True, False)
    }
    assert all(each["result"]["sent"] for each in results["latencies"])
    assert all((tmp_path / plot).stat().st_size for plot in ("cpu.svg", "latency.svg"))
