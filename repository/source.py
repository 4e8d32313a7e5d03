"""What every kind of model source comes down to: a graph with its variables folded in, what goes in and comes out,
and the source itself to compare with. Needs TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from repository import names
from repository.graph import Frozen, GraphDef, cut
from repository.manifest import ArtefactError
from repository.recipe import Wanted

Array = NDArray[Any]


class Source(NamedTuple):
    """A model before it is frozen. `run` feeds tensors by name and fetches tensors by name, in the source itself."""

    kind: str
    graph: GraphDef
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    run: Callable[[Mapping[str, Array], Sequence[str]], Sequence[Array]]


def chosen(
    graph: GraphDef, inputs: Mapping[str, str], outputs: Mapping[str, str], wanted: Wanted
) -> tuple[dict[str, str], dict[str, str]]:
    """Public name → tensor for inputs and outputs: those wanted, else the signature's, else the only guess."""
    held = with_constants(graph, wanted.constants)
    if wanted.inputs:
        inputs = _known_or_node(graph, inputs, wanted.inputs, "input")
    elif not inputs:
        inputs = names.guess_inputs(held)
    if wanted.outputs:
        outputs = _known_or_node(graph, outputs, wanted.outputs, "output")
    elif not outputs:
        outputs = names.only(names.guess_outputs(held), "output")
    left = {name: tensor for name, tensor in inputs.items() if names.node_of(tensor) not in wanted.constants}
    return names.resolved(graph, left, "input"), names.resolved(graph, outputs, "output")


def complete(source: Source, wanted: Wanted, shapes: Mapping[str, Sequence[int | None]] | None = None) -> Frozen:
    """Cut to what is needed, inputs narrowed to `shapes`.

    Raises `ArtefactError` when the outputs need an input that nobody named.
    """
    graph = with_constants(source.graph, wanted.constants)
    frozen = cut(graph, source.inputs, source.outputs, shapes)
    fed = {spec.tensor for spec in frozen.inputs}
    for node in frozen.graph.node:
        if node.op == "Placeholder" and f"{node.name}:0" not in fed:
            dtype = tf.as_dtype(node.attr["dtype"].type).name
            hint = "name it with --inputs, or give its value with --set"
            raise ArtefactError(f"the outputs also need {node.name} ({dtype}): {hint}")
    used = _read_inputs(frozen)
    return frozen._replace(inputs=tuple(spec for spec in frozen.inputs if spec.name in used))


def _read_inputs(frozen: Frozen) -> set[str]:
    """The inputs that an output depends on; a source may declare more."""
    read = {names.node_of(source) for node in frozen.graph.node for source in node.input}
    read |= {names.node_of(spec.tensor) for spec in frozen.outputs}
    return {spec.name for spec in frozen.inputs if names.node_of(spec.tensor) in read}


def with_constants(graph: GraphDef, constants: Mapping[str, str]) -> GraphDef:
    """The graph with some places where values come in (`is_training`) set for good, and defaults taken."""
    changed = tf.compat.v1.GraphDef()
    changed.CopyFrom(graph)
    values = constant_values(graph, constants)
    for node in changed.node:
        if node.name in values:
            _become_constant(node, values[node.name])
        elif node.op == "PlaceholderWithDefault":
            _become_identity(node)
    return changed


def constant_values(graph: GraphDef, constants: Mapping[str, str]) -> dict[str, Array]:
    """Node → value, from JSON text and the placeholder's dtype; raises `ArtefactError`."""
    nodes = {node.name: node for node in graph.node if node.op.startswith("Placeholder")}
    values = {}
    for name, text in constants.items():
        if name not in nodes:
            raise ArtefactError(f"--set {name}: no placeholder has this name{names.near(name, nodes)}")
        dtype = tf.as_dtype(nodes[name].attr["dtype"].type).as_numpy_dtype
        try:
            values[name] = np.asarray(json.loads(text), dtype)
        except (ValueError, TypeError) as error:
            raise ArtefactError(f"--set {name}={text}: {error}") from error
    return values


def first_line(error: Exception) -> str:
    """What a foreign error says, without its traces."""
    lines = [line.strip() for line in str(error).partition("[[")[0].splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]


def _known_or_node(graph: GraphDef, known: Mapping[str, str], wanted: Sequence[str], kind: str) -> dict[str, str]:
    """A name of the signature, else a node of the graph."""
    found = {}
    nodes = {node.name for node in graph.node}
    for name, tensor in names.named(wanted).items():
        if tensor not in known and names.node_of(tensor) not in nodes:
            raise ArtefactError(f"no {kind} or node {tensor!r}{names.near(tensor, nodes | set(known))}")
        found[name] = known.get(tensor, tensor)
    return found


def _become_constant(node: Any, value: Array) -> None:
    node.op = "Const"
    del node.input[:]
    node.attr.pop("shape", None)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def _become_identity(node: Any) -> None:
    dtype = node.attr["dtype"].type
    node.op = "Identity"
    node.attr.pop("dtype", None)
    node.attr.pop("shape", None)
    node.attr["T"].type = dtype
