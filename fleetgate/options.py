"""The options of a program, read off its configuration struct: path, type, default, reason."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

SECRETS = frozenset({"token", "key", "password"})


class Option(msgspec.Struct, frozen=True):
    """One leaf of a configuration tree."""

    path: tuple[str, ...]
    type: Any
    default: Any
    why: str

    @property
    def name(self) -> str:
        """section.key, as in TOML."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "FLEETGATE_" + "__".join(self.path).upper()

    @property
    def is_list(self) -> bool:
        """Whether it takes several values, separated by commas outside TOML."""
        return get_origin(self.type) in {tuple, list, frozenset}

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be printed."""
        return self.path[-1] in SECRETS

    @property
    def type_name(self) -> str:
        """The type in a word."""
        if self.is_list:
            return "list"
        if get_origin(self.type) is Literal:
            return " or ".join(get_args(self.type))
        if get_origin(self.type) in {Union, types.UnionType}:
            return " or ".join(a.__name__ for a in get_args(self.type) if a is not type(None))
        return str(getattr(self.type, "__name__", self.type))


def options(config: type[msgspec.Struct], prefix: tuple[str, ...] = ()) -> Iterator[Option]:
    """Every option of `config`, depth first, in the order they are written."""
    hints = get_type_hints(config, include_extras=True)
    for field in msgspec.structs.fields(config):
        bare, why = _unwrap(hints[field.name])
        path = (*prefix, field.name)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            yield from options(bare, path)
            continue
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory
        yield Option(path, bare, default() if callable(default) else default, why)


def _unwrap(hint: Any) -> tuple[Any, str]:
    if get_origin(hint) is not Annotated:
        return hint, ""
    bare, *notes = get_args(hint)
    why = next((n.description for n in notes if isinstance(n, msgspec.Meta) and n.description), "")
    return bare, why
