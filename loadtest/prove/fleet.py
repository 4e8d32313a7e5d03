"""The fleet under proof: Consul, light and heavy nodes with the real model, and one gateway or two."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

from loadtest.openloop.address import Address, parse
from loadtest.prove.consul import Consul, NoConsul, find
from loadtest.prove.program import DidNotStart, Program, free_ports

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
WATCH_SECONDS, KEEP_SECONDS = 2, 2
# The load test may not import the repository of models; as a newcomer would, it asks the program that owns it.
_PACKAGED = (
    "from pathlib import Path; from repository.packaged import ensure; print(ensure(Path({root!r}), lambda _: None))"
)


class Fleet:
    """`async with Fleet(folder) as fleet:` is ready inside the block, and gone after it."""

    def __init__(self, folder: Path, light: int = 2, heavy: int = 1) -> None:
        """`folder` takes logs. Raises NoConsul, DidNotStart, as does entering."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        ports = free_ports(8 + light + heavy)
        self.consul = Consul(find(), ports[:4], folder)
        self._artefact = _artefact()
        self._models = folder / "models"
        shutil.rmtree(self._models, ignore_errors=True)
        self._versions = 0
        self.publish()
        names = [f"{pool}-{n}" for pool, count in (("light", light), ("heavy", heavy)) for n in range(1, count + 1)]
        self.nodes = {name: self._node(name, port) for name, port in zip(names, ports[8:], strict=True)}
        self.gateways = [self._gateway(name, ports[at : at + 2]) for name, at in (("gateway-1", 4), ("gateway-2", 6))]
        self.current = self.gateways[0]

    async def __aenter__(self) -> Fleet:
        try:
            await self.consul.start()
            async with asyncio.TaskGroup() as group:
                for program in (self.gateways[0], *self.nodes.values()):
                    group.create_task(program.start())
        except* (NoConsul, DidNotStart) as errors:
            await self._stop()
            raise errors.exceptions[0] from None
        except* BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    @property
    def addresses(self) -> list[Address]:
        """Of the gateways, running or not."""
        return [parse(program.arguments[program.arguments.index("--host") + 1] + ":" + _port(program))
                for program in self.gateways]  # fmt: skip

    @property
    def operators(self) -> str:
        """Where the gateway in charge tells how it sees the fleet."""
        return self.current.addresses[1]

    @property
    def other(self) -> Program:
        """The gateway that is not in charge."""
        return next(gateway for gateway in self.gateways if gateway is not self.current)

    def node_id(self, name: str) -> str:
        """How gateway and registry call a node."""
        return f"fleetgate-node-{HOST}-{_port(self.nodes[name])}"

    def publish(self) -> str:
        """Put the model into the repository that nodes watch, under its next version; the version's name.

        A copy, for the proof is about the switch and not about what the new version says.
        """
        self._versions += 1
        version = str(self._versions)
        model = self._models / self._artefact.parent.name
        model.mkdir(parents=True, exist_ok=True)
        unfinished = model / f".{version}"  # nodes must not see half of it
        shutil.copytree(self._artefact, unfinished)
        manifest = unfinished / "manifest.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": version}))
        unfinished.rename(model / version)
        return version

    async def _stop(self) -> None:
        await asyncio.gather(*(program.leave() for program in self.gateways))
        await asyncio.gather(*(program.leave() for program in self.nodes.values()))
        await self.consul.kill()

    def _node(self, name: str, port: int) -> Program:
        arguments = ["node", "--pool", name.partition("-")[0], "--host", HOST]
        arguments += ["--set", f"models.root={self._models}"]
        arguments += ["--set", f"models.watch_seconds={WATCH_SECONDS}", "--set", f"models.keep_seconds={KEEP_SECONDS}"]
        arguments += ["--port", str(port), "--registry", f"consul://{self.consul.address}"]
        arguments += ["--set", "session.threads=1", "--set", "log.format=text"]
        return Program(name, arguments, self._folder / f"{name}.log", polite=True)

    def _gateway(self, name: str, ports: list[int]) -> Program:
        arguments = ["gateway", "--host", HOST, "--port", str(ports[0]), "--operator-port", str(ports[1])]
        arguments += ["--registry", f"consul://{self.consul.address}", "--set", "log.format=text"]
        return Program(name, arguments, self._folder / f"{name}.log")


def _port(program: Program) -> str:
    return program.arguments[program.arguments.index("--port") + 1]


def _artefact() -> Path:
    made = subprocess.run(
        [sys.executable, "-c", _PACKAGED.format(root="var/models")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise DidNotStart(f"no model to serve: {made.stderr.strip().splitlines()[-1]}")
    return ROOT / made.stdout.strip()
