"""TensorFlow's own graph optimiser, run once ahead of time. Needs TensorFlow."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.grappler import tf_optimizer

from repository.graph import Frozen
from repository.names import node_of

v1 = tf.compat.v1
ROUNDS = 4


def optimise(frozen: Frozen) -> Frozen:
    """Run TensorFlow's own graph optimiser ahead of time, until it finds nothing more to leave out.

    Only passes whose result runs on every machine: fusing operations and choosing memory layouts depend on the
    processor and are left to the session that will run the graph. A branch that only training takes goes in the
    second round, after the first has opened it.
    """
    for _ in range(ROUNDS):
        smaller = _optimised_once(frozen)
        done = len(smaller.graph.node) == len(frozen.graph.node)
        frozen = smaller
        if done:
            break
    return frozen


def _optimised_once(frozen: Frozen) -> Frozen:
    with tf.Graph().as_default() as built:
        tf.import_graph_def(frozen.graph, name="")
    meta = v1.train.export_meta_graph(graph_def=built.as_graph_def(), graph=built)
    keep = [node_of(spec.tensor) for spec in (*frozen.inputs, *frozen.outputs)]
    meta.collection_def["train_op"].node_list.value.extend(keep)
    config = v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1  # small graphs too
    for machine_dependent in ("remapping", "layout_optimizer", "use_plugin_optimizers"):
        setattr(options, machine_dependent, rewriter_config_pb2.RewriterConfig.OFF)
    options.debug_stripper = rewriter_config_pb2.RewriterConfig.ON  # Assert, CheckNumerics and Print served training
    return frozen._replace(graph=tf_optimizer.OptimizeGraph(config, meta))
