"""The manifest of an artefact: what a frozen model takes, gives and costs, and the SHA-256 of every file.

An artefact is a flat directory `<root>/<model>/<version>/`: `graph.pb`, `labels.json`, `manifest.json`. The
manifest is written last, so a directory without one is unfinished. `load` trusts nothing: every file must be a
plain file of the stated size and digest, and no other may be there. Needs neither TensorFlow nor numpy.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MANIFEST = "manifest.json"
GRAPH = "graph.pb"
LABELS = "labels.json"
MANIFEST_BYTES = 1 << 20  # a manifest is some kilobytes; a bigger one is an attack or a mistake

Name = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
]  # safe as URL segment, file name, registry word
Positive = Annotated[int, Meta(ge=1, le=1 << 20)]
Milliseconds = Annotated[float, Meta(ge=0)]
Dtype = Literal[
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "string",
]  # fmt: skip

Precision = Literal["float32", "bfloat16"]


class ArtefactError(Exception):
    """An artefact that must not be served, or a model none can be made of; the message is one line."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output. `None` in `shape` is a free dimension; a free first one is the batch."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    dtype: Dtype
    shape: tuple[Annotated[int, Meta(ge=0)] | None, ...]
    tensor: Annotated[str, Meta(min_length=3, max_length=512, description="its name in the graph: node:index")]


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an upright RGB picture of 8 bits becomes one row of `input`: exact, so that all paths answer alike.

    1. `crop`: a square with the side `crop_share` x the shorter side is cut from the centre (EfficientNet's
       own evaluation: 224 / (224 + 32)); its edges may lie between pixels: left = (width - side) / 2, …
       `stretch`: the whole picture, its aspect ratio not kept.
    2. That box is resized to `width` x `height` with `filter`, antialiased, to 8-bit values
       (Pillow: `image.resize((width, height), filter, box=(left, top, right, bottom))`).
    3. value = (pixel - mean) / std per channel in R, G, B order, as float32; then the channels are ordered as
       `channels` says, the axes as `layout` says, and the values cast to the input's dtype.
    """

    input: str
    height: Positive
    width: Positive
    resize: Literal["crop", "stretch"]
    crop_share: Annotated[float, Meta(gt=0, le=1)]
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NHWC", "NCHW"] = "NHWC"


class CostPrior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured when the model was frozen: a start for the gateway's predictions, not a promise.

    `infer_ms` is the best of some warm runs by batch size, on one thread; `decode_ms_per_megapixel` is by image
    format ("jpeg", "png", …), from bytes to the input array.
    """

    machine: str
    infer_ms: dict[int, Milliseconds]
    decode_ms_per_megapixel: dict[str, Milliseconds]


class FileDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in bytes and SHA-256 of one file."""

    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a node must know about a frozen model before it loads TensorFlow."""

    name: Name
    version: Name
    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    tensorflow: Annotated[str, Meta(description="version that froze the graph")]
    created: Annotated[str, Meta(description="RFC 3339, UTC")]
    source: Annotated[str, Meta(description="where the weights came from")]
    licence: Annotated[str, Meta(description="of the weights, SPDX where known")]
    format: Literal[1] = 1
    graph: Name = GRAPH
    optimised: Annotated[
        bool, Meta(description="TensorFlow's graph optimiser has run; sessions need not repeat it")
    ] = False
    precision: Annotated[
        Precision,
        Meta(description="bfloat16: checked to be exact enough, used where the processor has it"),
    ] = "float32"
    preprocessing: Preprocessing | None = None
    labels: Annotated[str, Meta(description="file with a JSON list of class names; empty: none")] = ""
    label_output: Annotated[str, Meta(description="the output whose last axis the labels name")] = ""
    batch_buckets: Annotated[
        tuple[Positive, ...], Meta(description="batch sizes that run; empty: the graph has no batch")
    ] = ()
    sides: Annotated[
        tuple[Positive, ...],
        Meta(description="for free sides beside the batch: sizes warmed before serving; each new one costs extra once"),
    ] = ()
    cost: CostPrior | None = None
    files: dict[Name, FileDigest] = {}

    def input(self, name: str) -> TensorSpec | None:
        """The input called `name`."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """The output called `name`."""
        return next((spec for spec in self.outputs if spec.name == name), None)


def load(directory: Path) -> Manifest:
    """The manifest in `directory`, every file verified against it; raises `ArtefactError`."""
    manifest = read(directory)
    _refuse_strangers(directory, {*manifest.files, MANIFEST})
    for name in manifest.files:
        with _open(directory, name) as stream:
            _verify(
                directory,
                name,
                manifest,
                hashlib.file_digest(stream, "sha256"),
                os.fstat(stream.fileno()).st_size,
            )
    return manifest


def read(directory: Path) -> Manifest:
    """The manifest alone, sound in itself, its files not yet looked at; raises `ArtefactError`."""
    with _open(directory, MANIFEST) as stream:
        data = stream.read(MANIFEST_BYTES + 1)
    if len(data) > MANIFEST_BYTES:
        raise ArtefactError(f"{directory}: {MANIFEST} is longer than {MANIFEST_BYTES} bytes")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"{directory}: {MANIFEST}: {error}") from error
    for problem in _problems(manifest):
        raise ArtefactError(f"{directory}: {MANIFEST}: {problem}")
    return manifest


def read_file(directory: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of one file, verified as they are handed over: nobody can swap it after the check."""
    with _open(directory, name) as stream:
        data = stream.read()
    _verify(directory, name, manifest, hashlib.sha256(data), len(data))
    return data


