"""Tensors from outside as numpy arrays that the model takes, and the model's arrays on their way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from node.work import Array, Arrays
from repository.manifest import Manifest, TensorSpec
from wire.errors import BadRequest, TooLarge
from wire.oip_tensors import BYTES, Tensor

OIP_TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": BYTES,
}


def dtype_of(spec: TensorSpec) -> np.dtype[np.generic]:
    """The numpy type of an input or output."""
    if spec.dtype == "bfloat16":
        bfloat16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(object if spec.dtype == "string" else spec.dtype)


def from_oip(tensor: Tensor, spec: TensorSpec) -> Array:
    """A tensor of the Open Inference Protocol as input `spec`. Raises BadRequest."""
    wanted = OIP_TYPES[spec.dtype]
    if tensor.datatype != wanted:
        raise BadRequest(f"input {spec.name!r} is {wanted}, not {tensor.datatype}")
    dtype = dtype_of(spec)
    if isinstance(tensor.data, (bytes, memoryview)):
        array: Array = np.frombuffer(tensor.data, dtype.newbyteorder("<") if dtype.isnative else dtype)
    elif wanted == BYTES:
        array = np.array([e.encode() if isinstance(e, str) else bytes(e) for e in tensor.data], dtype=object)
    else:
        array = np.array(tensor.data, dtype=dtype)
    return checked(array.reshape(tensor.shape), spec)


def from_lists(values: object, spec: TensorSpec) -> Array:
    """Nested lists of numbers, as JSON has them, as input `spec`. Raises BadRequest."""
    dtype = dtype_of(spec)
    try:
        found = np.array(values)
    except ValueError:
        raise BadRequest(f"input {spec.name!r}: its rows are not of one shape") from None
    if found.dtype.kind not in "biuf" or (found.dtype.kind == "f" and dtype.kind in "biu"):
        raise BadRequest(f"input {spec.name!r} takes {spec.dtype}")
    with np.errstate(over="ignore"):
        array: Array = found.astype(dtype)
    if dtype.kind in "biu" and not np.array_equal(array, found):
        raise BadRequest(f"input {spec.name!r}: a number is beyond the range of {spec.dtype}")
    return checked(array, spec)


def checked(array: Array, spec: TensorSpec) -> Array:
    """`array` when its shape fits and it holds no NaN, which would silently make every answer NaN."""
    if array.ndim != len(spec.shape) or any(
        want is not None and have != want for have, want in zip(array.shape, spec.shape, strict=True)
    ):
        wanted = [-1 if side is None else side for side in spec.shape]
        raise BadRequest(f"input {spec.name!r} has the shape {wanted}, not {list(array.shape)}")
    if not array.size:
        raise BadRequest(f"input {spec.name!r} is empty")
    if array.dtype.kind in "fV" and np.isnan(array).any():
        raise BadRequest(f"input {spec.name!r} holds NaN")
    return array


def all_named(names: Sequence[str], manifest: Manifest) -> None:
    """Raises BadRequest unless `names` are exactly the model's inputs."""
    wanted = {spec.name for spec in manifest.inputs}
    for name in names:
        if name not in wanted:
            raise BadRequest(f"there is no input {name[:64]!r}; the model takes {', '.join(sorted(wanted))}")
    for name in sorted(wanted - set(names)):
        raise BadRequest(f"input {name!r} is missing")


def split(arrays: Mapping[str, Array], most_rows: int) -> list[Arrays]:
    """Rows along the first axis, which all arrays share. Raises BadRequest or TooLarge."""
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise BadRequest("the inputs have different numbers of rows")
    rows = counts.pop() if counts else 0
    refuse_rows(rows, most_rows)
    return [{name: array[place] for name, array in arrays.items()} for place in range(rows)]


def refuse_rows(rows: int, most_rows: int) -> None:
    """Raises TooLarge when a request has more rows than a node takes at once."""
    if rows > most_rows:
        raise TooLarge(f"{rows} rows in one request; this node takes {most_rows}", limit_rows=most_rows)


def join(rows: Sequence[Arrays], batched: bool) -> Arrays:
    """The outputs of all rows, along a first axis when the model has one."""
    if not batched:
        return rows[0]
    if len(rows) == 1:
        return {name: array[np.newaxis] for name, array in rows[0].items()}
    try:
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    except ValueError:
        raise BadRequest("the rows have outputs of different sizes: send them one by one") from None


def to_oip(name: str, array: Array) -> Tensor:
    """An output as a tensor of the Open Inference Protocol."""
    if array.dtype.kind in "OSU":
        elements = [e.encode() if isinstance(e, str) else bytes(e) for e in array.ravel().tolist()]
        return Tensor(name, BYTES, array.shape, elements)
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return Tensor(name, OIP_TYPES[array.dtype.name], array.shape, little.reshape(-1).view(np.uint8).data)


def nested(array: Array) -> object:
    """Nested lists of numbers for JSON, each as exact as the array has it."""
    return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()
