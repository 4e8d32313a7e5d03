"""A soak in short: a real gateway, bad nodes, clients that hang up; and nothing is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_kept_after_thousands_of_requests_and_hang_ups_on_either_side() -> None:
    command = [sys.executable, "-m", "loadtest.soak", "--requests", "4000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4000 requests: nothing was kept" in done.stdout
    assert "hung up" in done.stdout
    assert not done.stderr
