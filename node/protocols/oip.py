"""Open Inference Protocol v2: inference, metadata and configuration.

A model that takes images has one advertised input: the image, as a BYTES tensor under the name of the graph's own
input. Triton's image clients refuse models with more than one, and the raw extension is legal only with one. The
same name with the graph's own datatype takes the numeric tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node import tensors
from node.engine import Engine
from node.exchange import Answer, Asked, Incoming, json_answer
from node.intake import Intake, from_base64
from node.work import Array, Arrays
from repository.manifest import TensorSpec
from wire import oip, oip_answers
from wire.errors import BadRequest
from wire.headers import INFERENCE_HEADER_LENGTH
from wire.oip import InferRequest, RequestedOutput
from wire.oip_answers import TensorMetadata
from wire.oip_tensors import BYTES, Tensor

IMAGE_SHAPES = "[N] or [N, 1]"


def read(incoming: Incoming, engine: Engine, intake: Intake) -> Asked:
    """The call as rows. Raises BadRequest, TooLarge and what looking at images raises."""
    request = oip.decode(incoming.body, incoming.header_length)
    wanted = _wanted(request, engine)
    given = _named(request, engine)
    steps = engine.manifest.preprocessing
    image = given.get(steps.input) if steps else None
    if steps is not None and image is not None and image.datatype == BYTES:
        rest = {name: tensor for name, tensor in given.items() if name != steps.input}
        rows = intake.images(engine, _images(image), _arrays(engine, rest))
    else:
        rows = intake.tensors(engine, _arrays(engine, given))
    return Asked(rows, _Encoder(engine, request.id, wanted), request.timeout_us / 1000)


def _named(request: InferRequest, engine: Engine) -> dict[str, Tensor]:
    """Inputs by name. The only input of a raw request gets the name, and the datatype, of the model's only input."""
    specs = engine.manifest.inputs
    if request.raw and len(specs) != 1:
        raise BadRequest(f"a raw request needs a model with one input; this one has {len(specs)}")
    given = {(specs[0].name if request.raw else tensor.name): tensor for tensor in request.inputs}
    tensors.all_named(list(given), engine.manifest)
    if request.raw and engine.manifest.preprocessing is None and specs[0].dtype != "string":
        given = {specs[0].name: _raw_numbers(request.inputs[0], specs[0])}
    return given


def _raw_numbers(tensor: Tensor, spec: TensorSpec) -> Tensor:
    """The element as the tensor's own bytes; its free side is as long as they make it."""
    assert isinstance(tensor.data, list)
    data = memoryview(tensor.data[0])
    item = tensors.dtype_of(spec).itemsize
    fixed = int(np.prod([side for side in spec.shape if side is not None], dtype=np.int64)) * item
    free = [axis for axis, side in enumerate(spec.shape) if side is None]
    if len(free) > 1 or fixed == 0 or len(data) % fixed or (not free and len(data) != fixed):
        raise BadRequest(f"the body does not fill a tensor of {spec.dtype} {list(spec.shape)}")
    shape = tuple(len(data) // fixed if side is None else side for side in spec.shape)
    return Tensor(spec.name, tensors.OIP_TYPES[spec.dtype], shape, data)


def _images(tensor: Tensor) -> list[bytes]:
    if len(tensor.shape) > 2 or not tensor.shape or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
        raise BadRequest(f"input {tensor.name!r}: images have the shape {IMAGE_SHAPES}, not {list(tensor.shape)}")
    # JSON cannot hold bytes; what clients then send is base64.
    return [from_base64(e) if isinstance(e, str) else bytes(e) for e in tensor.data if not isinstance(e, int | float)]


def _arrays(engine: Engine, given: dict[str, Tensor]) -> dict[str, Array]:
    specs = {spec.name: spec for spec in engine.manifest.inputs}
    return {name: tensors.from_oip(tensor, specs[name]) for name, tensor in given.items()}


def _wanted(request: InferRequest, engine: Engine) -> Sequence[RequestedOutput]:
    manifest = engine.manifest
    for output in request.outputs:
        spec = manifest.output(output.name)
        if spec is None:
            raise BadRequest(f"there is no output {output.name[:64]!r}")
        if output.classes and (spec.dtype in ("string", "bool") or not engine.batched):
            raise BadRequest(f"output {output.name!r} has no classes")
    return request.outputs or [RequestedOutput(spec.name, request.binary) for spec in manifest.outputs]


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Outputs to the answer that was asked for."""

    engine: Engine
    request_id: str
    wanted: Sequence[RequestedOutput]

    def __call__(self, outputs: Arrays) -> Answer:
        manifest = self.engine.manifest
        encoded = oip_answers.encode_response(
            manifest.name,
            manifest.version,
            self.request_id,
            [self._tensor(output, outputs[output.name]) for output in self.wanted],
            binary=frozenset(output.name for output in self.wanted if output.binary),
        )
        answer = Answer(encoded.parts, encoded.content_type)
        if encoded.header_length is not None:
            answer.headers[INFERENCE_HEADER_LENGTH] = str(encoded.header_length)
        return answer

    def _tensor(self, output: RequestedOutput, array: Array) -> Tensor:
        if not output.classes:
            return tensors.to_oip(output.name, array)
        labels = self.engine.labels if output.name == self.engine.manifest.label_output else ()
        rows = array.reshape(len(array), -1).astype(np.float64).tolist()
        return oip_answers.classification(output.name, rows, output.classes, labels)


def metadata(engine: Engine, versions: Sequence[str]) -> Answer:
    """GET /v2/models/{name}."""
    return Answer([oip_answers.model_metadata(engine.manifest.name, versions, _inputs(engine), _outputs(engine))])


def config(engine: Engine) -> Answer:
    """GET /v2/models/{name}/config."""
    most = max(engine.buckets, default=0)
    return Answer([oip_answers.model_config(engine.manifest.name, most, _inputs(engine), _outputs(engine))])


def ready(engine: Engine, is_ready: bool) -> Answer:
    """GET /v2/models/{name}/ready."""
    return json_answer({"name": engine.manifest.name, "ready": is_ready})


def _inputs(engine: Engine) -> list[TensorMetadata]:
    steps = engine.manifest.preprocessing
    return [
        TensorMetadata(spec.name, BYTES, (-1 if engine.batched else 1,))
        if steps is not None and spec.name == steps.input
        else _described(spec)
        for spec in engine.manifest.inputs
    ]


def _outputs(engine: Engine) -> list[TensorMetadata]:
    return [_described(spec) for spec in engine.manifest.outputs]


def _described(spec: TensorSpec) -> TensorMetadata:
    shape = tuple(-1 if side is None else side for side in spec.shape)
    return TensorMetadata(spec.name, tensors.OIP_TYPES[spec.dtype], shape)
