"""The real program `fleetgate node` with the packaged model, as a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.peers.process import children, family
from repository.packaged import ensure

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
SECONDS = 120.0


@dataclass
class RealNode:
    """A node that is ready."""

    process: subprocess.Popen[bytes]
    address: str  # host:port
    folder: Path

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def pids(self) -> list[int]:
        """Of the node and its worker processes, from Linux's /proc."""
        return family(self.process.pid)

    def workers(self) -> list[int]:
        """Of its worker processes."""
        return children(fork_server(self.process.pid))

    def forget_peak(self) -> None:
        """From here on `VmHWM` is counted anew."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def resident(self, field: str = "VmRSS") -> int:
        """Bytes of memory of all its processes, from Linux's /proc; what they share is counted in each."""
        return sum(_resident(pid, field) for pid in self.pids())


def _resident(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) << 10


def fork_server(pid: int) -> int:
    """That of a process, from which its workers come."""
    return next(child for child in children(pid) if "forkserver" in Path(f"/proc/{child}/cmdline").read_text())


@contextmanager
def _line() -> Iterator[tuple[socket.socket, socket.socket]]:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        yield mine, theirs


@contextmanager
def real_node(folder: Path, *options: str) -> Iterator[RealNode]:
    """Start a node, wait until it says that it is ready, stop it with SIGTERM if it still runs."""
    artefact = ensure(ROOT / "var" / "models", lambda _: None)
    with (folder / "node.log").open("wb") as log, _line() as (mine, theirs):
        command = [sys.executable, "-m", "fleetgate", "node", "--artefact", str(artefact), "--port", "0"]
        command += ["--registry", f"dir:{folder / 'registry'}", "--supervisor-fd", str(theirs.fileno()), *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, pass_fds=[theirs.fileno()])
        theirs.close()
        try:
            mine.settimeout(SECONDS)
            address = mine.recv(200).decode().strip()
            assert address, (folder / "node.log").read_text()
            yield RealNode(process, address, folder)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)
