"""How often a registry is asked."""

from random import Random

from discovery.pace import Backoff, TokenBucket


def rounds_within(bucket: TokenBucket, seconds: float) -> int:
    """As a watcher whose registry answers at once."""
    now, rounds = 0.0, 0
    while now <= seconds:
        now += bucket.take(now)
        rounds += now <= seconds
    return rounds


def test_a_registry_that_answers_at_once_is_asked_three_times_in_the_first_second() -> None:
    assert rounds_within(TokenBucket(2, 1.0), 1.0) == 3


def test_over_a_minute_it_is_asked_about_once_a_second() -> None:
    assert rounds_within(TokenBucket(2, 1.0), 60.0) == 62


def test_after_a_quiet_time_two_rounds_are_free_again_and_no_more() -> None:
    bucket = TokenBucket(2, 1.0)
    bucket.take(0.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_clock_that_stands_still_gives_nothing() -> None:
    bucket = TokenBucket(1, 1.0)
    assert [bucket.take(5.0) for _ in range(4)] == [0.0, 1.0, 2.0, 3.0]


def test_pauses_grow_to_their_most_and_start_anew_after_success() -> None:
    backoff = Backoff(0.2, 15.0, Random(1))
    ceilings = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]
    assert all(0 <= backoff.failed() <= ceiling for ceiling in ceilings)
    backoff.succeeded()
    assert backoff.failed() <= 0.2


def test_a_fleet_does_not_come_back_in_step() -> None:
    pauses = {round(Backoff(0.2, 15.0, Random(seed)).failed(), 3) for seed in range(50)}
    assert len(pauses) > 30


def test_days_of_failures_overflow_nothing() -> None:
    backoff = Backoff(0.2, 15.0, Random(1))
    assert max(backoff.failed() for _ in range(5000)) <= 15.0
