"""Results that were kept as JSON: read back, whatever kind they are."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadtest.openloop import results as load_results
from loadtest.openloop.results import LoadRun
from loadtest.prove import results as prove_results
from loadtest.prove.results import ProveRun


class NotAResult(Exception):
    """A file that holds no result of ours; one line."""


class _Head(msgspec.Struct):
    kind: str = ""
    version: int = 0


_KINDS: dict[str, type[LoadRun] | type[ProveRun]] = {load_results.KIND: LoadRun, prove_results.KIND: ProveRun}


def read(file: Path) -> LoadRun | ProveRun:
    """Raises NotAResult."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise NotAResult(f"{file}: {error.strerror}") from None
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.kind not in _KINDS:
            raise NotAResult(f"{file} is no result of `fleetgate load --json` or `make prove`")
        if head.version != 1:
            raise NotAResult(f"{file} is of version {head.version}, this program reads version 1")
        return msgspec.json.decode(text, type=_KINDS[head.kind])
    except msgspec.DecodeError as error:
        raise NotAResult(f"{file}: {error}") from None
