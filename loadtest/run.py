"""`make loadtest`: start a fleet, put Locust on it, stop it. With `--host URL`, only put Locust on that.

`--shape steps|spike|soak|diurnal|knee` moves the number of users. Everything else on the command line goes to Locust:
`make loadtest ARGS="-u 50 -t 2m --html report.html"`.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = ("steps", "spike", "soak", "diurnal", "knee")
DEFAULTS = {("-u", "--users"): "12", ("-r", "--spawn-rate"): "6", ("-t", "--run-time"): "30s"}
STOP_SECONDS = 90


def main(arguments: Sequence[str]) -> int:
    """Locust's exit code: 0 when every goal was met."""
    parser = argparse.ArgumentParser(prog="make loadtest", description=__doc__, allow_abbrev=False)
    parser.add_argument("-H", "--host", help="a fleet that runs already")
    parser.add_argument("--shape", choices=SHAPES, help="how the number of users moves")
    ours, theirs = parser.parse_known_args(arguments)
    file = HERE / "shapes" / f"{ours.shape}.py" if ours.shape else HERE / "locustfile.py"
    if ours.host:
        return _locust(file, ours.host, theirs)
    with _fleet() as url:
        return _locust(file, url, theirs)


def command(file: Path, url: str, given: Sequence[str]) -> list[str]:
    """Locust's command line; what is not given has a default."""
    line = [sys.executable, "-m", "locust", "-f", str(file), "--host", url, "--headless", "--only-summary"]
    for flags, value in DEFAULTS.items():
        if not any(word.split("=")[0] in flags or word[:2] == flags[0] for word in given):
            line += [flags[0], value]
    return [*line, *given]


def _locust(file: Path, url: str, given: Sequence[str]) -> int:
    return subprocess.run(command(file, url, given), cwd=HERE.parent, check=False).returncode


@contextmanager
def _fleet() -> Iterator[str]:
    start = [sys.executable, "-m", "fleetgate", "up", "--port", "0", "--operator-port", "0"]
    # A session of its own: Ctrl-C must end Locust first, and leave it a fleet to finish on.
    fleet = subprocess.Popen(start, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, start_new_session=True)
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
        rest, _ = fleet.communicate(timeout=STOP_SECONDS)
        print(rest, end="")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
