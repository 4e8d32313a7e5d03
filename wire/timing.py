"""Server-Timing: how long each part of an answer took, in milliseconds (W3C Server Timing)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf

# Ours is 60 characters; a node's header is input like any other.
_LONGEST = 1024
_MOST_ENTRIES = 32
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"')
_NUMBER = re.compile(r"[0-9.eE+-]+")


def encode(durations: Mapping[str, float]) -> str:
    """`recv;dur=3.100, infer;dur=48.200`; what is negative or no number is left out."""
    return ", ".join([f"{name};dur={ms:.3f}" for name, ms in durations.items() if 0 <= ms < inf])


def decode(value: str) -> dict[str, float]:
    """Durations by name; entries without a usable one are left out, the first of a name wins."""
    if len(value) > _LONGEST:
        return {}
    if '"' in value:
        # Quoted descriptions may hold commas and semicolons.
        value = _QUOTED.sub(lambda quoted: quoted[1] if _NUMBER.fullmatch(quoted[1]) else "", value)
    durations: dict[str, float] = {}
    for entry in value.split(",", _MOST_ENTRIES)[:_MOST_ENTRIES]:
        name, found, number = entry.partition(";dur=")
        if found and ";" not in name and ";" not in number:  # as nearly everybody writes it
            ms = _number(number)
        else:
            name, ms = _with_parameters(entry)
        name = name.strip()
        if 0 <= ms < inf and ((name.isidentifier() and name.isascii()) or _TOKEN.fullmatch(name)):
            durations.setdefault(name, ms)
    return durations


def _with_parameters(entry: str) -> tuple[str, float]:
    """The name and the value of `dur`, -1 without one."""
    name, *parameters = entry.split(";")
    for parameter in parameters:
        key, _, number = parameter.partition("=")
        if key.strip().lower() == "dur":
            return name, _number(number)
    return name, -1.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
