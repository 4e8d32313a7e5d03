"""One photo as each protocol sends it, and the best label of each protocol's answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

MODEL = "efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class Call:
    """A request ready to be sent."""

    path: str
    body: bytes
    headers: dict[str, str]


def plain(image: bytes, model: str = "") -> Call:
    """The body is the image; without a model the target's first one is meant."""
    return Call(f"/v1/predict/{model}" if model else "/v1/predict", image, {"Content-Type": "image/jpeg"})


def oip(image: bytes, model: str = "") -> Call:
    """Open Inference Protocol: a BYTES tensor in the binary extension, best class asked for."""
    head = {
        "inputs": [
            {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(image) + 4}}
        ],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}],
    }
    text = json.dumps(head).encode()
    return Call(
        f"/v2/models/{model or MODEL}/infer",
        text + len(image).to_bytes(4, "little") + image,
        {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"},
    )


def tensorflow_serving(image: bytes, model: str = "") -> Call:
    """TensorFlow Serving's classify call: base64 in JSON."""
    body = {"examples": [{"image": {"b64": base64.b64encode(image).decode()}}]}
    return Call(
        f"/v1/models/{model or MODEL}:classify", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )


def plain_label(answer: bytes) -> str:
    """Best label of a plain answer."""
    return str(json.loads(answer)[0]["label"])


def oip_label(answer: bytes) -> str:
    """Best label of a classification: `value:index:label`."""
    return str(json.loads(answer)["outputs"][0]["data"][0]).split(":", 2)[2]


def tensorflow_serving_label(answer: bytes) -> str:
    """Best label of a classify answer."""
    return str(json.loads(answer)["results"][0][0][0])


BestLabel = Callable[[bytes], str]
PROTOCOLS: dict[str, tuple[Callable[[bytes, str], Call], BestLabel]] = {
    "plain": (plain, plain_label),
    "oip": (oip, oip_label),
    "tfs": (tensorflow_serving, tensorflow_serving_label),
}
