"""The node's pure decisions: who is next, how many together, what fits, what it costs."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.batching import best_size
from node.costs import Costs
from node.load import Load, Mean, Rate
from node.queue import Queue, key
from node.room import Room
from node.work import Row, Stage
from wire.errors import NodeBusy

SIZES = (1, 2, 4, 8)


def row(order: float) -> Row:
    return Row((SimpleNamespace(), ()), key=order)  # type: ignore[arg-type]


def test_small_work_passes_big_work_that_came_just_before() -> None:
    assert key(10.1, 10, aging=3) < key(10.0, 1000, aging=3)


def test_big_work_is_not_passed_for_ever() -> None:
    big = key(10.0, 1000, aging=3)
    assert key(12.9, 10, aging=3) < big < key(13.1, 10, aging=3)


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 10_000)), min_size=2, max_size=50), st.floats(0, 10))
def test_nothing_is_passed_by_what_comes_later_than_its_own_time_times_the_ageing(
    rows: list[tuple[float, float]], aging: float
) -> None:
    queue = Queue(Stage.WAITING)
    for place, (arrival, predicted_ms) in enumerate(rows):
        waiting = row(key(arrival, predicted_ms, aging))
        waiting.held = place
        queue.push(waiting)
    order = [rows[queue.pop().held] for _ in rows]

    for place, (arrival, predicted_ms) in enumerate(order):
        latest = max((earlier for earlier, _ in order[:place]), default=arrival)
        assert latest <= arrival + aging * predicted_ms / 1000 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans())))
def test_queue_gives_rows_by_key_and_leaves_out_those_that_are_over(rows: list[tuple[float, bool]]) -> None:
    queue = Queue(Stage.WAITING)
    entered = []
    for order, stays in rows:
        entered.append((row(order), stays))
        queue.push(entered[-1][0])
    for each, stays in entered:
        if not stays:
            each.stage = Stage.DONE
    out = []
    while queue.head():
        out.append(queue.pop())

    assert [each.key for each in out] == sorted(order for order, stays in rows if stays)


def test_equal_keys_go_in_the_order_of_arrival() -> None:
    queue = Queue(Stage.WAITING)
    rows = [row(1.0) for _ in range(5)]
    for each in rows:
        queue.push(each)

    assert [queue.pop() for _ in rows] == rows


def test_rows_run_alone_where_a_batch_gains_nothing() -> None:
    assert best_size(8, SIZES, lambda size: 10.0 * size, gain=0.92, most_ms=200) == 1


def test_rows_are_joined_where_it_pays() -> None:
    def run_ms(size: int) -> float:
        return 8.0 + size

    assert [best_size(n, SIZES, run_ms, gain=0.92, most_ms=200) for n in (1, 2, 3, 4, 7, 8, 20)] == [
        1,
        2,
        4,
        4,
        8,
        8,
        8,
    ]


def test_a_batch_is_not_longer_than_allowed() -> None:
    assert best_size(8, SIZES, lambda size: 50.0 + size, gain=0.92, most_ms=54) == 4


def test_a_graph_with_one_size_always_runs_it() -> None:
    assert best_size(1, (8,), lambda _: 300.0, gain=0.92, most_ms=200) == 8


@given(st.integers(1, 40), st.lists(st.floats(0.1, 500), min_size=4, max_size=4))
def test_a_chosen_size_costs_no_more_per_row_than_running_alone(waiting: int, times: list[float]) -> None:
    costs = dict(zip(SIZES, times, strict=True))
    size = best_size(waiting, SIZES, costs.__getitem__, gain=0.92, most_ms=200)

    assert costs[size] / min(size, waiting) <= costs[1]


def test_small_pictures_have_room_though_big_ones_fill_theirs() -> None:
    room = Room(1600)
    assert room.take(1000)
    assert not room.take(600)
    assert room.take(50)
    assert room.take(50)
    assert not room.take(50)
    room.give(1000)
    assert room.take(600)


def test_what_never_fits_is_known_at_once() -> None:
    room = Room(1600)
    assert room.ever_fits(1500)
    assert not room.ever_fits(1501)


@given(st.lists(st.integers(0, 2000)))
def test_room_is_never_overdrawn_and_wholly_given_back(sizes: list[int]) -> None:
    room = Room(1600)
    taken = [size for size in sizes if room.take(size)]
    assert room.held <= 1600
    for size in taken:
        room.give(size)
    assert room.held == 0


def test_costs_are_learned_and_one_outlier_moves_little() -> None:
    costs = Costs()
    before = costs.decode_ms("jpeg", 12_000_000)
    costs.learn_decode("jpeg", 12_000_000, 60_000)
    assert costs.decode_ms("jpeg", 12_000_000) < 2.5 * before
    for _ in range(100):
        costs.learn_decode("jpeg", 12_000_000, 40)
    assert costs.decode_ms("jpeg", 12_000_000) == pytest.approx(40, rel=0.05)


def test_sizes_never_run_are_drawn_from_those_that_were() -> None:
    costs = Costs()
    assert costs.run_ms("a", 4) == 4 * costs.run_ms("a", 1)
    costs.expect_run("a", {1: 10.0, 8: 40.0})
    assert costs.run_ms("a", 1) == 10
    assert costs.run_ms("a", 8) == 40
    assert costs.run_ms("a", 2) == 20
    costs.learn_run("a", 1, 20)
    assert 10 < costs.run_ms("a", 1) < 20


def test_slots_and_places_behind_them_are_bounded_and_come_back() -> None:
    load = Load(slots=2, waiting=1, runners=1, now=0)
    with load.slot("a", "a"), load.slot("a", "a"):
        assert (load.admitted, load.queued) == (2, 0)
        with load.slot("a", "a"):
            assert load.queued == 1
            with pytest.raises(NodeBusy), load.slot("a", "a"):
                pass
    assert load.admitted == 0


def admitted(stay: ExitStack, load: Load, model: str, served: str, most: int = 100) -> int:
    """How many requests of a model come in, and stay, until one is refused."""
    for count in range(most):
        try:
            stay.enter_context(load.slot(model, served))
        except NodeBusy:
            return count
    return most


@given(st.integers(1, 20), st.integers(0, 40), st.integers(2, 12))
def test_a_model_that_floods_the_node_has_all_slots_and_leaves_each_other_one_its_part(
    slots: int, waiting: int, models: int
) -> None:
    load, served = Load(slots, waiting, 1, 0.0), "abcdefghijkl"[:models]
    part = waiting // 2 // models
    with ExitStack() as stay:
        assert admitted(stay, load, "a", served) >= max(slots, slots + waiting // 2 - models)
        for other in served[1:]:
            assert admitted(stay, load, other, served, most=part) == part
        assert load.admitted <= slots + waiting
    assert load.admitted == 0


def test_places_that_the_others_use_are_kept_for_nobody() -> None:
    load = Load(slots=4, waiting=16, runners=1, now=0.0)
    with ExitStack() as stay:
        assert admitted(stay, load, "a", "ab", most=6) == 6
        assert admitted(stay, load, "b", "ab") == 14


def test_a_model_waits_for_its_own_work_and_for_as_much_of_each_other_one() -> None:
    load = Load(slots=4, waiting=16, runners=2, now=0.0)
    with load.work("flood", 10_000):
        assert (load.wait_ms("flood"), load.wait_ms("late")) == (5000, 0)
        with load.work("late", 300):
            assert (load.wait_ms("flood"), load.wait_ms("late")) == (5150, 300)
            assert load.work_ms == 10_300
    assert load.work_ms == 0


def test_utilisation_is_a_mean_over_time() -> None:
    used = Mean(0.0)
    for second in range(100):
        used.become(1.0, second)
        used.become(0.0, second + 0.25)
    assert used.at(100.0) == pytest.approx(0.25, abs=0.03)
    assert used.at(200.0) < 0.001
    assert used.at(0.0) == used.at(99.25)  # a clock that jumps back harms nothing


def test_rates_settle_at_what_happens_and_forget() -> None:
    rate = Rate(0.0)
    for tenth in range(600):
        rate.count(tenth / 10)
    assert rate.at(60.0) == pytest.approx(10, rel=0.05)
    assert rate.at(160.0) < 0.01
    assert rate.at(0.0) >= 0  # a clock that jumps back harms nothing
