"""Predictions: learned soon, robust against what cannot be true, and never zero."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.costs import CEILING_MS, FLOOR_MS, TABLE, Costs

MP = 1_000_000


def taught(costs: Costs, a: float, b: float, count: int, noise: float = 0.1, kind: str = "jpeg", seed: int = 1) -> None:
    """Observations of a + b per megapixel, with log-normal noise."""
    rng = Random(seed)
    for _ in range(count):
        pixels = int(rng.lognormvariate(0, 0.6) * MP) * (20 if rng.random() < 0.05 else 1) + 1
        costs.observed("m", kind, pixels, 0, (a + b * pixels / MP) * rng.lognormvariate(0, noise), 1.0)


def test_before_anything_is_known_a_bigger_image_costs_more():
    costs = Costs()
    for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "unheard-of"):
        assert 0 < costs.predict("m", kind, MP, 0) < costs.predict("m", kind, 20 * MP, 0)


@pytest.mark.parametrize(("a", "b"), [(10.0, 30.0), (2.0, 3.0), (100.0, 300.0), (12.0, 0.5)])
def test_a_few_hundred_answers_teach_the_line(a, b):
    costs = Costs()
    taught(costs, a, b, 600)
    for megapixels in (0.5, 1.0, 3.0, 20.0):
        expected = a + b * megapixels
        assert costs.predict("m", "jpeg", int(megapixels * MP), 0) == pytest.approx(expected, rel=0.15)


def test_formats_are_learned_apart():
    costs = Costs()
    taught(costs, 10, 5, 400, kind="jpeg")
    taught(costs, 10, 50, 400, kind="png")
    assert costs.predict("m", "png", 4 * MP, 0) > 4 * costs.predict("m", "jpeg", 4 * MP, 0)


def test_models_are_learned_apart():
    costs = Costs()
    taught(costs, 100, 100, 400)
    assert costs.predict("other", "jpeg", MP, 0) == Costs().predict("other", "jpeg", MP, 0)


def test_without_pixels_bytes_decide():
    costs = Costs()
    assert costs.predict("m", "", 0, 10_000_000) > costs.predict("m", "", 0, 100_000) > 0
    for _ in range(300):
        costs.observed("m", "", 0, 1_000_000, 500.0, 1.0)
    assert costs.predict("m", "", 0, 1_000_000) == pytest.approx(500, rel=0.1)
    assert costs.predict("m", "jpeg", MP, 1_000_000) == Costs().predict("m", "jpeg", MP, 0)


def test_times_of_a_fast_node_are_told_at_speed_one():
    costs = Costs()
    for _ in range(300):
        costs.observed("m", "jpeg", MP, 0, 20.0, 4.0)
    assert costs.predict("m", "jpeg", MP, 0) == pytest.approx(80, rel=0.1)


def test_one_size_for_ever_does_not_make_the_line_swing():
    costs = Costs()
    for _ in range(20_000):
        costs.observed("m", "jpeg", MP, 0, 40.0, 1.0)
    assert costs.predict("m", "jpeg", MP, 0) == pytest.approx(40, rel=0.02)
    assert 40 < costs.predict("m", "jpeg", 20 * MP, 0) < 4000


def test_a_few_absurd_times_among_many_hardly_matter():
    costs, rng = Costs(), Random(3)
    for number in range(2000):
        true = 40.0 * rng.lognormvariate(0, 0.1)
        costs.observed("m", "jpeg", MP, 0, 1e9 if number % 50 == 0 else 1e-9 if number % 50 == 25 else true, 1.0)
    assert costs.predict("m", "jpeg", MP, 0) == pytest.approx(40, rel=0.15)


@given(
    st.lists(
        st.tuples(
            st.integers(-5, 10**12),
            st.integers(-5, 10**12),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        max_size=40,
    )
)
def test_whatever_it_is_fed_it_predicts_something_possible(observations):
    costs = Costs()
    for pixels, size, service_ms, speed in observations:
        costs.observed("m", "jpeg", pixels, size, service_ms, speed)
    for pixels in (0, 1, MP, 10**12):
        assert FLOOR_MS <= costs.predict("m", "jpeg", pixels, 5) <= CEILING_MS
    assert costs.predict("m", "jpeg", 10 * MP, 0) >= costs.predict("m", "jpeg", MP, 0)


def test_a_model_that_became_slower_is_followed():
    costs = Costs()
    taught(costs, 10, 30, 1000)
    taught(costs, 30, 90, 1000)
    assert costs.predict("m", "jpeg", MP, 0) == pytest.approx(120, rel=0.15)


def test_the_error_of_predictions_is_kept_by_model():
    costs = Costs()
    for _ in range(500):
        costs.judged("m", 110.0, 100.0)
    costs.judged("other", 1.0, 0.0)
    assert costs.errors() == {"m": pytest.approx(0.1)}


def test_invented_models_do_not_fill_the_memory():
    costs = Costs()
    for number in range(2 * TABLE):
        costs.observed(f"m{number}", "jpeg", MP, 0, 10.0, 1.0)
        costs.judged(f"m{number}", 10.0, 10.0)
    assert len(costs.table()) == len(costs.errors()) == TABLE


def test_what_was_learned_can_be_read():
    costs = Costs()
    taught(costs, 10, 30, 300, noise=0.0)
    ((model, kind, a, b, count),) = costs.table()
    assert (model, kind, count) == ("m", "jpeg", 300)
    assert a == pytest.approx(10, rel=0.3)
    assert b == pytest.approx(30, rel=0.1)
    assert math.isfinite(a)