def read_labels(directory: Path, manifest: Manifest) -> tuple[str, ...]:
    """Class names by index; empty when the model has none."""
    if not manifest.labels:
        return ()
    try:
        labels = msgspec.json.decode(read_file(directory, manifest, manifest.labels), type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{directory}: {manifest.labels}: {error}") from error
    output = manifest.output(manifest.label_output)
    if output and output.shape and output.shape[-1] not in (None, len(labels)):
        raise ArtefactError(f"{directory}: {len(labels)} labels for {output.shape[-1]} values of {output.name}")
    return labels


def write(directory: Path, manifest: Manifest) -> Manifest:
    """Finish an artefact: digest the files in `directory`, then put `manifest` in place, last and at once."""
    files = {}
    for name in sorted(_entries(directory) - {MANIFEST}):
        with _open(directory, name) as stream:
            files[name] = FileDigest(
                os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest()
            )
    finished = msgspec.structs.replace(manifest, files=files)
    for problem in _problems(finished):
        raise ArtefactError(f"{directory}: {problem}")
    draft = directory / f"{MANIFEST}.part"
    with draft.open("wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(finished), indent=1) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(directory / MANIFEST)
    return finished


def _problems(manifest: Manifest) -> list[str]:
    problems = []
    for kind, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        if len({spec.name for spec in specs}) != len(specs):
            problems.append(f"two {kind}s have one name")
    needed = {manifest.graph, manifest.labels} - {""}
    problems += [f"{name} is not among its files" for name in sorted(needed - set(manifest.files))]
    if MANIFEST in manifest.files:
        problems.append(f"{MANIFEST} cannot hold its own digest")
    if bool(manifest.labels) != bool(manifest.label_output) or (
        manifest.labels and not manifest.output(manifest.label_output)
    ):
        problems.append("labels and label_output must name a file and an output")
    if list(manifest.batch_buckets) != sorted(set(manifest.batch_buckets)):
        problems.append("batch_buckets must rise")
    if manifest.batch_buckets and any(spec.shape[:1] != (None,) for spec in (*manifest.inputs, *manifest.outputs)):
        problems.append("batch_buckets need a free first dimension in every input and output")
    if manifest.sides and not any(None in _free(spec, manifest.preprocessing) for spec in manifest.inputs):
        problems.append("sides are for inputs with free sides beside the batch")
    return problems + _preprocessing_problems(manifest)


def _free(spec: TensorSpec, steps: Preprocessing | None) -> tuple[int | None, ...]:
    """A row's sides, those that the preprocessing settles left out."""
    return () if steps is not None and steps.input == spec.name else spec.shape[1:]


def _preprocessing_problems(manifest: Manifest) -> list[str]:
    steps = manifest.preprocessing
    if steps is None:
        return []
    problems = []
    if not all(steps.std):
        problems.append("preprocessing.std holds a zero")
    spec = manifest.input(steps.input)
    rows = (steps.height, steps.width, 3) if steps.layout == "NHWC" else (3, steps.height, steps.width)
    if spec is None:
        problems.append(f"preprocessing names no input {steps.input!r}")
    elif len(spec.shape) != 4 or any(have not in (None, want) for have, want in zip(spec.shape[1:], rows, strict=True)):
        problems.append(f"preprocessing gives rows of {rows}, input {steps.input!r} is {spec.shape}")
    return problems


def _entries(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except OSError as error:
        raise ArtefactError(f"{directory}: {error.strerror}") from error


def _refuse_strangers(directory: Path, expected: set[str]) -> None:
    entries = _entries(directory)
    for name in sorted(entries - expected):
        raise ArtefactError(f"{directory}: {name!r} is not in the manifest")
    for name in sorted(expected - entries):
        raise ArtefactError(f"{directory}: {name} is missing")


def _open(directory: Path, name: str) -> BufferedReader:
    """A plain file of this very directory: no link is followed, no pipe waited for."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise ArtefactError(f"{directory}: {name!r} is no file name for an artefact")
    try:
        stream = os.fdopen(os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except IsADirectoryError:
        raise ArtefactError(f"{directory}: {name} is not a plain file") from None
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ArtefactError(f"{directory}: {name} {reason}") from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise ArtefactError(f"{directory}: {name} is not a plain file")
    return stream


def _verify(directory: Path, name: str, manifest: Manifest, digest: hashlib._Hash, size: int) -> None:
    stated = manifest.files.get(name)
    if stated is None:
        raise ArtefactError(f"{directory}: {name!r} is not in the manifest")
    if size != stated.size:
        raise ArtefactError(f"{directory}: {name} has {size} bytes, the manifest says {stated.size}")
    if digest.hexdigest() != stated.sha256:
        raise ArtefactError(f"{directory}: {name} has another SHA-256 than the manifest says")
