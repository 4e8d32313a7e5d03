"""Frozen models for tests: the packaged one, shared by all, and toys made on the spot."""

import weakref
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from node.session import Session
from repository import graph, manifest
from repository.packaged import ensure
from tests.fakes.session import Sessions

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


def packaged() -> Path:
    """EfficientNet-Lite0, made on first use and kept under var/."""
    return ensure(ROOT / "var" / "models", lambda _: None)


class WarmSessions(Sessions):
    """Opens sessions of TensorFlow, with two threads and two runners; remembers them only as long as others do."""

    def __init__(self) -> None:
        super().__init__()
        self.warm: list[weakref.ref[Session]] = []

    def __call__(self, place: Path, *, gently: bool = False) -> Session:
        session = Session.load(place, 2, 2, device="cpu", gently=gently)
        self.warm.append(weakref.ref(session))
        return session


def toy(
    directory: Path,
    function: Callable,
    *inputs: tf.TensorSpec,
    buckets: tuple[int, ...] = (1, 2, 4),
    version: str = "1",
) -> Path:
    """Freeze a Python function of named tensors into `directory`; its answers are called out_0, out_1, …"""

    def named(*arguments: tf.Tensor) -> list[tf.Tensor]:
        answers = function(*arguments)
        answers = answers if isinstance(answers, tuple) else (answers,)
        return [tf.identity(answer, name=f"out_{index}") for index, answer in enumerate(answers)]

    traced = tf.function(named, autograph=False).get_concrete_function(*inputs)
    outputs = {f"out_{index}": f"out_{index}:0" for index in range(len(traced.outputs))}
    frozen = graph.from_function(traced, outputs)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "graph.pb").write_bytes(graph.serialise(frozen))
    manifest.write(
        directory,
        manifest.Manifest(
            name="toy",
            version=version,
            inputs=frozen.inputs,
            outputs=frozen.outputs,
            tensorflow=tf.__version__,
            created="2026-11-24T00:00:00Z",
            source="made by a test",
            licence="Apache-2.0",
            batch_buckets=buckets,
        ),
    )
    return directory
