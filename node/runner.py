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
from tensorflow.core.protobuf import config_pb2

from repository.manifest import ArtefactError, Manifest, TensorSpec
from repository.running import session_config
from wire.errors import ModelFailed

Array = NDArray[Any]
Device = Literal["auto", "cpu", "gpu"]
v1 = tf.compat.v1

# TensorFlow's own objects live as long as the process: looking for garbage among them, as Python does
# now and then, would hold the event loop for 0.2 s each time.
gc.collect()
gc.freeze()


class Runner:
    """One TensorFlow session on one graph. `run` may be called from several threads at once."""

    def __init__(self, graph: bytes, manifest: Manifest, threads: int, runners: int, device: Device) -> None:
        self.device = _device(device)
        config = session_config(
            threads, runners, self.device, optimised=manifest.optimised, precision=manifest.precision
        )
        self._session = v1.Session(graph=_imported(graph), config=config)
        self._close = weakref.finalize(self, self._session.close)  # at exit too: TensorFlow's own clean-up complains
        self._manifest = manifest
        self._in_caller = config.inter_op_parallelism_threads < 0

    def prepare(self) -> None:
        """Place and optimise the graph, before the first run; raises `ArtefactError`.

        Most of a load's time, and it holds the interpreter for moments only. Not the public `make_callable`: given
        feeds, that is `Session.run`, 0.1 ms slower at every call.
        """
        # The session's own option for this is not heard by sessions that have threads of their own: every run then
        # went to another thread and back, which on a busy machine costs a tenth of the time.
        options = config_pb2.RunOptions(inter_op_thread_pool=-1 if self._in_caller else 0)
        try:
            self._call = self._session._make_callable_from_options(
                config_pb2.CallableOptions(
                    feed=[spec.tensor for spec in self._manifest.inputs],
                    fetch=[spec.tensor for spec in self._manifest.outputs],
                    run_options=options,
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
        self._call, self._session = _closed, None  # TensorFlow frees nothing of a session that somebody could still ask
        give_memory_back()

    @staticmethod
    def example(spec: TensorSpec, shape: Sequence[int]) -> Array:
        """A harmless value: ones, or empty strings."""
        if spec.dtype == "string":
            return np.full(shape, b"", dtype=object)
        return np.ones(shape, tf.as_dtype(spec.dtype).as_numpy_dtype)


def give_memory_back() -> None:
    """Return to the system what was left free: with the packaged model 60 MB by a load, 100 by an unloaded version.

    A graph lies in cycles, and the collector would come by itself after many of them only. glibc keeps an arena for
    each of its threads: loads end in other ones, so that they grew by a version at each switch. Takes 10 to 15 ms.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _closed(*_arrays: Array) -> list[Array]:
    raise ModelFailed("the session is closed")


def _imported(data: bytes) -> Any:
    try:
        definition = v1.GraphDef.FromString(data)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
    except (DecodeError, ValueError, TypeError, tf.errors.OpError) as error:
        raise ArtefactError(f"TensorFlow cannot read the graph: {_reason(error)}") from error
    return graph


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
