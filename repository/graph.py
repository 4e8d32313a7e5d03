"""A frozen graph: variables as constants, training-only nodes gone, portable optimisation done, bytes always alike.

Needs TensorFlow: import this only where a graph is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer

from repository.manifest import TensorSpec

GraphDef = Any
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


def cut(graph: GraphDef, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Frozen:
    """Keep only what leads from `inputs` to `outputs` (public name → tensor)."""
    by_name = {node.name: node for node in graph.node}
    needed: set[str] = {node_of(tensor) for tensor in inputs.values()}
    waiting = [node_of(tensor) for tensor in outputs.values()]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [node_of(source) for source in by_name[name].input]
    kept = v1.GraphDef(versions=graph.versions, library=graph.library)
    kept.node.extend(node for node in graph.node if node.name in needed)
    return described(kept, inputs, outputs)


def described(graph: GraphDef, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Frozen:
    """The graph with dtype and shape of every input and output as TensorFlow infers them."""
    with tf.Graph().as_default() as built:
        tf.import_graph_def(graph, name="")

    def specs(tensors: Mapping[str, str]) -> tuple[TensorSpec, ...]:
        return tuple(_spec(name, built.get_tensor_by_name(tensor)) for name, tensor in tensors.items())

    return Frozen(graph, specs(inputs), specs(outputs))


def optimise(frozen: Frozen) -> Frozen:
    """Run TensorFlow's own graph optimiser once, ahead of time.

    Only passes whose result runs on every machine: fusing operations and choosing memory layouts depend on the
    processor and are left to the session that will run the graph.
    """
    with tf.Graph().as_default() as built:
        tf.import_graph_def(frozen.graph, name="")
    meta = v1.train.export_meta_graph(graph_def=built.as_graph_def(), graph=built)
    keep = [node_of(spec.tensor) for spec in (*frozen.inputs, *frozen.outputs)]
    meta.collection_def["train_op"].node_list.value.extend(keep)
    config = v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1  # small graphs too
    options.remapping = rewriter_config_pb2.RewriterConfig.OFF
    options.layout_optimizer = rewriter_config_pb2.RewriterConfig.OFF
    options.use_plugin_optimizers = rewriter_config_pb2.RewriterConfig.OFF
    return frozen._replace(graph=tf_optimizer.OptimizeGraph(config, meta))


def serialise(frozen: Frozen) -> bytes:
    """The graph as bytes, the same at every freeze: maps sorted, notes of who made a node where left out."""
    tidy = v1.GraphDef()
    tidy.CopyFrom(frozen.graph)
    for node in tidy.node:
        node.ClearField("experimental_debug_info")
        for note in [key for key in node.attr if key in ("_output_shapes", "_grappler_arithmetic_optimizer")]:
            del node.attr[note]
    return bytes(tidy.SerializeToString(deterministic=True))


def node_of(tensor: str) -> str:
    """The node that a tensor (`node:0`), an input (`node:0`, `node`) or a control input (`^node`) belongs to."""
    return tensor.removeprefix("^").partition(":")[0]


def _spec(name: str, tensor: Any) -> TensorSpec:
    if tensor.shape.rank is None:
        raise ValueError(f"{tensor.name} has no known rank")
    return TensorSpec(name, tensor.dtype.name, tuple(tensor.shape.as_list()), tensor.name)
