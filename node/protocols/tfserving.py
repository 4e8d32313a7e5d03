"""TensorFlow Serving's REST interface: predict in row and column form, classify, status, metadata.

Bodies are read as JSON whatever their content type: the official example sends none, `curl -d` says form.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from node import ranking, tensors
from node.engine import Engine, State
from node.exchange import JSON, Answer, Asked, Incoming, json_answer
from node.intake import Intake, from_base64
from node.tensors import nested
from node.work import Array, Arrays, Row
from repository.manifest import TensorSpec
from wire import json_body
from wire.errors import BadRequest, TooLarge

SIGNATURE = "serving_default"
# A number in a Python list takes 32 bytes; whoever has more should speak the Open Inference Protocol in binary.
_MOST_NUMBERS = 4_000_000
_STATES = {State.READY: "AVAILABLE", State.LOADING: "LOADING", State.SICK: "LOADING", State.CLOSED: "END"}
_TYPES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF", "string": "DT_STRING"}


class _Predict(msgspec.Struct):
    signature_name: str | None = None
    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET


class _Classify(msgspec.Struct):
    examples: Raw
    signature_name: str | None = None
    context: Raw | UnsetType = UNSET


_PREDICT = msgspec.json.Decoder(_Predict)
_CLASSIFY = msgspec.json.Decoder(_Classify)
_ANY = msgspec.json.Decoder()


def read_predict(incoming: Incoming, engine: Engine, intake: Intake) -> Asked:
    """`:predict`. Raises BadRequest, TooLarge and what looking at images raises."""
    document = json_body.decode(incoming.body, _PREDICT)
    _check_signature(document.signature_name)
    if isinstance(document.instances, UnsetType) == isinstance(document.inputs, UnsetType):
        raise BadRequest("a predict call has either instances or inputs")
    if not isinstance(document.instances, UnsetType):
        instances = _values(document.instances)
        if not isinstance(instances, list) or not instances:
            raise BadRequest("instances is a list of at least one")
        return Asked(_rows(engine, intake, _columns(engine, instances)), partial(_in_rows, engine))
    assert not isinstance(document.inputs, UnsetType)
    return Asked(_rows(engine, intake, _given(engine, _values(document.inputs))), partial(_in_columns, engine))


def read_classify(incoming: Incoming, engine: Engine, intake: Intake) -> Asked:
    """`:classify`: examples are features by name. Raises as `read_predict` does."""
    document = json_body.decode(incoming.body, _CLASSIFY)
    _check_signature(document.signature_name)
    if not engine.labels:
        raise BadRequest(f"model {engine.manifest.name} has no classes")
    examples = _values(document.examples)
    context = {} if isinstance(document.context, UnsetType) else _values(document.context)
    if not isinstance(examples, list) or not examples or not isinstance(context, dict):
        raise BadRequest("examples is a list of at least one, context an object")
    if not all(isinstance(example, dict) for example in examples):
        raise BadRequest("an example is an object: features by name")
    columns = _columns(engine, [{**context, **example} for example in examples])
    return Asked(_rows(engine, intake, columns), partial(_classes, engine))


def _check_signature(name: str | None) -> None:
    if name not in (None, "", SIGNATURE):
        raise BadRequest(f"the only signature is {SIGNATURE}")


def _values(raw: Raw) -> Any:
    text = memoryview(raw)
    if bytes(text).count(b",") > _MOST_NUMBERS:
        raise TooLarge(f"more than {_MOST_NUMBERS} values; send them as binary tensors")
    return json_body.decode(text, _ANY)


def _columns(engine: Engine, instances: Sequence[Any]) -> dict[str, Any]:
    """Row form to column form: an instance is a value, or an object of values by input name."""
    inputs = engine.manifest.inputs
    if not isinstance(instances[0], dict) or set(instances[0]) == {"b64"}:
        if len(inputs) != 1:
            raise BadRequest("the model has several inputs: an instance is an object with a value for each")
        return {inputs[0].name: list(instances)}
    names = set(instances[0])
    if not all(isinstance(instance, dict) and set(instance) == names for instance in instances):
        raise BadRequest("the instances have different inputs")
    return {name: [instance[name] for instance in instances] for name in names}


def _given(engine: Engine, inputs: Any) -> dict[str, Any]:
    """Column form: the value of the only input, or values by input name."""
    if isinstance(inputs, dict) and set(inputs) != {"b64"}:
        return inputs
    if len(engine.manifest.inputs) != 1:
        raise BadRequest("the model has several inputs: inputs is an object with a value for each")
    return {engine.manifest.inputs[0].name: inputs}


def _rows(engine: Engine, intake: Intake, columns: dict[str, Any]) -> list[Row]:
    tensors.all_named(list(columns), engine.manifest)
    steps = engine.manifest.preprocessing
    images = _images(columns[steps.input]) if steps else None
    if steps is None or images is None:
        return intake.tensors(engine, _arrays(engine, columns))
    others = {name: values for name, values in columns.items() if name != steps.input}
    return intake.images(engine, images, _arrays(engine, others))


def _images(values: Any) -> list[bytes] | None:
    """Images out of `{"b64": …}`, one or a list of them; None when the values are something else."""
    items = values if isinstance(values, list) else [values]
    if not any(isinstance(item, dict) for item in items):
        return None
    if not all(isinstance(item, dict) and isinstance(item.get("b64"), str) and len(item) == 1 for item in items):
        raise BadRequest('an image is {"b64": "…"}')
    return [from_base64(item["b64"]) for item in items]


def _arrays(engine: Engine, columns: dict[str, Any]) -> dict[str, Array]:
    specs = {spec.name: spec for spec in engine.manifest.inputs}
    return {name: _array(values, specs[name]) for name, values in columns.items()}


def _array(values: Any, spec: TensorSpec) -> Array:
    if spec.dtype != "string":
        return tensors.from_lists(values, spec)
    texts = _images(values) or [str(value).encode() for value in (values if isinstance(values, list) else [values])]
    return tensors.checked(np.array(texts, dtype=object), spec)


def _in_rows(engine: Engine, outputs: Arrays) -> Answer:
    listed = {name: _listed(name, array) for name, array in outputs.items()}
    if not engine.batched:
        return _document("predictions", [listed if len(listed) > 1 else next(iter(listed.values()))])
    if len(listed) == 1:
        return _document("predictions", next(iter(listed.values())))
    return _document("predictions", [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)])


def _in_columns(_engine: Engine, outputs: Arrays) -> Answer:
    listed = {name: _listed(name, array) for name, array in outputs.items()}
    return _document("outputs", listed if len(listed) > 1 else next(iter(listed.values())))


def _classes(engine: Engine, outputs: Arrays) -> Answer:
    scores = outputs[engine.manifest.label_output]
    rows = scores if engine.batched else scores[np.newaxis]
    # The server writes `results`; its documentation says `result`.
    return _document("results", [ranking.best(row, engine.labels, ranking.DEFAULT_TOP_K) for row in rows])


def _listed(name: str, array: Array) -> Any:
    """Nested lists; strings as text, or as base64 where the output's name ends so."""
    if array.dtype.kind not in "OSU":
        return nested(array)

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(item) for item in value]
        data = value.encode() if isinstance(value, str) else bytes(value)
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(data).decode()}
        return data.decode("utf-8", "replace")

    return text(array.tolist())


