"""A frozen graph: variables as constants, cut to what its outputs need, named as the user likes, bytes always alike.

Needs TensorFlow: import this only where a graph is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from repository.manifest import ArtefactError, TensorSpec
from repository.names import node_of

GraphDef = Any
VALID_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")  # as TensorFlow wants its nodes called
v1 = tf.compat.v1


class Frozen(NamedTuple):
    """A graph without variables, and where values go in and come out."""

    graph: GraphDef
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def from_function(function: Any, outputs: Mapping[str, str]) -> Frozen:
    """Freeze a concrete function; `outputs` maps public names to tensors inside it, its arguments are the inputs."""
    frozen = convert_variables_to_constants_v2(function)
    inputs = {tensor.op.name: tensor.name for tensor in frozen.inputs}
    return cut(frozen.graph.as_graph_def(), inputs, outputs)


def cut(
    graph: GraphDef,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> Frozen:
    """Keep only what leads from `inputs` to `outputs` (public name → tensor).

    An input that something else computes becomes a place where values come in; `shapes` (by public name) narrows
    what an input takes.
    """
    for name, tensor in inputs.items():
        if not tensor.endswith(":0"):
            raise ArtefactError(f"the input {name!r} is {tensor}: only the first value of a node can be fed")
    specs = _specs(graph, inputs)
    entries = {node_of(tensor) for tensor in inputs.values()}
    opened = v1.GraphDef(versions=graph.versions, library=graph.library)
    opened.node.extend(node for node in graph.node if node.name not in entries)
    for spec in specs:
        _add_placeholder(opened, spec, (shapes or {}).get(spec.name, spec.shape))
    fed = {name: f"{node_of(tensor)}:0" for name, tensor in inputs.items()}
    return without_unused(Frozen(opened, _specs(opened, fed), _specs(opened, outputs)))


def without_unused(frozen: Frozen) -> Frozen:
    """The graph without the nodes that no output needs."""
    by_name = {node.name: node for node in frozen.graph.node}
    needed = {node_of(spec.tensor) for spec in frozen.inputs}
    waiting = [node_of(spec.tensor) for spec in frozen.outputs]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [node_of(source) for source in by_name[name].input]
    kept = v1.GraphDef(versions=frozen.graph.versions)
    kept.node.extend(node for node in frozen.graph.node if node.name in needed)
    kept.library.function.extend(_called_functions(kept.node, frozen.graph.library))
    return frozen._replace(graph=kept)


def renamed(frozen: Frozen) -> Frozen:
    """The nodes of inputs and outputs called by their public names, where no other node is called so."""
    taken = {node.name for node in frozen.graph.node}
    new: dict[str, str] = {}
    for spec in (*frozen.inputs, *frozen.outputs):
        if spec.tensor.endswith(":0") and spec.name not in taken and VALID_NAME.fullmatch(spec.name):
            new.setdefault(node_of(spec.tensor), spec.name)
    graph = v1.GraphDef()
    graph.CopyFrom(frozen.graph)
    for node in graph.node:
        node.name = new.get(node.name, node.name)
        sources = [_renamed(source, new) for source in node.input]
        del node.input[:]
        node.input.extend(sources)
        node.attr.pop("_class", None)  # beside whom it should be placed, by the old name
    return Frozen(graph, _respecified(frozen.inputs, new), _respecified(frozen.outputs, new))


def serialise(frozen: Frozen) -> bytes:
    """The graph as bytes, the same at every freeze: maps sorted, notes of who made a node where left out."""
    tidy = v1.GraphDef()
    tidy.CopyFrom(frozen.graph)
    for node in tidy.node:
        node.ClearField("experimental_debug_info")
        for note in [key for key in node.attr if key in ("_class", "_output_shapes", "_grappler_arithmetic_optimizer")]:
            del node.attr[note]
    return bytes(tidy.SerializeToString(deterministic=True))


def _called_functions(nodes: Iterable[Any], library: Any) -> list[Any]:
    """The functions that nodes call, and those that these call."""
    by_name = {function.signature.name: function for function in library.function}
    called: dict[str, Any] = {}
    waiting = list(nodes)
    while waiting:
        for name in _functions_of(waiting.pop()) & (by_name.keys() - called.keys()):
            called[name] = by_name[name]
            waiting += by_name[name].node_def
    return [function for name, function in by_name.items() if name in called]


def _functions_of(node: Any) -> set[str]:
    values = list(node.attr.values())
    names = {value.func.name for value in values} | {func.name for value in values for func in value.list.func}
    return names | {node.op}


def _renamed(source: str, new: Mapping[str, str]) -> str:
    node = node_of(source)
    return source.replace(node, new[node], 1) if node in new else source


def _respecified(specs: Sequence[TensorSpec], new: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(msgspec.structs.replace(spec, tensor=_renamed(spec.tensor, new)) for spec in specs)


def _add_placeholder(graph: GraphDef, spec: TensorSpec, shape: Sequence[int | None]) -> None:
    node = graph.node.add(op="Placeholder", name=node_of(spec.tensor))
    node.attr["dtype"].type = tf.as_dtype(spec.dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())


def _specs(graph: GraphDef, tensors: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    """Name, dtype and shape as TensorFlow infers them; raises `ArtefactError` when nothing is known of a shape."""
    with tf.Graph().as_default() as built:
        tf.import_graph_def(graph, name="")
    found = {name: built.get_tensor_by_name(tensor) for name, tensor in tensors.items()}
    for name, tensor in found.items():
        if tensor.shape.rank is None:
            raise ArtefactError(f"the rank of {name!r} ({tensor.name}) is unknown")
    return tuple(
        TensorSpec(name, tensor.dtype.name, tuple(tensor.shape.as_list()), tensor.name)
        for name, tensor in found.items()
    )
