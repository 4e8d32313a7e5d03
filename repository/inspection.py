"""What is in a source: its nodes and their sizes, its signatures, and what its inputs and outputs probably are.

Runs nothing of the source, but for a Keras file, which is loaded as when it is frozen. Needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from repository import names, suspects
from repository.graph import GraphDef
from repository.keras_source import open_keras
from repository.manifest import ArtefactError
from repository.recipe import Wanted
from repository.session_source import read_proto, serving_graph, signature
from repository.sources import kind, normal

v1 = tf.compat.v1


class Node(NamedTuple):
    """One line of the list; `size` is the bytes of a constant."""

    name: str
    op: str
    dtype: str
    shape: str
    size: int


class Inspection(NamedTuple):
    """All there is to say about a source before freezing it."""

    kind: str
    nodes: list[Node]
    functions: int
    signatures: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]
    inputs: list[str]
    outputs: list[str]
    refusal: str


def inspect(path: Path, *, trust: bool = False) -> Inspection:
    """Look into a source; raises `ArtefactError` when it cannot be read at all."""
    tf.get_logger().setLevel("ERROR")
    place = normal(path)
    what = kind(place)
    if what == "keras":
        with open_keras(place, Wanted(trust=trust)) as source:
            return _inspected(what, source.graph, {"model": (source.inputs, source.outputs)})
    if what == "graph":
        return _inspected(what, read_proto(place, v1.GraphDef), {})
    meta = serving_graph(place) if what == "saved_model" else read_proto(place, v1.MetaGraphDef)
    known = sorted(key for key in meta.signature_def if not key.startswith("__"))
    return _inspected(what, meta.graph_def, {key: signature(meta, key) for key in known})


def _inspected(
    what: str, graph: GraphDef, signatures: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]
) -> Inspection:
    shapes = _shapes(graph)
    nodes = [_node(node, shapes.get(node.name, ("", ""))) for node in graph.node]
    return Inspection(
        kind=what,
        nodes=nodes,
        functions=len(graph.library.function),
        signatures=signatures,
        inputs=list(names.guess_inputs(graph)),
        outputs=list(names.guess_outputs(graph)),
        refusal=_refusal(graph),
    )


def _refusal(graph: GraphDef) -> str:
    try:
        suspects.refuse_source(graph, trust=False)
    except ArtefactError as error:
        return str(error)
    return ""


def _shapes(graph: GraphDef) -> dict[str, tuple[str, str]]:
    """Dtype and shape of every node's first value, as far as TensorFlow can tell without its missing operations."""
    try:
        with tf.Graph().as_default() as built:
            tf.import_graph_def(graph, name="")
    except (ValueError, KeyError, TypeError, tf.errors.OpError):
        return {}
    first = ((operation.name, operation.outputs[0]) for operation in built.get_operations() if operation.outputs)
    return {name: (tensor.dtype.name, _shape(tensor.shape)) for name, tensor in first}


def _shape(shape: Any) -> str:
    return "unknown" if shape.rank is None else "[" + ", ".join("?" if s is None else str(s) for s in shape) + "]"


def _node(node: Any, known: tuple[str, str]) -> Node:
    size = 0
    if node.op == "Const":
        value = node.attr["value"].tensor
        count = tf.TensorShape(value.tensor_shape).num_elements() or 0
        size = count * (tf.as_dtype(value.dtype).size if value.dtype != tf.string.as_datatype_enum else 1)
    return Node(node.name, node.op, *known, size)
