"""Two gateways, real programs, before one real node with one slot: both are served, and one may be killed."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.fakes.fleet import ROOT, SAMPLES
from tests.fakes.load import Load
from tests.fakes.real_node import SECONDS, RealNode, real_node

CAT = (SAMPLES / "cat.jpg").read_bytes()


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return answer.read().decode()


class Started:
    """A gateway's process."""

    def __init__(self, process: subprocess.Popen[bytes], public: str, operators: str) -> None:
        self.process = process
        self.url = f"http://{public}/v1/predict"
        self.operators = operators

    def read(self, path: str) -> str:
        return read(f"http://{self.operators}{path}")

    @property
    def gateways(self) -> list[int]:
        """How many gateways each node says it has."""
        return [node["gateways"] for node in json.loads(self.read("/api/fleet"))["nodes"]]

    async def sees(self, gateways: int) -> None:
        async with asyncio.timeout(SECONDS):
            while await asyncio.to_thread(lambda: self.gateways) != [gateways]:
                await asyncio.sleep(0.05)


@contextmanager
def started(folder: Path) -> Iterator[Started]:
    """A gateway that has found the nodes of a registry directory."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        command = [sys.executable, "-m", "fleetgate", "gateway", "--registry", f"dir:{folder / 'registry'}"]
        command += ["--port", "0", "--operator-port", "0", "--supervisor-fd", str(theirs.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        try:
            mine.settimeout(SECONDS)
            public, operators = mine.recv(200).decode().split()
            yield Started(process, public, operators)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)


def counted(page: str, name: str) -> dict[str, float]:
    return {label: float(value) for label, value in re.findall(rf'^{name}{{answer="(\w+)"}} (\S+)$', page, re.M)}


async def test_two_gateways_share_a_node_and_the_one_that_is_left_has_it_alone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        node: RealNode = stack.enter_context(real_node(tmp_path, "--set", "limits.slots=1"))
        one, two = (stack.enter_context(started(tmp_path)) for _ in range(2))
        await asyncio.gather(one.sees(2), two.sees(2))
        async with Load(one.url, [CAT], clients=3) as first:
            async with Load(two.url, [CAT], clients=3) as second:
                await asyncio.gather(first.until(20), second.until(20))
            two.process.kill()
            await one.sees(1)
            await first.until(5)
        assert (first.problems, first.broken, second.problems, second.broken) == ({}, [], {}, [])
        assert counted(one.read("/metrics"), "fleetgate_grants_total")["yes"] > 0
        page = read(node.url("/metrics"))
        assert re.findall(r"^inference_(gateways|credits_held|credits_granted) (\S+)$", page, re.M) == [
            ("gateways", "1.0"),
            ("credits_held", "0.0"),
            ("credits_granted", "0.0"),
        ]
