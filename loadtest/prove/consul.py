"""A real Consul agent on ports of its own, which can be killed and comes back having forgotten everything."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
FETCH = ROOT / "tests" / "get_consul.py"
START_SECONDS = 30.0
LOOK_SECONDS = 0.1


class NoConsul(Exception):
    """There is no Consul to be had, or it does not start; one line."""


def find() -> Path:
    """A binary: from PATH, or fetched once as the tests do. Raises NoConsul."""
    if FETCH.exists():
        found = subprocess.run([sys.executable, str(FETCH)], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return Path(found.stdout.strip())
        raise NoConsul(found.stderr.strip() or f"{FETCH} failed")
    on_path = shutil.which("consul")
    if on_path is None:
        raise NoConsul("put a `consul` binary (1.8 or newer) on PATH")
    return Path(on_path)


class Consul:
    """`-dev` keeps everything in memory: killed, it is wiped."""

    def __init__(self, binary: Path, ports: list[int], folder: Path) -> None:
        http, server, serf_lan, serf_wan = ports
        self.address = f"127.0.0.1:{http}"
        self._log = folder / "consul.log"
        config = folder / "consul.json"
        numbers = {"http": http, "server": server, "serf_lan": serf_lan, "serf_wan": serf_wan}
        config.write_text(json.dumps({"ports": {**numbers, "dns": -1, "grpc": -1, "https": -1}, "log_level": "warn"}))
        self._command = [str(binary), "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1"]
        self._command.append(f"-config-file={config}")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Until it has a leader. Raises NoConsul."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            for _ in range(int(START_SECONDS / LOOK_SECONDS)):
                if await self._leads(session):
                    return
                await asyncio.sleep(LOOK_SECONDS)
        raise NoConsul(f"Consul has no leader after {START_SECONDS:g} s; its log is {self._log}")

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    async def _leads(self, session: aiohttp.ClientSession) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise NoConsul(f"Consul ended at once; its log is {self._log}")
        try:
            async with session.get(f"http://{self.address}/v1/status/leader") as answer:
                return answer.status == 200 and await answer.json() != ""
        except (aiohttp.ClientError, TimeoutError):
            return False