def _document(key: str, value: Any) -> Answer:
    """JSON as TensorFlow Serving writes it: what is no number stands there as NaN or Infinity."""
    return Answer([json.dumps({key: value}, separators=(",", ":"), ensure_ascii=False).encode()], JSON)


def status(engines: Sequence[Engine]) -> Answer:
    """GET /v1/models/{name}: every version."""
    return json_answer(
        {
            "model_version_status": [
                {
                    "version": engine.manifest.version,
                    "state": _STATES[engine.state],
                    "status": {
                        "error_code": "OK" if engine.state is State.READY else "UNAVAILABLE",
                        "error_message": engine.why,
                    },
                }
                for engine in engines
            ]
        }
    )


def metadata(engine: Engine) -> Answer:
    """GET …/metadata. An image input is a string, as in TensorFlow's own image models."""
    manifest = engine.manifest
    image = manifest.preprocessing.input if manifest.preprocessing else None
    inputs = {
        spec.name: _described(spec, "DT_STRING", (-1,)) if spec.name == image else _described_as_is(spec)
        for spec in manifest.inputs
    }
    signature = {
        "inputs": inputs,
        "outputs": {spec.name: _described_as_is(spec) for spec in manifest.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return json_answer(
        {
            "model_spec": {"name": manifest.name, "signature_name": "", "version": manifest.version},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        }
    )


def _described_as_is(spec: TensorSpec) -> dict[str, object]:
    shape = [-1 if side is None else side for side in spec.shape]
    return _described(spec, _TYPES.get(spec.dtype, "DT_" + spec.dtype.upper()), shape)


def _described(spec: TensorSpec, dtype: str, shape: Sequence[int]) -> dict[str, object]:
    dims = [{"size": str(side), "name": ""} for side in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": spec.tensor}
