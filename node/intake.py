"""From what a call brought to rows: judged by their headers, with what they will cost, before anything waits."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from node import tensors
from node.batch_run import image_of, prepared
from node.cache import digest
from node.costs import Costs
from node.engine import Engine
from node.images import Reader
from node.work import Arrays, Row
from repository.manifest import Preprocessing
from wire.errors import BadRequest


class Intake:
    """Makes rows, which is cheap, and decodes them, which is not."""

    def __init__(self, reader: Reader, costs: Costs, most_rows: int, digests: bool = False) -> None:
        """`digests`: rows are told apart by their content, for a cache."""
        self._reader = reader
        self._costs = costs
        self._most_rows = most_rows
        self._digests = digests

    def images(self, engine: Engine, images: Sequence[bytes], others: Arrays | None = None) -> list[Row]:
        """One row per image; `others` are the model's other inputs, with a row for each image."""
        steps = _steps(engine)
        if not images:
            raise BadRequest("there is no image in this request")
        tensors.refuse_rows(len(images), self._most_rows)
        if not engine.batched and len(images) > 1:
            raise BadRequest("this model takes one image at a time")
        beside = self._rows(engine, others) if others else [{}] * len(images)
        if len(beside) != len(images):
            raise BadRequest("the inputs have different numbers of rows")
        return [self._image(engine, steps, image, row) for image, row in zip(images, beside, strict=True)]

    def tensors(self, engine: Engine, arrays: Arrays) -> list[Row]:
        """Rows of numeric tensors, straight to the graph. `arrays` have the model's shapes already."""
        rows = []
        for inputs in self._rows(engine, arrays):
            row = Row(engine.bucket({name: array.shape for name, array in inputs.items()}), inputs=inputs)
            row.run_ms = self._costs.run_ms(row.bucket, 1)
            row.digest = digest(b"", inputs) if self._digests else b""
            rows.append(row)
        return rows

    def decode(self, row: Row) -> Arrays:
        """The inputs of an image's row. On a decoder's thread. Raises Undecodable or TooLarge."""
        return prepared(self._reader, row.job.engine.manifest, image_of(row))

    def _rows(self, engine: Engine, arrays: Arrays) -> list[Arrays]:
        return tensors.split(arrays, self._most_rows) if engine.batched else [arrays]

    def _image(self, engine: Engine, steps: Preprocessing, image: bytes, others: Arrays) -> Row:
        header = self._reader.look(image)
        side = (steps.height, steps.width, 3) if steps.layout == "NHWC" else (3, steps.height, steps.width)
        bucket = engine.bucket({steps.input: side, **{name: array.shape for name, array in others.items()}})
        return Row(
            bucket,
            image,
            header,
            None,
            others,
            decoded_bytes=self._reader.decoded_bytes(image, header, steps),
            decode_ms=self._costs.decode_ms(header.format, header.pixels),
            run_ms=self._costs.run_ms(bucket, 1),
            digest=digest(image, others) if self._digests else b"",
        )


def _steps(engine: Engine) -> Preprocessing:
    steps = engine.manifest.preprocessing
    if steps is None:
        raise BadRequest(f"model {engine.manifest.name} takes tensors, not images")
    return steps


def from_base64(text: str) -> bytes:
    """The bytes of base64 text, data URLs among them. Raises BadRequest."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        raise BadRequest("the base64 text is malformed") from None
