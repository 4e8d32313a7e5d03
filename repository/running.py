"""How a session runs a frozen graph: threads, device, precision, and which of TensorFlow's passes are still to do.

Shared by the node, which serves the graph, and the freezer, which measures it. Needs TensorFlow.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

from repository.manifest import Precision

OFF, ON = rewriter_config_pb2.RewriterConfig.OFF, rewriter_config_pb2.RewriterConfig.ON
# Done already by `repository.optimise`; only fusing for this very processor is left to the session: starting
# takes 0.15 s less and the process 60 MB less than with all passes, runs take the same.
DONE_AHEAD = (
    "arithmetic_optimization",
    "auto_mixed_precision",
    "common_subgraph_elimination",
    "constant_folding",
    "debug_stripper",
    "dependency_optimization",
    "function_optimization",
    "implementation_selector",
    "layout_optimizer",
    "loop_optimization",
    "pin_to_host_optimization",
    "scoped_allocator_optimization",
    "shape_optimization",
    "use_plugin_optimizers",
)


def session_config(threads: int, runners: int, device: str = "cpu", *, optimised: bool, precision: Precision) -> Any:
    """The ConfigProto for `runners` callers that share `threads` cores.

    Each has its share of the threads, and operations run in their caller's own: a pool for operations gains nothing
    beside several callers, and a pool of one makes them queue (104 images/s against 183, two callers on two cores).
    """
    share = max(1, threads // runners)
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=share,
        inter_op_parallelism_threads=-1 if share == 1 or runners == 1 else runners,
        use_per_session_threads=True,  # else the first session of the process decides for all
        allow_soft_placement=True,
        device_count={"GPU": 0} if device == "cpu" else {},
    )
    config.gpu_options.allow_growth = True
    if device == "cpu":
        _choose_passes(config.graph_options.rewrite_options, optimised, precision)
    return config


def _choose_passes(options: Any, optimised: bool, precision: Precision) -> None:
    if optimised:
        for name in DONE_AHEAD:
            setattr(options, name, OFF)
        options.disable_model_pruning = True
        options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
        options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    if precision == "bfloat16" and has_bfloat16():
        options.auto_mixed_precision_onednn_bfloat16 = ON


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; emulated it takes twice as long as float32, or fails."""
    info = Path("/proc/cpuinfo")
    return info.exists() and re.search(r"\b(avx512_bf16|amx_bf16)\b", info.read_text()) is not None
