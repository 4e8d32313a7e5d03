"""Do what the README tells a newcomer: `make up`, run the printed curl line, look at the answer, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

EXPECTED = "cat"  # the sample is a photo of one
SECONDS = 900  # a cold machine installs TensorFlow first


def main() -> int:
    """0 when the photo was answered rightly and everything stopped cleanly."""
    make = subprocess.Popen(
        ["make", "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert make.stdout is not None
    started = time.monotonic()
    try:
        curl = _printed_line(make.stdout, started)
        print("$", curl)
        answer = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True, timeout=60).stdout
        print(answer)
        best = json.loads(answer)[0]["label"]
        if EXPECTED not in best.lower():
            print(f"wrong answer: {best}")
            return 1
    finally:
        os.killpg(make.pid, signal.SIGINT)
        rest, _ = make.communicate(timeout=90)
        print(rest, end="")
    return 0 if "All stopped." in rest else 1


def _printed_line(output: object, started: float) -> str:
    for line in output:  # type: ignore[attr-defined]
        print(line, end="", flush=True)
        if match := re.search(r"^\s+(curl .+)$", line):
            return match.group(1)
        if time.monotonic() - started > SECONDS:
            break
    raise SystemExit("make up never said how to try it")


if __name__ == "__main__":
    sys.exit(main())
