"""Configuration of a program: one TOML file, then the environment, then flags; the later is the stronger."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from fleetgate.options import Option, options

C = TypeVar("C", bound=msgspec.Struct)
PREFIX = "FLEETGATE_"
# Read by commands for people (status, drain, loadtest), which may share an environment with a program.
NOT_OPTIONS = frozenset({"FLEETGATE_OPERATOR_URL", "FLEETGATE_KEY"})


class SettingsError(ValueError):
    """A configuration that cannot be used; its text is one line for the operator."""


class Settings(msgspec.Struct, Generic[C], frozen=True):
    """A decoded configuration, and where each value that is no default came from."""

    config: C
    origins: Mapping[str, str]


def load(
    schema: type[C],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Iterable[tuple[str, str]] = (),
) -> Settings[C]:
    """Decode the three sources into one frozen struct. `flags` are pairs (section.key, value).

    Raises SettingsError for a file that cannot be read, an unknown key or a value of the wrong kind.
    """
    known = {option.name: option for option in options(schema)}
    origins: dict[str, str] = {}
    tree = _from_file(file, known, origins) if file else {}
    for name, value in (environ or {}).items():
        if name.startswith(PREFIX) and name not in NOT_OPTIONS:
            path = name[len(PREFIX) :].lower().replace("__", ".")
            _put(tree, known, path, value, f"the environment ({name})", origins)
    for path, value in flags:
        _put(tree, known, path, value, "a flag", origins)
    try:
        return Settings(msgspec.convert(tree, schema, strict=False), origins)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(error, origins)) from None


def show(settings: Settings[Any]) -> str:
    """The whole configuration as TOML, each line saying where its value came from; secrets are masked."""
    lines: list[str] = []
    section: tuple[str, ...] = ()
    for option in options(type(settings.config)):
        if option.path[:-1] != section:
            section = option.path[:-1]
            lines.append(f"{chr(10) if lines else ''}[{'.'.join(section)}]")
        value = _value(settings.config, option)
        text = '"***"' if option.is_secret and value else json.dumps(value, ensure_ascii=False)
        lines.append(f"{option.path[-1]} = {text}  # from {settings.origins.get(option.name, 'its default')}")
    return "\n".join(lines)


def _from_file(file: Path, known: Mapping[str, Option], origins: dict[str, str]) -> dict[str, Any]:
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from None
    for path in _leaves(tree):
        if path not in known:
            raise SettingsError(f"{file}: unknown option {path}{_nearest(path, known)}")
        origins[path] = str(file)
    return tree


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _put(
    tree: dict[str, Any],
    known: Mapping[str, Option],
    path: str,
    value: str,
    origin: str,
    origins: dict[str, str],
) -> None:
    option = known.get(path)
    if option is None:
        raise SettingsError(f"unknown option {path} in {origin}{_nearest(path, known)}")
    *parents, leaf = option.path
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = [part.strip() for part in value.split(",") if part.strip()] if option.is_list else value
    origins[path] = origin


def _nearest(path: str, known: Iterable[str]) -> str:

    near = difflib.get_close_matches(path, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: msgspec.ValidationError, origins: Mapping[str, str]) -> str:
    text, _, where = str(error).partition(" - at `$.")
    path = where.rstrip("`").split("[")[0]
    origin = f" (from {origins[path]})" if path in origins else ""
    return f"option {path or 'configuration'}{origin}: {text.replace('`', '')}"


def _value(config: Any, option: Option) -> Any:
    for name in option.path:
        config = getattr(config, name)
    return config
