"""`make loadtest`: start a fleet, put Locust on it, stop it. With `--host URL`, only put Locust on that.

Everything else on the command line goes to Locust: `make loadtest ARGS="-u 50 -t 2m --html report.html"`.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULTS = {"-u": "12", "-r": "6", "-t": "30s"}


def main(arguments: Sequence[str]) -> int:
    """Locust's exit code: 0 when every goal was met."""
    if "--host" in arguments or "-H" in arguments:
        return _locust(arguments)
    with _fleet() as url:
        return _locust([*arguments, "--host", url])


def _locust(arguments: Sequence[str]) -> int:
    given = [part for flag, value in DEFAULTS.items() if flag not in arguments for part in (flag, value)]
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless", "--only-summary"]
    return subprocess.run([*command, *given, *arguments], cwd=HERE.parent, check=False).returncode


@contextmanager
def _fleet() -> Iterator[str]:
    command = [sys.executable, "-m", "fleetgate", "up", "--port", "0", "--operator-port", "0"]
    fleet = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    assert fleet.stdout is not None
    try:
        for line in fleet.stdout:
            print(line, end="", flush=True)
            if found := re.search(r"send images to\s+(http://\S+?)/v1/predict", line):
                yield found.group(1)
                return
        raise SystemExit("the fleet did not start")
    finally:
        fleet.send_signal(signal.SIGINT)
        rest, _ = fleet.communicate(timeout=90)
        print(rest, end="")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
