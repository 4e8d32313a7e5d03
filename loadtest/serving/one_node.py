"""One real node with the packaged model in a model repository of its own, for figures that a fleet would blur."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from loadtest.peers.process import family, proportional_bytes
from loadtest.prove.program import DidNotStart, Program

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "figures"  # noqa: S105 - of a node on loopback that lives for a minute
MODEL = "efficientnet-lite0"
# The load test may not import the repository of models; as a newcomer would, it asks the program that owns it.
_PACKAGED = "from pathlib import Path; from repository.packaged import ensure; print(ensure(Path('var/models'), print))"


@dataclass(frozen=True, slots=True)
class OneNode:
    """It runs, and `client` speaks to it."""

    address: str
    client: aiohttp.ClientSession
    models: Path
    pid: int

    @property
    def held_bytes(self) -> int:
        """Memory that it and its worker processes hold, as Linux counts it."""
        return proportional_bytes(family(self.pid))

    def url(self, path: str) -> str:
        """Of a call to it."""
        return f"http://{self.address}{path}"

    def publish(self, version: str, changes: Mapping[str, object] | None = None) -> None:
        """Put the packaged model into its repository once more, its manifest changed."""
        publish(self.models, version, changes)

    async def order(self, verb: str) -> None:
        """Load or unload, and wait until it is done. Raises aiohttp.ClientResponseError when the node refuses."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.client.post(self.url(f"/v2/repository/models/{MODEL}/{verb}"), headers=headers) as answer:
            answer.raise_for_status()

    async def versions(self) -> set[str]:
        """Those of its model that it holds, READY or about to leave."""
        async with self.client.post(self.url("/v2/repository/index")) as answer:
            entries = await answer.json(content_type=None)
        return {each["version"] for each in entries if each["state"] != "UNAVAILABLE"}


@asynccontextmanager
async def one_node(*options: str, changes: Mapping[str, object] | None = None) -> AsyncIterator[OneNode]:
    """Ready inside the block. `options` are `section.key=value`. Raises DidNotStart."""
    with tempfile.TemporaryDirectory(prefix="fleetgate-figures-") as folder:
        models = Path(folder) / "models"
        publish(models, "1", changes)
        arguments = ["node", "--host", "127.0.0.1", "--port", "0", "--registry", f"dir:{folder}/registry"]
        for option in (f"models.root={models}", "models.watch_seconds=0", f"control.token={TOKEN}", *options):
            arguments += ["--set", option]
        program = Program("node", arguments, Path(folder) / "node.log")
        try:
            await program.start()
            timeout = aiohttp.ClientTimeout(total=60)
            async with aiohttp.ClientSession(
                timeout=timeout, connector=aiohttp.TCPConnector(limit=0), skip_auto_headers=("Content-Type",)
            ) as client:
                yield OneNode(program.addresses[0], client, models, program.pid)
        finally:
            await program.leave()


def publish(models: Path, version: str, changes: Mapping[str, object] | None = None) -> None:
    """A copy of the packaged model as `version`, whole at once. Raises DidNotStart when there is no model."""
    made = subprocess.run([sys.executable, "-c", _PACKAGED], cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode:
        raise DidNotStart(f"no model to serve: {made.stderr.strip().splitlines()[-1]}")
    source = ROOT / made.stdout.strip().splitlines()[-1]
    unfinished = models / source.parent.name / f".{version}"
    shutil.copytree(source, unfinished)
    manifest = unfinished / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": version, **(changes or {})}))
    unfinished.rename(unfinished.with_name(version))
