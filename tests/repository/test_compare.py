"""What counts as the same answer when a frozen graph is compared with its source."""

import numpy as np
import pytest

from repository.compare import compare, difference, examples, rows_are_independent
from repository.manifest import ArtefactError, TensorSpec

NAN, INF = float("nan"), float("inf")
X = [np.float32([[1, 2], [3, 4], [5, 6]])]


def times(factor: float):
    return lambda arrays: [arrays[0] * np.float32(factor)]


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), 0),
        (np.float32([0.1]), np.float32([0.2]), 0.1),
        (np.float32([100, 0]), np.float32([101, 0]), 0.01),
        (np.float32([NAN, INF]), np.float32([NAN, INF]), 0),
        (np.float32([NAN]), np.float32([1]), INF),
        (np.float32([1]), np.float32([NAN]), INF),
        (np.float32([1]), np.float32([[1]]), INF),
        (np.float32([1]), np.float64([1]), INF),
        (np.array([b"a"], object), np.array([b"a"], object), 0),
        (np.array([b"a"], object), np.array([b"b"], object), INF),
        (np.uint8([250]), np.uint8([251]), 0.004),
        (np.array([True]), np.array([False]), 1),
        (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), 0),
    ],
)
def test_difference_is_relative_above_one_and_strict_about_kind(
    truth: np.ndarray, answer: np.ndarray, expected: float
) -> None:
    assert difference(truth, answer) == pytest.approx(expected, rel=1e-5)


def test_answers_within_the_tolerance_pass_and_say_how_near() -> None:
    largest, same_top = compare(times(1), times(1.00001), [X], tolerance=1e-4, scores=0)

    assert 0 < largest < 1e-4
    assert same_top == "3 of 3"


def test_answers_beyond_the_tolerance_are_refused() -> None:
    with pytest.raises(ArtefactError, match=r"differs from its source by 0\.1, allowed is 0\.0001"):
        compare(times(1), times(1.1), [X], tolerance=1e-4, scores=None)


def test_other_best_label_is_refused_though_every_value_is_near() -> None:
    truth, answer = [np.float32([[0.50, 0.44]])], [np.float32([[0.465, 0.475]])]

    with pytest.raises(ArtefactError, match="best label differs from the source's in 1 of 1 rows"):
        compare(lambda _: truth, lambda _: answer, [X], tolerance=0.036, scores=0)


def test_source_that_disagrees_with_itself_is_refused() -> None:
    chance = np.random.default_rng(0)

    with pytest.raises(ArtefactError, match="differently each time"):
        compare(lambda _: [chance.normal(size=2)], times(1), [X], tolerance=1e-4, scores=None)


def test_rows_are_independent_only_when_batch_and_single_agree() -> None:
    assert rows_are_independent(times(3), X, 1e-6)
    assert not rows_are_independent(lambda a: [a[0] - a[0].mean(axis=0)], X, 1e-6)
    assert not rows_are_independent(lambda a: [a[0].reshape(-1)], X, 1e-6)
    assert not rows_are_independent(lambda a: [a[0].sum(keepdims=True)], X, 1e-6)


def test_examples_fit_every_kind_of_input() -> None:
    specs = [
        TensorSpec("f", "float32", (None, 2), "f:0"),
        TensorSpec("i", "int64", (None,), "i:0"),
        TensorSpec("b", "bool", (None, None), "b:0"),
        TensorSpec("s", "string", (None,), "s:0"),
        TensorSpec("u", "uint8", (None, 3), "u:0"),
    ]
    (batch,) = examples(specs, None, [])

    assert [array.shape for array in batch] == [(4, 2), (4,), (4, 1), (4,), (4, 3)]
    assert [array.dtype.name for array in batch] == ["float32", "int64", "bool", "object", "uint8"]
