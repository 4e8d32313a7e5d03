"""What to freeze, how, and where to: the user's wishes as data. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from repository.manifest import Precision, Preprocessing


class Wanted(msgspec.Struct, frozen=True):
    """What is asked of a source; empty means: as its signature says, or a guess if there is only one.

    `inputs` and `outputs` are `tensor` or `name=tensor`; `constants` are placeholders' values as JSON. `trust` lets
    Python code of the source run.
    """

    signature: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    constants: Mapping[str, str] = {}
    trust: bool = False


class Recipe(msgspec.Struct, frozen=True):
    """One artefact to make. `buckets` None: as the graph allows; `tolerance` None: as the precision allows.

    `sides`: see Manifest.
    """

    source: Path
    target: Path
    name: str
    version: str
    wanted: Wanted = Wanted()
    preprocessing: Preprocessing | None = None
    labels: Path | None = None
    label_output: str = ""
    images: tuple[Path, ...] = ()
    buckets: tuple[int, ...] | None = None
    sides: tuple[int, ...] = ()
    precision: Precision = "float32"
    tolerance: float | None = None
    licence: str = "not stated"
