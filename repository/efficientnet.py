"""EfficientNet-Lite0 as TensorFlow operations, batch normalisation folded into the convolutions.

The network: Tan and Le, "EfficientNet" (arXiv 1905.11946), in the Lite form of the TensorFlow model garden: no
squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width. Weights keep the names and the axes of the
PyTorch package they come from; convolutions pad as TensorFlow does ("SAME"), as the weights were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.float32]]
Tensor = Any
SIDE = 224
EPSILON = 1e-3  # of the batch normalisation, as trained


class Stage(NamedTuple):
    """Blocks of one shape; the stride is the first block's."""

    blocks: int
    stride: int
    expansion: int


STAGES = (
    Stage(1, 1, 1),
    Stage(2, 2, 6),
    Stage(2, 2, 6),
    Stage(3, 2, 6),
    Stage(3, 1, 6),
    Stage(4, 2, 6),
    Stage(1, 1, 6),
)


def lite0(image: Tensor, weights: Weights) -> Tensor:
    """Class probabilities (batch, 1000) of normalised RGB images (batch, 224, 224, 3)."""
    x = tf.nn.relu6(_convolve(image, weights, "_conv_stem", "_bn0", stride=2))
    index = 0
    for stage in STAGES:
        for place in range(stage.blocks):
            x = _block(x, weights, f"_blocks.{index}", stage.stride if place == 0 else 1, stage.expansion)
            index += 1
    x = tf.nn.relu6(_convolve(x, weights, "_conv_head", "_bn1"))
    pooled = tf.reduce_mean(x, axis=(1, 2))
    return tf.nn.softmax(tf.matmul(pooled, weights["_fc.weight"].T) + weights["_fc.bias"])


def _block(x: Tensor, weights: Weights, name: str, stride: int, expansion: int) -> Tensor:
    """Inverted residual: widen, filter each channel alone, narrow; added to its input where the shape is kept."""
    y = x
    if expansion > 1:
        y = tf.nn.relu6(_convolve(y, weights, f"{name}._expand_conv", f"{name}._bn0"))
    y = tf.nn.relu6(_filter(y, weights, f"{name}._depthwise_conv", f"{name}._bn1", stride))
    y = _convolve(y, weights, f"{name}._project_conv", f"{name}._bn2")
    return x + y if stride == 1 and x.shape[-1] == y.shape[-1] else y


def _convolve(x: Tensor, weights: Weights, name: str, norm: str, stride: int = 1) -> Tensor:
    kernel, bias = _folded(weights, name, norm)
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, "SAME"), bias)


def _filter(x: Tensor, weights: Weights, name: str, norm: str, stride: int) -> Tensor:
    kernel, bias = _folded(weights, name, norm)
    strides = (1, stride, stride, 1)
    return tf.nn.bias_add(tf.nn.depthwise_conv2d(x, kernel.transpose(2, 3, 0, 1), strides, "SAME"), bias)


def _folded(weights: Weights, name: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel (out, in, height, width) and bias that do what the convolution and its normalisation did."""
    scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return weights[f"{name}.weight"] * scale[:, None, None, None], bias
