"""The plain endpoint: post an image, get `[{"label", "score"}, …]`, or `{"outputs": …}` from a model without labels.

The image comes raw, as a file of a form, or as base64 in Hugging Face's JSON; content decides which, not the header:
`curl --data-binary` calls everything a form, many clients say nothing.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qs

import msgspec

from node import multipart, ranking
from node.engine import Engine
from node.exchange import Answer, Asked, Incoming, json_answer
from node.images import ACCEPT
from node.intake import Intake, from_base64
from node.tensors import nested
from node.work import Arrays
from wire import json_body
from wire.errors import BadRequest, UnsupportedMedia
from wire.image_header import starts_image

_SNIFFED_BYTES = 16
_MOST_LABELS = 1000
# What the models here answer are probabilities; other functions of them are not offered.
_FUNCTIONS = (None, "softmax")


class _Parameters(msgspec.Struct):
    top_k: int | None = None
    function_to_apply: str | None = None


class _Document(msgspec.Struct):
    inputs: str
    parameters: _Parameters | None = None


_DECODER = msgspec.json.Decoder(_Document)


def read(incoming: Incoming, engine: Engine, intake: Intake) -> Asked:
    """The call as one row. Raises BadRequest, UnsupportedMedia and what looking at the image raises."""
    image, top_k = _image(incoming)
    asked = parse_qs(incoming.query[:1024]).get("top_k")
    top_k = _count(asked[-1]) if asked else top_k
    return Asked(intake.images(engine, [image]), partial(_answer, engine, top_k))


def _image(incoming: Incoming) -> tuple[bytes, int]:
    body = incoming.body
    if not body:
        raise BadRequest("the body is empty: send an image")
    if starts_image(body[:_SNIFFED_BYTES]):
        return body, ranking.DEFAULT_TOP_K
    kind = incoming.content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        image, fields = multipart.image_and_fields(body, incoming.content_type)
        return image, _count(fields["top_k"]) if "top_k" in fields else ranking.DEFAULT_TOP_K
    if kind == "application/json" or body[:64].lstrip().startswith(b"{"):
        return _from_document(json_body.decode(body, _DECODER))
    raise UnsupportedMedia("the body is not an image we read", headers={"Accept": ACCEPT})


def _from_document(document: _Document) -> tuple[bytes, int]:
    parameters = document.parameters or _Parameters()
    if parameters.function_to_apply not in _FUNCTIONS:
        raise BadRequest("function_to_apply: this model answers probabilities only")
    top_k = ranking.DEFAULT_TOP_K if parameters.top_k is None else _count(str(parameters.top_k))
    return from_base64(document.inputs), top_k


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= _MOST_LABELS:
        raise BadRequest(f"top_k is a number from 1 to {_MOST_LABELS}")
    return int(text)


def _answer(engine: Engine, top_k: int, outputs: Arrays) -> Answer:
    manifest = engine.manifest
    if not engine.labels:
        return json_answer(
            {"outputs": {name: nested(array[0] if engine.batched else array) for name, array in outputs.items()}}
        )
    scores = outputs[manifest.label_output]
    best = ranking.best(scores[0] if engine.batched else scores, engine.labels, top_k)
    return json_answer([{"label": label, "score": score} for label, score in best])
