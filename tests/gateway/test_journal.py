"""What the journal remembers, and that it forgets the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import Gauges, Journal, Ring, kind_of
from gateway.windows import BUCKETS, bucket, quantile
from tests.fakes.outcomes import failed, outcome, refused

IDLE = Gauges(busy=0, capacity=4, queued=0, usable=3)


def ticked(journal: Journal, times: int = 1) -> None:
    for second in range(times):
        journal.tick(1_700_000_000.0 + second, 1.0, IDLE)


@given(st.floats(min_value=0.3, max_value=400_000))
def test_a_quantile_is_within_a_fifth_of_the_truth(ms: float) -> None:
    counts = [0] * BUCKETS
    counts[bucket(ms)] = 10
    found = quantile(counts, 0.5)
    assert found is not None
    assert ms / 1.2 <= found <= ms * 1.2


@given(st.floats(min_value=-10, max_value=1e12))
def test_every_duration_has_a_bucket(ms: float) -> None:
    assert 0 <= bucket(ms) < BUCKETS


def test_what_the_other_pool_answered_is_counted_by_size_class() -> None:
    journal = Journal()
    for size_class, pool in (("light", "light"), ("light", "heavy"), ("heavy", "light"), ("heavy", "light")):
        journal.finished(outcome(size_class=size_class, pool=pool))
    ticked(journal)
    window = journal.window(10)
    assert (window.light_spilled, window.heavy_spilled) == (1, 2)


def test_quantiles_of_a_known_spread() -> None:
    journal = Journal()
    for ms in range(1, 1001):
        journal.finished(outcome(total_ms=float(ms), recv_ms=0.0))
    ticked(journal)
    light = journal.window(10).light
    assert light.count == 1000
    assert light.p50 == pytest.approx(500, rel=0.1)
    assert light.p95 == pytest.approx(950, rel=0.1)
    assert light.p99 == pytest.approx(990, rel=0.1)


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile([0] * BUCKETS, 0.99) is None


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "ok"),
        ({"status": 415, "error": "unsupported-media"}, "client"),
        ({"status": 422}, "client"),
        ({"status": 499, "error": "client-gone"}, "gone"),
        ({"status": 503, "error": "queue-full"}, "refused"),
        ({"status": 503, "error": "hopeless"}, "refused"),
        ({"status": 429, "error": "quota-exceeded"}, "refused"),
        ({"status": 502, "error": "node-unreachable"}, "error"),
        ({"status": 504, "error": "deadline-missed"}, "error"),
        ({"status": 500}, "error"),
    ],
)
def test_a_bad_ending_is_put_to_the_right_account(changes: dict[str, object], kind: str) -> None:
    assert kind_of(outcome(**changes)) == kind


def test_errors_refusals_and_mistakes_are_counted_apart() -> None:
    journal = Journal()
    for ending in (outcome(), failed(), refused(), outcome(status=415, error="unsupported-media"), outcome(status=499)):
        journal.finished(ending)
    ticked(journal)
    window = journal.window(10)
    assert (window.ok, window.errors, window.refused, window.client, window.gone) == (1, 1, 1, 1, 1)
    assert window.per_second == 5.0
    assert window.error_share == 0.2


def test_probes_and_metadata_do_not_drown_the_numbers() -> None:
    journal = Journal()
    journal.finished(outcome(route="health"))
    journal.finished(outcome(route="metadata"))
    ticked(journal)
    assert journal.window(10).requests == 0


def test_a_wrong_path_is_listed_and_not_counted() -> None:
    journal = Journal()
    journal.finished(outcome(route="other", status=404, error="not-found", node="", attempts=0))
    journal.finished(outcome(route="health", status=503, error="no-node", node="", attempts=0))
    ticked(journal)
    assert journal.window(10).requests == 0
    assert [each.error for each in journal.mistakes] == ["not-found"]
    assert not journal.refusals.items


def test_a_slow_upload_is_not_the_fleets_latency() -> None:
    journal = Journal()
    journal.finished(outcome(total_ms=9_020.0, recv_ms=9_000.0))
    ticked(journal)
    assert journal.window(10).light.p50 == pytest.approx(20, rel=0.2)


def test_a_window_forgets_what_is_older() -> None:
    journal = Journal()
    journal.finished(failed())
    ticked(journal, 11)
    assert journal.window(10).errors == 0
    assert journal.window(60).errors == 1
    ticked(journal, 60)
    assert journal.window(60).errors == 0


def test_rates_use_the_time_that_really_passed() -> None:
    journal = Journal()
    for _ in range(30):
        journal.finished(outcome())
    journal.tick(1_700_000_003.0, 3.0, IDLE)
    assert journal.window(10).per_second == 10.0


def test_history_is_one_row_in_five_ticks_and_fifteen_minutes_long() -> None:
    journal = Journal()
    ticked(journal, 4)
    assert not journal.history.items
    ticked(journal, 5 * 400)
    assert len(journal.history.items) == 180


def test_a_request_can_be_found_by_its_id() -> None:
    journal = Journal()
    journal.finished(outcome(request_id="wanted"))
    found = journal.find("wanted")
    assert found is not None
    assert found.request_id == "wanted"
    assert journal.find("other") is None


def test_an_explained_or_retried_request_outlives_a_burst_of_good_ones() -> None:
    journal = Journal()
    journal.finished(outcome(request_id="explained", explain=True))
    journal.finished(outcome(request_id="retried", attempts=2, retries=("node-busy",)))
    journal.finished(failed(request_id="lost"))
    for number in range(5_000):
        journal.finished(outcome(request_id=f"r-{number}"))
    assert all(journal.find(wanted) for wanted in ("explained", "retried", "lost"))


def test_memory_is_bounded_whatever_comes() -> None:
    journal = Journal()
    for number in range(3_000):
        journal.finished(failed(request_id=str(number)))
        journal.finished(refused(request_id=str(number)))
        journal.finished(outcome(request_id=str(number), size_class="heavy"))
    sizes = [len(ring.items) for ring in (journal.errors, journal.refusals, journal.decisions, journal.heavy_dots)]
    assert sizes == [50, 50, 200, 400]


def test_light_dots_are_paced_and_heavy_ones_never_lost_to_them() -> None:
    journal = Journal()
    for _ in range(1_000):
        journal.finished(outcome())
    journal.finished(outcome(size_class="heavy", pool="heavy", pixels=12_000_000))
    assert len(journal.light_dots.items) == 8
    assert len(journal.heavy_dots.items) == 1


def test_the_share_of_traffic_covers_the_last_minute() -> None:
    journal = Journal()
    for _ in range(3):
        journal.finished(outcome(node="a"))
    journal.finished(failed(node="b"))
    assert journal.by_node() == {"a": 3, "b": 1}
    assert journal.last_errors["b"].error == "node-garbage"
    ticked(journal, 61)
    assert journal.by_node() == {}


def test_a_node_that_left_is_forgotten() -> None:
    journal = Journal()
    journal.finished(failed(node="gone"))
    journal.keep(frozenset({"here"}))
    assert not journal.last_errors


def test_a_ring_tells_what_is_new() -> None:
    ring: Ring[int] = Ring(3)
    for number in range(5):
        ring.append(number)
    assert list(ring) == [2, 3, 4]
    assert ring.since(4) == [4]
    assert ring.since(0) == [2, 3, 4]
    assert ring.since(5) == []
    assert ring.since(99) == []
    assert ring.since(0, 4) == [2, 3]
    assert ring.since(3, 4) == [3]
    assert ring.since(0, 1) == []
