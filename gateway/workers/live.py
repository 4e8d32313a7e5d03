"""What of a changed configuration can be had without new processes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.balancing import POLICIES
from gateway.config import GatewayConfig, Routing

# Sections, or options, that a running gateway takes over.
LIVE = ("routing.", "log.level")


def changes(before: msgspec.Struct, after: msgspec.Struct, prefix: str = "") -> Iterator[str]:
    """Names (section.key) of the options that differ."""
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, msgspec.Struct):
            yield from changes(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}"


def is_live(option: str) -> bool:
    """Whether a running gateway can take this option over."""
    return option.startswith(LIVE)


def check(config: GatewayConfig) -> None:
    """Raises ValueError, one line, for what only shows when it is used."""
    if config.routing.policy not in POLICIES:
        raise ValueError(
            f"routing.policy: no policy {config.routing.policy!r}; there are {', '.join(sorted(POLICIES))}"
        )


def routing(running: Routing, before: GatewayConfig, after: GatewayConfig) -> Routing:
    """What runs, with what was changed in the configuration; what an operator changed meanwhile stays otherwise."""
    changed = {name: getattr(after.routing, name) for name in changes(before.routing, after.routing)}
    return msgspec.structs.replace(running, **changed)
