"""What operators have ordered and still holds, so that a worker that comes later is told too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

ROUTING_PATH = "/api/routing"
_OUT, _BACK = frozenset({"drain", "eject"}), frozenset({"undrain", "restore"})


class Standing(msgspec.Struct, frozen=True):
    """One order that holds: an action of the operators' side and its body."""

    path: str
    body: dict[str, Any]


class Orders:
    """`noted` after every action that was carried out; `standing` is what a newcomer must be told."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        self._routing: dict[str, dict[str, Any]] = {}

    def noted(self, node: str, action: str, body: dict[str, Any]) -> None:
        """An action on a node was carried out."""
        if action in _BACK or body.get("weight") == 1:
            self._nodes.pop((node, "place" if action in _BACK else "weight"), None)
        elif action in _OUT or action == "weight":
            self._nodes[node, "place" if action in _OUT else "weight"] = action, body

    def rerouted(self, body: dict[str, Any]) -> None:
        """The routing was changed."""
        why: dict[str, Any] = {name: body[name] for name in ("reason", "by") if name in body}
        for name, value in body.items():
            if name not in why and value is not None:
                self._routing[name] = {**why, name: value}

    def configured(self, options: Iterable[str]) -> None:
        """These options of the routing were changed in the configuration, which is the later word."""
        for option in options:
            self._routing.pop(option.removeprefix("routing."), None)

    def standing(self, nodes: Iterable[str]) -> Iterator[Standing]:
        """What holds for these nodes and for the routing; what was ordered for others is forgotten."""
        present = set(nodes)
        for node, kind in [key for key in self._nodes if key[0] not in present]:
            del self._nodes[node, kind]
        for (node, _), (action, body) in self._nodes.items():
            yield Standing(f"/api/nodes/{quote(node, safe='')}/{action}", body)
        for body in self._routing.values():
            yield Standing(ROUTING_PATH, body)

    def all(self) -> tuple[list[tuple[str, str, dict[str, Any]]], list[dict[str, Any]]]:
        """Everything, for a successor."""
        nodes = [(node, action, body) for (node, _), (action, body) in self._nodes.items()]
        return nodes, list(self._routing.values())

    def restore(self, nodes: Iterable[tuple[str, str, dict[str, Any]]], routing: Iterable[dict[str, Any]]) -> None:
        """What `all` said in the program before."""
        for node, action, body in nodes:
            self.noted(node, action, body)
        for body in routing:
            self.rerouted(body)
