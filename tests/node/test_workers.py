"""Threads beside the event loop: what is handed early, taken back, and abandoned."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from node.workers import Workers
from tests.fakes.serving import until
from tests.fakes.session import SECONDS


class Gated:
    """One worker, busy with a task that ends when it may; what was called is in `told`."""

    def __init__(self) -> None:
        self.workers = Workers("worker", 1)
        self.may_end, self.handed_began = threading.Event(), threading.Event()
        self.told: list[str] = []
        self.first = self.workers.submit(lambda: self.may_end.wait(SECONDS), self.tells("first done"))

    def tells(self, what: str) -> Callable[..., None]:
        return lambda *_: self.told.append(what)

    def hand(self) -> None:
        self.workers.hand(self.handed_began.set, self.tells("handed done"), self.tells("handed begun"))


@pytest_asyncio.fixture
async def gated() -> AsyncIterator[Gated]:
    found = Gated()
    yield found
    found.may_end.set()
    found.workers.close()


async def test_a_thread_goes_on_with_what_it_was_handed_though_the_event_loop_is_busy(gated: Gated) -> None:
    gated.hand()
    gated.may_end.set()
    assert gated.handed_began.wait(SECONDS)  # meanwhile nothing runs on the event loop
    assert gated.told == []

    await until(lambda: len(gated.told) == 3)
    assert gated.told == ["handed begun", "first done", "handed done"]
    assert gated.workers.idle == 1


async def test_what_was_taken_back_is_not_begun(gated: Gated) -> None:
    gated.hand()
    assert gated.workers.take_back()
    gated.may_end.set()
    await until(lambda: gated.workers.idle == 1)

    assert gated.told == ["first done"]
    assert not gated.handed_began.is_set()


async def test_what_has_begun_cannot_be_taken_back_and_is_told_at_once(gated: Gated) -> None:
    gated.hand()
    gated.may_end.set()
    assert gated.handed_began.wait(SECONDS)
    assert not gated.workers.take_back()
    assert gated.told == ["handed begun"]

    gated.workers.hand(gated.tells("next ran"), gated.tells("next done"), gated.tells("next begun"))
    await until(lambda: "next done" in gated.told or gated.workers.idle)
    if "next begun" not in gated.told:  # the thread had finished before
        assert gated.workers.take_back()
    assert gated.told.count("handed begun") == 1


async def test_a_thread_that_hung_leaves_what_was_handed_to_others(gated: Gated) -> None:
    gated.hand()
    assert gated.workers.abandon(gated.first)
    assert gated.workers.idle == 1
    gated.may_end.set()
    assert gated.workers.take_back()

    gated.workers.submit(gated.handed_began.set, gated.tells("done by a fresh thread"))
    await until(lambda: gated.told)
    assert gated.told == ["done by a fresh thread"]


async def test_a_task_that_has_just_ended_is_not_abandoned(gated: Gated) -> None:
    gated.hand()
    gated.may_end.set()
    assert gated.handed_began.wait(SECONDS)
    assert not gated.workers.abandon(gated.first)

    await until(lambda: len(gated.told) == 3)
    assert gated.workers.idle == 1
