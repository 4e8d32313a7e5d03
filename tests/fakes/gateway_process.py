"""The real program `fleetgate gateway` as processes of its own, for tests that signal and kill them.

async with FakeNode() as node, gateway_process(tmp_path, node, workers={"count": 2}) as gateway:
    ...
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.gateway import request
from tests.fakes.node import FakeNode
from tests.fakes.raw_client import raw_client

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
TOKEN = "only-operators-know"


@dataclass
class GatewayProcess:
    """A gateway that is ready."""

    process: asyncio.subprocess.Process
    public: str
    operators: str
    file: Path
    sections: dict[str, dict[str, Any]]
    log: Path
    client: aiohttp.ClientSession = field(init=False)

    def configure(self, **sections: dict[str, Any]) -> None:
        """Change the configuration's file; the gateway is not told."""
        for name, options in sections.items():
            self.sections[name] = {**self.sections.get(name, {}), **options}
        self.file.write_text(_toml(self.sections))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def fleet(self) -> dict[str, Any]:
        """The document."""
        async with self.client.get(f"http://{self.operators}/api/fleet") as answer:
            document: dict[str, Any] = await answer.json()
            return document

    async def get(self, path: str) -> Any:
        async with self.client.get(f"http://{self.operators}{path}") as answer:
            return await answer.json(content_type=None)

    async def order(self, path: str, **body: Any) -> dict[str, Any]:
        """An action."""
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Fleetgate-Action": "1"}
        url = f"http://{self.operators}{path}"
        async with self.client.post(url, json={"reason": "a test", **body}, headers=headers) as answer:
            document: dict[str, Any] = await answer.json(content_type=None)
            assert answer.status == 200, document
            return document

    async def number(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        async with self.client.get(f"http://{self.operators}/metrics") as answer:
            page = await answer.text()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    async def workers(self, state: str = "serving") -> set[int]:
        """Process ids."""
        return {worker["pid"] for worker in (await self.fleet())["workers"] if worker["state"] == state}

    async def not_taken(self, count: int = 1) -> list[str]:
        """Why configurations and programs were not taken, once the events tell of `count`."""
        async with asyncio.timeout(SECONDS):
            while True:
                events = (await self.get("/api/journal")).get("events", [])
                reasons = [event["reason"] for event in events if "not taken" in event["text"]]
                if len(reasons) >= count:
                    return reasons
                await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for the document until it is as it should be; asking again while nobody answers."""
        document: dict[str, Any] = {}
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    with suppress(aiohttp.ClientError):
                        document = await self.fleet()
                        if condition(document):
                            return document
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never came: {document}\n{self.log.read_text()}") from None


def serving(document: dict[str, Any]) -> set[int]:
    """Process ids of the workers that a document calls so."""
    return {worker["pid"] for worker in document["workers"] if worker["state"] == "serving"}


@dataclass
class Load:
    """Clients that keep their connections as long as they may, and ask again and again."""

    answered: int = 0
    reconnected: int = 0
    lost: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)


@asynccontextmanager
async def gateway_process(folder: Path, *nodes: FakeNode, **sections: dict[str, Any]) -> AsyncIterator[GatewayProcess]:
    """`sections` override options, as in tests.fakes.gateway.running."""
    listed = ",".join(f"127.0.0.1:{node.port}/light?models=toy@1&capacity=64" for node in nodes)
    plain: dict[str, dict[str, Any]] = {
        "listen": {"port": 0},
        "operator": {"port": 0, "token": TOKEN},
        "registry": {"url": f"static:{listed}"},
        "health": {"probe_interval": 0.2},
    }
    for name, options in sections.items():
        plain[name] = {**plain.get(name, {}), **options}
    file, log = folder / "gateway.toml", folder / "gateway.log"
    file.write_text(_toml(plain))
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    with mine, log.open("wb") as output:
        with theirs:
            arguments = ("-m", "fleetgate", "gateway", "--config", file, "--supervisor-fd", str(theirs.fileno()))
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=ROOT, stdout=output, stderr=output, pass_fds=[theirs.fileno()]
            )
        try:
            async with asyncio.timeout(SECONDS):
                said = (await asyncio.get_running_loop().sock_recv(mine, 1024)).decode().split()
            assert said, log.read_text()
            gateway = GatewayProcess(process, said[0], said[1], file, plain, log)
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as gateway.client:
                yield gateway
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
                async with asyncio.timeout(SECONDS):
                    await process.wait()


@asynccontextmanager
async def load(gateway: GatewayProcess, body: bytes, clients: int = 8, pause: float = 0.002) -> AsyncIterator[Load]:
    """Ask while the block runs; a lost request is one that got no answer, whatever the reason."""
    done = Load()

    async def ask() -> None:
        while True:
            try:
                async with raw_client(gateway.public) as client:
                    done.reconnected += 1
                    while True:
                        await client.send(request(body))
                        reply = await client.reply()
                        done.answered += 1
                        done.statuses.add(reply.status)
                        if reply.closes:
                            break
                        await asyncio.sleep(pause)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                done.lost.append(repr(error))

    tasks = [asyncio.create_task(ask()) for _ in range(clients)]
    try:
        await more(done, clients)
        yield done
        await more(done, clients)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def more(done: Load, count: int) -> None:
    """Wait until so many more requests were answered."""
    wanted = done.answered + count
    async with asyncio.timeout(SECONDS):
        while done.answered < wanted:
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join(lines) + "\n"
