"""A real node, in this process, around fake sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import aiohttp
import msgspec
from PIL import Image

from discovery.config import RegistryConfig
from node.app import Node
from node.config import Limits, Listen, Models, NodeConfig
from repository.manifest import Manifest
from tests.fakes.session import SECONDS, FakeSession, Sessions, artefact_of, describe


@dataclass
class Serving:
    """A node that is ready, and a client for it."""

    node: Node
    sessions: Sessions
    client: aiohttp.ClientSession

    @property
    def session(self) -> FakeSession:
        return self.sessions.last

    @property
    def address(self) -> str:
        return self.node.address

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    async def post(self, path: str, body: bytes | str | object = b"", **headers: str) -> Got:
        return await self.call("POST", path, body, **headers)

    async def get(self, path: str, **headers: str) -> Got:
        return await self.call("GET", path, **headers)

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(
            method, self.url(path), data=body, headers=named, skip_auto_headers=("Content-Type", "Accept-Encoding")
        ) as answer:
            return Got(answer.status, answer.headers, await answer.read())


@dataclass
class Got:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> str:
        document = msgspec.json.decode(self.body)
        assert document["status"] == self.status
        assert document["error"] == document["detail"]
        assert self.headers["Content-Type"] == "application/problem+json"
        return str(document["type"].rpartition(":")[2])


async def until(condition: Callable[[], object]) -> None:
    """Wait until something that tells nobody has come true."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    tmp_path: Path, *manifests: Manifest, sessions: Sessions | None = None, ready: bool = True, **options: object
) -> AsyncIterator[Serving]:
    """A node with `options` of NodeConfig, serving `manifests` (a model of brightness when there are none)."""
    places = [artefact_of(tmp_path / "models", manifest) for manifest in manifests or (describe(),)]
    options.setdefault("models", Models(artefacts=tuple(map(str, places))))
    config = NodeConfig(
        listen=Listen(port=0),
        registry=RegistryConfig(url=f"dir:{tmp_path / 'registry'}"),
        **options,  # type: ignore[arg-type]
    )
    sessions = sessions or Sessions()
    pillows_limit = Image.MAX_IMAGE_PIXELS
    node = Node(config, sessions)
    await node.start()
    try:
        if ready:
            await node.become_ready()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), auto_decompress=False) as client:
            yield Serving(node, sessions, client)
    finally:
        sessions.release()
        await node.close()
        Image.MAX_IMAGE_PIXELS = pillows_limit  # a node sets it for its whole process


def limits(**values: float) -> Limits:
    """Limits other than the defaults."""
    return Limits(**values)  # type: ignore[arg-type]


def picture(brightness: int = 255, size: tuple[int, int] = (16, 16), kind: str = "PNG", **options: object) -> bytes:
    """An image of one colour, encoded."""
    stream = BytesIO()
    Image.new("RGB", size, (brightness,) * 3).save(stream, kind, **options)
    return stream.getvalue()
