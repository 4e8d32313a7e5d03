"""A proxy in a process of its own: started, waited for, measured, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Target:
    """One server behind the proxy."""

    host: str
    port: int
    pool: str = "light"
    slots: int = 1
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a proxy should do.

    `policy` is the proxy's own word. `split_bytes` above 0 sends longer bodies to the heavy pool, by Content-Length;
    `slots` lets the proxy itself hold requests back until a server has a free one, where it can: bodies up to
    `first_bytes` go first, and nobody waits longer than `queue_ms` of its pool (light, heavy).
    """

    targets: Sequence[Target]
    policy: str
    split_bytes: int = 0
    slots: bool = False
    first_bytes: int = 0
    queue_ms: tuple[int, int] | None = None
    timeout_seconds: int = 60
    body_bytes: int = 64 << 20

    def pool(self, name: str) -> list[Target]:
        """Targets of a pool; without a split all of them are in every pool."""
        return [t for t in self.targets if not self.split_bytes or t.pool == name]


class Peer:
    """`with Peer(...) as peer:` listens at `peer.address` inside the block."""

    def __init__(
        self,
        name: str,
        port: int,
        files: Mapping[str, str],
        command: Sequence[str],
        core: int | None = None,
        environ: Mapping[str, str] | None = None,
        patience: float = 20.0,
    ) -> None:
        """`patience`: seconds until it must listen."""
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self._port = port
        self._folder = tempfile.TemporaryDirectory(prefix=f"{name}-")
        for file, text in files.items():
            (Path(self._folder.name) / file).write_text(text)
        self._command = [part.replace("{folder}", self._folder.name) for part in command]
        self._core = core
        self._patience = patience
        told = {key: value.replace("{folder}", self._folder.name) for key, value in (environ or {}).items()}
        self._environ = {**os.environ, **told}

    @property
    def log(self) -> Path:
        """What the process printed."""
        return Path(self._folder.name) / "output.log"

    def __enter__(self) -> Peer:
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder.name, stdout=out, stderr=out, env=self._environ, start_new_session=True
            )
        if self._core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, {self._core})
        try:
            self._wait()
        except BaseException:  # interrupted, too: a process must not outlive the one who would stop it
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        family = self.pids()
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in family[1:]:  # not every server takes its workers with it
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._folder.cleanup()

    def pause(self) -> None:
        """Freeze it and all below it: some servers keep a core busy with asking whether there is work."""
        self._tell_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._tell_all(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children, so far."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / TICKS

    def resident_bytes(self) -> int:
        """Resident memory of the process and its children."""
        return sum(_resident(pid) for pid in self.pids())

    def proportional_bytes(self) -> int:
        """The same with pages that several of them share counted once."""
        return proportional_bytes(self.pids())

    def pids(self) -> list[int]:
        """The process and all below it."""
        return family(self.process.pid)

    def _tell_all(self, number: int) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait(self) -> None:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self._listens():
                return
            time.sleep(0.05)
        said = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} does not listen on {self.address}:\n{said}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.3)
            if probe.connect_ex(("127.0.0.1", self._port)):
                return False
            # Traefik listens before it has read its routes, and says so in these words of Go's own.
            probe.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            try:
                return b"404 page not found" not in probe.recv(4096)
            except TimeoutError:  # a server behind it is thinking
                return True
            except ConnectionError:
                return False


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        found.extend(children(each))
    return found


def children(pid: int) -> list[int]:
    """Of one process, whichever of its threads began them."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended as we looked
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found.extend(map(int, task.read_text().split()))
    return found


def proportional_bytes(pids: Iterable[int]) -> int:
    """Resident memory of processes, pages that several of them share counted once."""
    return sum(map(_proportional, pids))


def _cpu_ticks(pid: int) -> int:
    """Its own and those of its children that have ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11:15])
    return 0


def _resident(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return 0
