"""A real Consul agent for tests: every port its own and on loopback, stopped by its process id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.get_consul import obtain

START_SECONDS = 30


class RealConsul:
    """One agent; `url` is for RegistryConfig. It may be killed, stopped, and started again on the same ports."""

    def __init__(self, folder: Path, settings: dict[str, object] | None = None, *, tls: bool = False) -> None:
        names = ("http", "https", "server", "serf_lan", "serf_wan")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.http_url = f"http://127.0.0.1:{self._ports['http']}"
        self.url = f"consuls://localhost:{self._ports['https']}" if tls else f"consul://127.0.0.1:{self._ports['http']}"
        self._log = folder / "consul.log"
        self._config = folder / "agent.json"
        ports = {**self._ports, "dns": -1, "grpc": -1}
        if not tls:
            ports["https"] = -1
        self._config.write_text(json.dumps({"ports": ports, "log_level": "warn", **(settings or {})}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running agent."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """With an empty state: `-dev` keeps everything in memory."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [obtain(), "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", f"-config-file={self._config}"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Until there is a leader and the agent's own node is in the catalog."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                if self.call("GET", "/v1/status/leader") != "":
                    return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"Consul did not start:\n{self._log.read_text(errors='replace')[-2000:]}")

    def call(self, method: str, path: str, body: object = None, token: str = "") -> object:
        """One HTTP call; the decoded answer, None when it has no body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Consul-Token": token} if token else {}
        request = urllib.request.Request(self.http_url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def signal(self, number: int) -> None:
        """SIGSTOP, SIGCONT, …"""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            if self._process.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, for TCP and UDP, all different; below the range for outgoing connections."""
    found: list[int] = []
    with ExitStack() as held:
        candidate = 20_000 + os.getpid() % 10_000
        while len(found) < count:
            candidate = candidate + 1 if candidate < 32_000 else 20_000
            pair = [
                held.enter_context(socket.socket(socket.AF_INET, kind))
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            ]
            try:
                for one in pair:
                    one.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            found.append(candidate)
    return found


@contextmanager
def real_consul(settings: dict[str, object] | None = None, *, tls: bool = False) -> Iterator[RealConsul]:
    """A running agent in its own folder."""
    with tempfile.TemporaryDirectory(prefix="consul-") as folder:
        agent = RealConsul(Path(folder), settings, tls=tls)
        agent.start()
        try:
            yield agent
        finally:
            agent.kill()
