"""Batch normalisation folded into the convolution before it: one operation less, the same numbers but for rounding.

Needs TensorFlow: import this only where a graph is made.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from repository.graph import Frozen, without_unused
from repository.names import node_of

Node = Any
NORMS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
# The axis of the kernel that the channels of the answer lie on; a depthwise kernel has two: (h, w, in, multiplier).
KERNELS = {"Conv2D": (1, 1, 1, -1), "DepthwiseConv2dNative": (1, 1, None, -1)}


def fold_norms(frozen: Frozen) -> Frozen:
    """Fold every normalisation whose convolution, kernel and statistics are constant and used by nobody else."""
    graph = tf.compat.v1.GraphDef()
    graph.CopyFrom(frozen.graph)
    nodes = {node.name: node for node in graph.node}
    users = Counter(node_of(source) for node in graph.node for source in node.input)
    users.update(node_of(spec.tensor) for spec in frozen.outputs)
    others = {s for node in graph.node for s in node.input if ":" in s}  # a norm's statistics may be asked for too
    for norm in [node for node in graph.node if node.op in NORMS]:
        convolution = nodes[node_of(norm.input[0])]
        constants = [_constant(nodes, name) for name in (*norm.input[1:], *convolution.input[1:2])]
        known = [value for value in constants if value is not None]
        alone = users[convolution.name] == 1 and not any(other.startswith(f"{norm.name}:") for other in others)
        if _foldable(norm, convolution) and alone and len(known) == len(constants):
            _fold(graph, norm, convolution, known)
    return without_unused(frozen._replace(graph=graph))


def _foldable(norm: Node, convolution: Node) -> bool:
    last = all(node.attr["data_format"].s in (b"", b"NHWC") for node in (norm, convolution))
    single = norm.attr["T"].type == tf.float32.as_datatype_enum
    return convolution.op in KERNELS and last and single and not norm.attr["is_training"].b


def _fold(graph: Any, norm: Node, convolution: Node, constants: list[NDArray[Any]]) -> None:
    scale, offset, mean, variance, kernel = constants
    scale = scale / np.sqrt(variance + norm.attr["epsilon"].f)
    shape = [kernel.shape[2] if side is None else side for side in KERNELS[convolution.op]]
    _add_constant(graph, f"{norm.name}/folded_kernel", kernel * scale.reshape(shape))
    _add_constant(graph, f"{norm.name}/folded_bias", offset - mean * scale)
    convolution.input[1] = f"{norm.name}/folded_kernel"
    norm.op = "BiasAdd"
    del norm.input[:]
    norm.input.extend([convolution.name, f"{norm.name}/folded_bias"])
    for key in list(norm.attr):
        if key not in ("T", "data_format"):
            del norm.attr[key]


def _constant(nodes: dict[str, Node], name: str) -> NDArray[Any] | None:
    node = nodes[node_of(name)]
    while node.op == "Identity":
        node = nodes[node_of(node.input[0])]
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None


def _add_constant(graph: Any, name: str, value: NDArray[Any]) -> None:
    node = graph.node.add(op="Const", name=name)
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
