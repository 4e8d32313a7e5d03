"""Which models the fleet serves, on which nodes, up to how many pixels; remembered when their nodes are away."""

from __future__ import annotations

from collections.abc import Iterable

from discovery.instance import Instance

REMEMBERED = 256  # models; a registry that invents names must not fill our memory
ANY = ""  # nodes that announce no models take whatever comes: foreign servers behind a static list


def split(announced: str) -> tuple[str, str]:
    """`name@version` into its halves; a name without version serves any."""
    name, _, version = announced.partition("@")
    return name, version


def serves(models: tuple[str, ...], model: str, version: str) -> bool:
    """Whether a node that announces `models` serves this one; an empty version is any."""
    if not models:
        return True
    for announced in models:
        name, has = split(announced)
        if name == model and (not version or not has or has == version):
            return True
    return False


def names(models: tuple[str, ...]) -> set[str]:
    """The models' names, versions left out; ANY for nodes that announce none."""
    return {announced.partition("@")[0] for announced in models} or {ANY}


class Catalogue:
    """Models and pixel limits by all nodes ever seen: unknown (404) and away (503) are different answers."""

    def __init__(self) -> None:
        self._pixels: dict[tuple[str, str], int] = {}
        self._limits: dict[tuple[str, str], int] = {}  # answers of max_pixels
        self.default = ""

    def record(self, instances: Iterable[Instance]) -> None:
        """Take note of what the present fleet announces, and choose the default model.

        The default is the first model of the model lists that most nodes announce; it stays while anybody serves it.
        """
        self._limits.clear()
        votes: dict[str, int] = {}
        for instance in instances:
            for announced in instance.models or (ANY,):
                self._note(announced, instance.max_pixels)
                name = split(announced)[0]
                votes[name] = votes.get(name, 0) + 1
        if self.default not in votes:
            most = max(votes.values(), default=0)
            self.default = min((name for name, count in votes.items() if count == most), default=self.default)

    def knows(self, model: str, version: str) -> bool:
        """Whether any node ever announced it."""
        if not self._pixels or (ANY, "") in self._pixels:
            return True
        return any(name == model and (not version or not has or has == version) for name, has in self._pixels)

    def max_pixels(self, model: str, version: str) -> int:
        """The most pixels any known node takes for this model; 0 when nobody serves it."""
        limit = self._limits.get((model, version))
        if limit is None:
            limit = self._find_limit(model, version)
            if len(self._limits) < REMEMBERED:  # clients name models
                self._limits[model, version] = limit
        return limit

    def _find_limit(self, model: str, version: str) -> int:
        return max(
            (
                pixels
                for (name, has), pixels in self._pixels.items()
                if name == ANY or (name == model and (not version or not has or has == version))
            ),
            default=0,
        )

    def _note(self, announced: str, pixels: int) -> None:
        key = split(announced)
        if key in self._pixels:
            self._pixels[key] = max(self._pixels[key], pixels)
        elif len(self._pixels) < REMEMBERED:
            self._pixels[key] = pixels
