"""The model repository extension of the Open Inference Protocol: index, load, unload. As Triton's clients call it.

Only a node answers these, never a gateway: paths that change something are not passed on from the public side.
The index is open to whoever reaches the node; changes need the operators' token, and are off without one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine, Mapping

import msgspec

from node.exchange import Answer, json_answer
from node.versions import Versions
from wire import json_body
from wire.bearer import check_bearer
from wire.errors import BadRequest, Draining, Forbidden, MethodNotAllowed, NotFound

log = logging.getLogger(__name__)

PREFIX = "/v2/repository/"
_ORDER = re.compile(r"/v2/repository/models/([^/?]{1,128})/(load|unload)")
_INDEX = "/v2/repository/index"


class _Parameters(msgspec.Struct):
    version: str | int = ""  # ours: Triton's own clients never send it
    config: str | None = None


class _Order(msgspec.Struct):
    parameters: _Parameters | None = None


class _Filter(msgspec.Struct):
    ready: bool = False


_ORDERS = msgspec.json.Decoder(_Order)
_FILTERS = msgspec.json.Decoder(_Filter)


class Control:
    """Answers them. Orders once begun are carried out, whether or not the client waits."""

    def __init__(self, versions: Versions, token: str) -> None:
        self._versions = versions
        self._token = token
        self._orders: set[asyncio.Task[None]] = set()

    def check(self, method: str, path: str, headers: Mapping[str, str], leaving: bool) -> None:
        """Whether the call may be made at all, before its body is read.

        Raises NotFound, MethodNotAllowed, Forbidden, Unauthorized or Draining.
        """
        order = _ORDER.fullmatch(path)
        if path != _INDEX and not order:
            raise NotFound("there is nothing at this path")
        if method != "POST":
            raise MethodNotAllowed("this path takes POST", headers={"Allow": "POST"})
        if not order:
            return
        if not self._token:
            raise Forbidden("Changes are turned off: no control.token is set")
        check_bearer(headers.get("Authorization", ""), self._token)
        if leaving:
            raise Draining("this node is leaving")

    async def answer(self, path: str, body: bytes) -> Answer:
        """The answer to a call that `check` let pass. Raises BadRequest or NotFound."""
        order = _ORDER.fullmatch(path)
        if not order:
            only_ready = json_body.decode(body, _FILTERS).ready if body.strip() else False
            entries = [entry for entry in await self._versions.index() if entry.state == "READY" or not only_ready]
            return json_answer(entries)
        name, verb = order.groups()
        given = (json_body.decode(body, _ORDERS).parameters if body.strip() else None) or _Parameters()
        if given.config is not None:
            raise BadRequest("a model is configured by its artefact's manifest, not by a call")
        log.warning("an order for the model repository", extra={"order": verb, "model": name, "version": given.version})
        version = str(given.version)
        change = self._versions.load(name, version) if verb == "load" else self._versions.unload(name, version)
        await self._carried_out(change)
        return Answer([b""])

    async def _carried_out(self, change: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(change)
        self._orders.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait({task})
        if task.cancelled():
            raise Draining("this node is leaving")
        task.result()

    async def close(self) -> None:
        """Give up what is being carried out."""
        for task in self._orders:
            task.cancel()
        await asyncio.gather(*self._orders, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._orders.discard(task)
        if not task.cancelled():
            task.exception()  # seen, should the client have hung up
