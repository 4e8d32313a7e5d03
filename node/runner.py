"""A frozen graph ready to run in TensorFlow: threads, device, optimiser, and foreign errors turned into ours.

Importing this imports TensorFlow (3 s, 570 MB): `node.session` does so when it loads an artefact. The runner is the
callable of a plain session on the graph, of all ways measured the fastest on a CPU: eager calls and `predict` cost
ten times as much, XLA twenty times.
"""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from repository.manifest import ArtefactError, Manifest, TensorSpec
from wire.errors import ModelFailed

Array = NDArray[Any]
Device = Literal["auto", "cpu", "gpu"]
v1 = tf.compat.v1
OFF = rewriter_config_pb2.RewriterConfig.OFF
# What `repository.graph.optimise` has done already; only fusing for this very processor is left to the session:
# starting takes 0.15 s less and the process 60 MB less than with all passes, runs take the same.
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


class Runner:
    """One TensorFlow session on one graph. `run` may be called from several threads at once."""

    def __init__(self, graph: bytes, manifest: Manifest, threads: int, runners: int, device: Device) -> None:
        self.device = _device(device)
        self._session = v1.Session(
            graph=_imported(graph), config=_config(threads, runners, self.device, manifest.optimised)
        )
        self._close = weakref.finalize(self, self._session.close)  # at exit too: TensorFlow's own clean-up complains
        try:
            # Not the public `make_callable`: given feeds, that is `Session.run`, 0.1 ms slower at every call.
            self._call = self._session._make_callable_from_options(
                config_pb2.CallableOptions(
                    feed=[spec.tensor for spec in manifest.inputs],
                    fetch=[spec.tensor for spec in manifest.outputs],
                )
            )
        except tf.errors.OpError as error:
            self._close()
            raise ArtefactError(f"graph and manifest disagree: {_reason(error)}") from error

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Inputs in the manifest's order → outputs in its order; raises `ModelFailed`."""
        try:
            answers: list[Array] = self._call(*arrays)
        except tf.errors.OpError as error:
            raise ModelFailed(f"the graph failed: {_reason(error)}") from error
        return answers

    def close(self) -> None:
        """Free what the session holds; a run in progress fails."""
        self._close()

    @staticmethod
    def example(spec: TensorSpec, shape: Sequence[int]) -> Array:
        """A harmless value: ones, or empty strings."""
        if spec.dtype == "string":
            return np.full(shape, b"", dtype=object)
        return np.ones(shape, tf.as_dtype(spec.dtype).as_numpy_dtype)


def give_memory_back() -> None:
    """Return what loading left free to the system: 60 MB with the packaged model, of which glibc keeps its arenas."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _imported(data: bytes) -> Any:
    try:
        definition = v1.GraphDef.FromString(data)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
    except (DecodeError, ValueError, TypeError, tf.errors.OpError) as error:
        raise ArtefactError(f"TensorFlow cannot read the graph: {_reason(error)}") from error
    return graph


def _config(threads: int, runners: int, device: str, optimised: bool) -> Any:
    """Each runner has its share of the threads; an operation runs in its caller's own thread.

    A pool for operations gains nothing beside several callers, and a pool of one makes them queue: 104 images/s
    against 183 with two callers on two cores.
    """
    share = max(1, threads // runners)
    config = v1.ConfigProto(
        intra_op_parallelism_threads=share,
        inter_op_parallelism_threads=-1 if share == 1 or runners == 1 else runners,
        use_per_session_threads=True,  # else the first session of the process decides for all
        allow_soft_placement=True,
        device_count={"GPU": 0} if device == "cpu" else {},
    )
    config.gpu_options.allow_growth = True
    options = config.graph_options.rewrite_options
    if optimised and device == "cpu":
        for name in DONE_AHEAD:
            setattr(options, name, OFF)
        options.disable_model_pruning = True
        options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
        options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return config


def _device(wanted: Device) -> Literal["cpu", "gpu"]:
    if wanted == "cpu":
        return "cpu"
    if tf.config.list_physical_devices("GPU"):  # CUDA_VISIBLE_DEVICES is respected
        return "gpu"
    if wanted == "gpu":
        raise ArtefactError("a GPU was asked for, TensorFlow sees none")
    return "cpu"


def _reason(error: Exception) -> str:
    """What TensorFlow says went wrong, without its traces and the names of nodes and files around it."""
    lines = [line.strip() for line in str(error).partition("[[")[0].splitlines()]
    return ([line for line in lines if line] or [type(error).__name__])[-1][:300]
