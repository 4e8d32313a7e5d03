"""Answers of the Open Inference Protocol: inference (JSON, binary, classification), metadata, health, configuration."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import inf, isnan

import msgspec

from wire.oip_tensors import BYTES, Tensor, numbers, packed, strings

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration")
# The word that Triton, KServe and their clients know for our kind of model.
PLATFORM = "tensorflow_savedmodel"

_encode = msgspec.json.encode


class Encoded(msgspec.Struct, frozen=True):
    """A body in parts, to be sent one after the other; `header_length` goes into its header unless it is None."""

    parts: list[bytes | memoryview]
    content_type: str
    header_length: int | None = None


def encode_response(
    model: str, version: str, request_id: str, outputs: Sequence[Tensor], *, binary: frozenset[str] = frozenset()
) -> Encoded:
    """An inference answer; outputs named in `binary` follow the JSON as bytes. Raises BadRequest for BF16 in JSON."""
    described: list[dict[str, object]] = []
    tail: list[bytes | memoryview] = []
    for output in outputs:
        entry: dict[str, object] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if output.name in binary:
            data = packed(output)
            tail.append(data)
            entry["parameters"] = {"binary_data_size": memoryview(data).nbytes}
        else:
            entry["data"] = strings(output) if output.datatype == BYTES else numbers(output)
        described.append(entry)
    document: dict[str, object] = {"model_name": model, "model_version": version}
    if request_id:
        document["id"] = request_id
    head = _encode({**document, "outputs": described})
    if not tail:
        return Encoded([head], JSON_TYPE)
    return Encoded([head, *tail], BINARY_TYPE, len(head))


def classification(name: str, rows: Sequence[Sequence[float]], classes: int, labels: Sequence[str] = ()) -> Tensor:
    """The best `classes` of each row as a BYTES tensor [rows, classes] of `value:index[:label]`, best first."""
    width = min(classes, *(len(row) for row in rows)) if rows else classes
    best = [element for row in rows for element in _best(row, width, labels)]
    return Tensor(name, BYTES, (len(rows), width), best)


def _best(row: Sequence[float], count: int, labels: Sequence[str]) -> list[bytes]:
    # No number compares with NaN: it must not come between those that do.
    worth = [-inf if isnan(value) else value for value in row] if isnan(sum(row)) else row
    indices = heapq.nlargest(count, range(len(row)), key=worth.__getitem__)
    named = (f"{row[i]:f}:{i}:{labels[i]}" if i < len(labels) else f"{row[i]:f}:{i}" for i in indices)
    return [text.encode() for text in named]


class TensorMetadata(msgspec.Struct, frozen=True):
    """A model's input or output; -1 is a side of any length, the batch first."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def server_metadata(name: str, version: str) -> bytes:
    """GET /v2."""
    return _encode({"name": name, "version": version, "extensions": EXTENSIONS})


def server_live(live: bool) -> bytes:
    """GET /v2/health/live."""
    return _encode({"live": live})


def server_ready(ready: bool) -> bytes:
    """GET /v2/health/ready."""
    return _encode({"ready": ready})


def model_ready(name: str, ready: bool) -> bytes:
    """GET /v2/models/{name}/ready."""
    return _encode({"name": name, "ready": ready})


def model_metadata(
    name: str, versions: Sequence[str], inputs: Sequence[TensorMetadata], outputs: Sequence[TensorMetadata]
) -> bytes:
    """GET /v2/models/{name}."""
    return _encode({"name": name, "versions": versions, "platform": PLATFORM, "inputs": inputs, "outputs": outputs})


def model_config(
    name: str, max_batch_size: int, inputs: Sequence[TensorMetadata], outputs: Sequence[TensorMetadata]
) -> bytes:
    """GET /v2/models/{name}/config, as Triton's image clients read it: dims without the batch."""
    return _encode(
        {
            "name": name,
            "platform": PLATFORM,
            "max_batch_size": max_batch_size,
            "input": [_configured(tensor, max_batch_size) for tensor in inputs],
            "output": [_configured(tensor, max_batch_size) for tensor in outputs],
        }
    )


def _configured(tensor: TensorMetadata, max_batch_size: int) -> dict[str, object]:
    datatype = "STRING" if tensor.datatype == BYTES else tensor.datatype
    dims = tensor.shape[1:] if max_batch_size else tensor.shape
    return {"name": tensor.name, "data_type": f"TYPE_{datatype}", "dims": dims or (1,)}
