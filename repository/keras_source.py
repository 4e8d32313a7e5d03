"""A Keras 3 file (`.keras`, or the older `.h5`) as a source. Needs TensorFlow and Keras."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras  # type: ignore[import-untyped]
import tensorflow as tf

from repository.graph import from_function
from repository.manifest import ArtefactError
from repository.measure import running
from repository.recipe import Wanted
from repository.source import Array, Source, chosen, first_line


@contextmanager
def open_keras(path: Path, wanted: Wanted) -> Iterator[Source]:
    """Load and trace a Keras model; a Lambda layer is code and loads only with `trust`."""
    yield from_model(_loaded(path, wanted.trust), wanted)


def from_model(model: Any, wanted: Wanted) -> Source:
    """Trace a Keras model that is at hand, for inference; its layers name inputs and outputs."""
    if not getattr(model, "inputs", None):
        raise ArtefactError(f"{model.name} has no fixed inputs: save it as a SavedModel with a signature")
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]

    def infer(*inputs: Any) -> dict[str, Any]:
        return _named(model, model(inputs[0] if len(inputs) == 1 else list(inputs), training=False))

    function = tf.function(infer, autograph=False).get_concrete_function(*specs)
    answers = sorted(function.structured_outputs)  # as TensorFlow flattens a dictionary
    tensors = {name: tensor.name for name, tensor in zip(answers, function.outputs, strict=True)}
    frozen = from_function(function, tensors)
    inputs = {spec.name: tensor.tensor for spec, tensor in zip(specs, frozen.inputs, strict=True)}
    outputs = {spec.name: spec.tensor for spec in frozen.outputs}

    def run(feeds: Mapping[str, Array], fetches: Sequence[str]) -> Sequence[Array]:
        if set(feeds) == set(inputs.values()) and set(fetches) <= set(outputs.values()):
            found = function(*(tf.constant(feeds[tensor]) for tensor in inputs.values()))
            by_tensor = {outputs[name]: found[name] for name in outputs}
            return [by_tensor[tensor].numpy() for tensor in fetches]
        # Nodes inside the model have no name in Keras: the graph as traced is as near as one comes.
        with running(frozen.graph, list(feeds), fetches, optimised=False) as run_graph:
            return run_graph(list(feeds.values()))

    return Source("Keras model", frozen.graph, *chosen(frozen.graph, inputs, outputs, wanted), run)


def lambdas(path: Path) -> list[str]:
    """Names of the layers that hold Python code."""
    return [layer["config"].get("name", "?") for layer in _layers(_config(path)) if layer["class_name"] == "Lambda"]


def _loaded(path: Path, trust: bool) -> Any:
    if keras.backend.backend() != "tensorflow":
        raise ArtefactError("Keras runs on another backend: unset KERAS_BACKEND")
    code = lambdas(path)
    if code and not trust:
        raise ArtefactError(f"{path} holds Python code in Lambda layers: {', '.join(code)} (--trust if you wrote it)")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise ArtefactError(f"Keras cannot load {path}: {first_line(error)}") from error


def _config(path: Path) -> Any:
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{path} is no Keras model: {error}") from error


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Every layer of a configuration, however deep."""
    if isinstance(config, dict):
        if "class_name" in config and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from _layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers(value)


def _named(model: Any, result: Any) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return dict(result)
    several = list(result) if isinstance(result, list | tuple) else [result]
    names = list(getattr(model, "output_names", ())) or [model.layers[-1].name]
    return dict(zip(names, several, strict=True))
