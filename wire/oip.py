"""Requests of the Open Inference Protocol: JSON, JSON with binary tensors behind it, or the tensor alone.

Specification: KServe `inference_rest.md`; extensions: Triton's binary tensor data and classification.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from wire import json_body
from wire.errors import BadRequest
from wire.oip_tensors import BYTES, MAX_TENSORS, Tensor, from_binary, from_json

LONGEST_NAME = 256


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output the client asks for: as bytes or as JSON; `classes` > 0: its best classes instead of its numbers."""

    name: str
    binary: bool = False
    classes: int = 0


class InferRequest(msgspec.Struct, frozen=True):
    """A decoded request. No `outputs` means all of them, as `binary` says."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    outputs: tuple[RequestedOutput, ...] = ()
    binary: bool = False
    timeout_us: int = 0  # 0: none named
    priority: int = 0  # 0: none named; 1 is the highest
    # The body was the tensor alone: one input without a name, as one element of BYTES with the shape [1]. Whoever
    # knows the model gives it its name, and, when that input is numeric, takes the element as the tensor's bytes.
    raw: bool = False


class _InputParameters(msgspec.Struct):
    binary_data_size: int | None = None
    shared_memory_region: str | None = None


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: _InputParameters | None = None
    data: msgspec.Raw | UnsetType = UNSET


class _OutputParameters(msgspec.Struct):
    binary_data: bool | None = None
    classification: int = 0
    shared_memory_region: str | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: _OutputParameters | None = None


class _Parameters(msgspec.Struct):
    timeout: int = 0
    priority: int = 0
    binary_data_output: bool = False


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] | None = None
    parameters: _Parameters | None = None


# What every JSON reader holds exactly; 285 years in microseconds.
LARGEST = (1 << 53) - 1
_DECODER = msgspec.json.Decoder(_Request)


def decode(body: bytes | memoryview, header_length: int | None) -> InferRequest:
    """The request in `body`; `header_length` is the header Inference-Header-Content-Length, None without it.

    Tensors' data are views of `body`. Raises BadRequest or TooLarge.
    """
    if header_length == 0:
        image = Tensor("", BYTES, (1,), [memoryview(body)])
        return InferRequest((image,), binary=True, raw=True)
    head, tail = _parted(memoryview(body), header_length)
    request = json_body.decode(head, _DECODER)
    if not 0 < len(request.inputs) <= MAX_TENSORS or len(request.outputs or ()) > MAX_TENSORS:
        raise BadRequest(f"a request has 1 to {MAX_TENSORS} inputs and at most {MAX_TENSORS} outputs")
    parameters = request.parameters or _Parameters()
    if not (0 <= parameters.timeout <= LARGEST and 0 <= parameters.priority <= LARGEST):
        raise BadRequest(f"timeout and priority are whole numbers from 0 to {LARGEST}")
    return InferRequest(
        inputs=_inputs(request.inputs, tail),
        id=request.id,
        outputs=tuple(_output(output, parameters.binary_data_output) for output in request.outputs or ()),
        binary=parameters.binary_data_output,
        timeout_us=parameters.timeout,
        priority=parameters.priority,
    )


def _parted(body: memoryview, header_length: int | None) -> tuple[memoryview, memoryview]:
    if header_length is None:
        return body, body[len(body) :]
    if not 0 < header_length <= len(body):
        raise BadRequest(f"Inference-Header-Content-Length is {header_length}, but the body is {len(body)} bytes")
    return body[:header_length], body[header_length:]


def _inputs(described: list[_Input], tail: memoryview) -> tuple[Tensor, ...]:
    tensors, at = [], 0
    for described_input in described:
        size = _binary_size(described_input, len(tail) - at)
        tensors.append(_tensor(described_input, None if size is None else tail[at : at + size]))
        at += size or 0
    if at != len(tail):
        raise BadRequest(f"{len(tail) - at} bytes follow the last binary tensor")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadRequest("two inputs have the same name")
    return tuple(tensors)


def _binary_size(described: _Input, left: int) -> int | None:
    """Bytes of the body's tail that are this input's; None when its data are in the JSON."""
    if len(described.name) > LONGEST_NAME:
        raise BadRequest(f"a name has at most {LONGEST_NAME} characters")
    parameters = described.parameters or _InputParameters()
    if parameters.shared_memory_region is not None:
        raise BadRequest(f"input {described.name!r}: shared memory is not offered")
    size = parameters.binary_data_size
    if size is not None and not 0 <= size <= left:
        raise BadRequest(f"input {described.name!r}: its binary data are {size} bytes, but {left} are left")
    return size


def _tensor(described: _Input, binary: memoryview | None) -> Tensor:
    if binary is not None and isinstance(described.data, UnsetType):
        return from_binary(described.name, described.shape, described.datatype, binary)
    if binary is None and not isinstance(described.data, UnsetType):
        return from_json(described.name, described.shape, described.datatype, memoryview(described.data))
    raise BadRequest(f"input {described.name!r}: it needs either data or binary_data_size")


def _output(described: _Output, binary_by_default: bool) -> RequestedOutput:
    if len(described.name) > LONGEST_NAME:
        raise BadRequest(f"a name has at most {LONGEST_NAME} characters")
    parameters = described.parameters or _OutputParameters()
    if parameters.shared_memory_region is not None:
        raise BadRequest(f"output {described.name!r}: shared memory is not offered")
    if parameters.classification < 0:
        raise BadRequest(f"output {described.name!r}: classification is a number of classes")
    binary = binary_by_default if parameters.binary_data is None else parameters.binary_data
    return RequestedOutput(described.name, binary, parameters.classification)
