"""Sources that run in a TensorFlow 1 session: SavedModels old and new, checkpoints, and graphs already frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

from repository.graph import GraphDef
from repository.manifest import ArtefactError
from repository.names import near, node_of
from repository.recipe import Wanted
from repository.source import Array, Source, chosen, constant_values, first_line
from repository.suspects import refuse_source

v1 = tf.compat.v1
SERVE = "serve"  # the tag of a SavedModel's graph that is meant for inference


@contextmanager
def open_saved_model(path: Path, wanted: Wanted) -> Iterator[Source]:
    """A SavedModel of TensorFlow 1 or 2; its signature names inputs and outputs."""
    meta = serving_graph(path)
    refuse_source(meta.graph_def, trust=wanted.trust)
    inputs, outputs = signature(meta, wanted.signature)
    with _session() as session:
        v1.saved_model.load(session, list(meta.meta_info_def.tags), str(path))
        yield _source("SavedModel", session, inputs, outputs, wanted)


@contextmanager
def open_checkpoint(path: Path, wanted: Wanted) -> Iterator[Source]:
    """A TensorFlow 1 checkpoint beside its meta graph (`model.meta`)."""
    meta = read_proto(path, v1.MetaGraphDef)
    refuse_source(meta.graph_def, trust=wanted.trust)
    with _session() as session:
        saver = v1.train.import_meta_graph(meta, clear_devices=True)
        if saver is None:
            raise ArtefactError(f"{path} has no saver: its variables cannot be restored")
        saver.restore(session, str(path.with_suffix("")))
        inputs, outputs = signature(meta, wanted.signature) if meta.signature_def else ({}, {})
        yield _source("TensorFlow 1 checkpoint", session, inputs, outputs, wanted)


@contextmanager
def open_graph(path: Path, wanted: Wanted) -> Iterator[Source]:
    """A GraphDef, frozen already."""
    graph = read_proto(path, v1.GraphDef)
    refuse_source(graph, trust=wanted.trust)
    with _session() as session:
        tf.import_graph_def(graph, name="")
        yield _source("frozen graph", session, {}, {}, wanted)


def serving_graph(path: Path) -> Any:
    """The MetaGraphDef of a SavedModel that is meant for inference."""
    saved = read_proto(path / "saved_model.pb", saved_model_pb2.SavedModel)
    metas = list(saved.meta_graphs)
    serving = [meta for meta in metas if SERVE in meta.meta_info_def.tags]
    if not (serving or metas):
        raise ArtefactError(f"{path} holds no graph")
    return (serving or metas)[0]


def signature(meta: Any, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs of a signature, public name → tensor; the only one, or `serving_default`, if not named."""
    known = {key: value for key, value in meta.signature_def.items() if key != "__saved_model_init_op"}
    key = name or ("serving_default" if "serving_default" in known else next(iter(sorted(known)), ""))
    if key not in known:
        raise ArtefactError(f"no signature {key!r}{near(key, known)}")
    inputs = {public: info.name for public, info in sorted(known[key].inputs.items())}
    return inputs, {public: info.name for public, info in sorted(known[key].outputs.items())}


def read_proto(path: Path, kind: Any) -> Any:
    """A protocol buffer file; raises `ArtefactError`."""
    try:
        return kind.FromString(path.read_bytes())
    except OSError as error:
        raise ArtefactError(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        raise ArtefactError(f"{path} is no {kind.DESCRIPTOR.name}: {error}") from error


def _source(kind: str, session: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], wanted: Wanted) -> Source:
    graph = session.graph.as_graph_def()
    inputs, outputs = chosen(graph, inputs, outputs, wanted)
    frozen = convert_variables_to_constants_from_session_graph(
        session, graph, [node_of(tensor) for tensor in (*outputs.values(), *inputs.values())]
    )
    return Source(kind, frozen, inputs, outputs, _runner(session, graph, wanted))


def _runner(
    session: Any, graph: GraphDef, wanted: Wanted
) -> Callable[[Mapping[str, Array], Sequence[str]], Sequence[Array]]:
    held = {f"{name}:0": value for name, value in constant_values(graph, wanted.constants).items()}

    def run(feeds: Mapping[str, Array], fetches: Sequence[str]) -> Sequence[Array]:
        answers: list[Array] = session.run(list(fetches), {**held, **feeds})
        return answers

    return run


@contextmanager
def _session() -> Iterator[Any]:
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        try:
            yield session
        except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"TensorFlow cannot load or run it: {first_line(error)}") from error
