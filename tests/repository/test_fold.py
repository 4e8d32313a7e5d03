"""Folding a normalisation into its convolution changes no answer, and is left alone where it would."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from repository.fold import fold_norms
from repository.graph import Frozen, cut
from repository.measure import running

v1 = tf.compat.v1
CHANCE = np.random.default_rng(5)
KERNEL = CHANCE.normal(size=(3, 3, 2, 4)).astype(np.float32)
X = CHANCE.normal(size=(2, 6, 6, 2)).astype(np.float32)


def norm(x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
    channels = x.shape[-1]
    scale, offset, mean, variance = (CHANCE.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(4))
    statistics = {} if training else {"mean": mean, "variance": variance}
    return v1.nn.fused_batch_norm(x, scale, offset, epsilon=1e-3, is_training=training, **statistics)


def graph(build: Callable[[tf.Tensor], tf.Tensor | list[tf.Tensor]], outputs: int = 1) -> Frozen:
    with tf.Graph().as_default() as built:
        answers = build(v1.placeholder(tf.float32, (None, 6, 6, 2), name="x"))
        for index, answer in enumerate(answers if isinstance(answers, list) else [answers]):
            tf.identity(answer, name=f"y{index}")
    return cut(built.as_graph_def(), {"x": "x:0"}, {f"y{i}": f"y{i}:0" for i in range(outputs)})


def run(frozen: Frozen) -> list[np.ndarray]:
    fetches = [spec.tensor for spec in frozen.outputs]
    with running(frozen.graph, ["x:0"], fetches, optimised=False) as call:
        return list(call([X]))


def norms(frozen: Frozen) -> int:
    return sum(node.op == "FusedBatchNormV3" for node in frozen.graph.node)


@pytest.mark.parametrize(
    "convolve",
    [
        lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME"),
        lambda x: tf.nn.depthwise_conv2d(x, KERNEL, (1, 1, 1, 1), "SAME"),
        lambda x: tf.nn.conv2d(x, KERNEL, 2, "VALID"),
    ],
)
def test_folded_graph_answers_alike(convolve: Callable[[tf.Tensor], tf.Tensor]) -> None:
    before = graph(lambda x: norm(convolve(x))[0])
    after = fold_norms(before)

    assert (norms(before), norms(after)) == (1, 0)
    np.testing.assert_allclose(run(after)[0], run(before)[0], atol=1e-4)


def shared(x: tf.Tensor) -> list[tf.Tensor]:
    y = tf.nn.conv2d(x, KERNEL, 1, "SAME")
    return [norm(y)[0], y]


def asked_for_statistics(x: tf.Tensor) -> list[tf.Tensor]:
    return list(norm(tf.nn.conv2d(x, KERNEL, 1, "SAME"))[:2])


def computed_kernel(x: tf.Tensor) -> list[tf.Tensor]:
    return [norm(tf.nn.conv2d(x, KERNEL * tf.reduce_mean(x), 1, "SAME"))[0], x]


def in_training(x: tf.Tensor) -> list[tf.Tensor]:
    return [norm(tf.nn.conv2d(x, KERNEL, 1, "SAME"), training=True)[0], x]


def no_convolution(x: tf.Tensor) -> list[tf.Tensor]:
    return [norm(tf.nn.relu(x))[0], x]


@pytest.mark.parametrize("build", [shared, asked_for_statistics, computed_kernel, in_training, no_convolution])
def test_norm_that_cannot_be_folded_is_left_alone(build: Callable[[tf.Tensor], list[tf.Tensor]]) -> None:
    before = graph(build, outputs=2)
    after = fold_norms(before)

    assert norms(after) == 1
    for one, other in zip(run(after), run(before), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
