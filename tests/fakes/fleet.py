"""A whole fleet as a newcomer starts it: `fleetgate up` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


class Up:
    """`with Up("--light", "2") as fleet:` is ready inside the block, and gone after it."""

    def __init__(self, *arguments: str, seconds: float = 120.0, **environment: str) -> None:
        command = [sys.executable, "-m", "fleetgate", "up", "--port", "0", "--operator-port", "0", *arguments]
        self.seconds = seconds
        self.output = ""
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> Up:
        self.read_until("/v1/predict\n", times=2)
        self.public = self._found(r"send images to\s+(\S+)/v1/predict")
        self.operators = self._found(r"operator page\s+(\S+)/")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def read_until(self, text: str, times: int = 1) -> str:
        """Wait for `text` on the output; what stands there until then."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + self.seconds
        while self.output.count(text) < times:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            self.output += chunk.decode()
            assert chunk, f"no {text!r} in:\n{self.output}"
        return self.output

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C; the exit code."""
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        if not self.process.stdout.closed:
            rest, _ = self.process.communicate(timeout=self.seconds)
            self.output += rest.decode()
        return self.process.returncode

    def post(
        self, body: bytes, path: str = "/v1/predict", headers: dict[str, str] | None = None, base: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """One POST; status, headers with lower-case names, body. Errors are answers, not exceptions."""
        request = urllib.request.Request((base or self.public) + path, data=body, headers=headers or {}, method="POST")
        return _answer(request)

    def get(self, path: str, base: str = "") -> tuple[int, dict[str, str], bytes]:
        """One GET."""
        return _answer(urllib.request.Request((base or self.public) + path))

    def fleet(self) -> dict[str, object]:
        """What the operator page says, as JSON."""
        document: dict[str, object] = json.loads(self.get("/api/fleet", self.operators)[2])
        return document

    def pid(self, name: str) -> int:
        """The process id of a child, by the name `fleetgate up` gives it (light-1, heavy-1, gateway)."""
        role = "gateway" if name == "gateway" else "node"
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rsplit(")", 1)[1].split()
                words = (entry.parent / "cmdline").read_bytes().decode().split("\0")
                log = os.readlink(entry.parent / "fd" / "2")
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and role in words and log.endswith(f"-{name}.log"):
                return int(entry.parent.name)
        raise AssertionError(f"no child {name}")

    def _found(self, pattern: str) -> str:
        match = re.search(pattern, self.output)
        assert match, self.output
        return match.group(1)


def _answer(request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
