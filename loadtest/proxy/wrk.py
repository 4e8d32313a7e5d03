"""wrk as the load generator: closed loop, one core."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The body is read once; the summary is printed in a form that needs no guessing.
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "image/jpeg"
local file = io.open(os.getenv("WRK_BODY"), "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  io.write(string.format("@ %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    summary.errors.connect, summary.errors.read, summary.errors.write, summary.errors.status, summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What wrk saw. Times are seconds."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds


def available() -> bool:
    """Whether wrk is on PATH."""
    return shutil.which("wrk") is not None


def run(url: str, body: Path, connections: int, seconds: int, core: int, folder: Path) -> Result:
    """POST `body` over `connections` kept alive, from one thread on `core`."""
    script = folder / "post.lua"
    script.write_text(SCRIPT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    if hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", str(core), *command]
    out = subprocess.run(command, env={**os.environ, "WRK_BODY": str(body)}, capture_output=True, text=True, check=True)
    found = re.search(r"^@ (.+)$", out.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk said:\n{out.stdout}\n{out.stderr}")
    requests, micros, *errors, p50, p99 = (int(part) for part in found.group(1).split())
    return Result(requests, micros / 1e6, sum(errors), p50 / 1e6, p99 / 1e6)
