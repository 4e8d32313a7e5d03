"""A step that is repeated, and settled at once when asked."""

import asyncio
import time

import pytest

from discovery.keeper import Keeper


class Steps:
    """Counts, and waits for leave before each step."""

    def __init__(self, leave: int, pause: float = 60.0) -> None:
        self.count = 0
        self.pause = pause
        self.leave = asyncio.Semaphore(leave)
        self.error: Exception | None = None
        self.fifth = asyncio.Event()

    async def __call__(self) -> float:
        await self.leave.acquire()
        self.count += 1
        if self.count == 5:
            self.fifth.set()
        if self.error:
            raise self.error
        return self.pause


async def test_settling_runs_a_step_at_once_whatever_the_pace() -> None:
    steps = Steps(leave=9)
    keeper = Keeper(steps, "k")
    for count in (1, 2, 3):
        await keeper.settle(10)
        assert steps.count == count
    await keeper.stop()


async def test_a_step_already_under_way_is_not_the_one_waited_for() -> None:
    steps = Steps(leave=0)
    keeper = Keeper(steps, "k")
    first = asyncio.create_task(keeper.settle(10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(keeper.settle(10))
    await asyncio.sleep(0)
    steps.leave.release()
    await first
    assert (steps.count, second.done()) == (1, False)
    steps.leave.release()
    await second
    assert steps.count == 2
    await keeper.stop()


async def test_settling_waits_no_longer_than_told_and_the_step_goes_on() -> None:
    steps = Steps(leave=0)
    keeper = Keeper(steps, "k")
    await keeper.settle(0.01)
    assert steps.count == 0
    steps.leave.release()
    steps.leave.release()
    await keeper.settle(10)
    assert steps.count == 2
    await keeper.stop()


async def test_steps_come_at_their_own_pace() -> None:
    steps = Steps(leave=1000, pause=0.001)
    keeper = Keeper(steps, "k")
    await keeper.settle(10)
    async with asyncio.timeout(10):
        await steps.fifth.wait()
    await keeper.stop()
    stopped_at = steps.count
    await asyncio.sleep(0.02)
    assert steps.count == stopped_at


async def test_stopping_frees_whoever_waits() -> None:
    steps = Steps(leave=0)
    keeper = Keeper(steps, "k")
    waiting = asyncio.create_task(keeper.settle(60))
    await asyncio.sleep(0)
    began = time.monotonic()
    await keeper.stop()
    await waiting
    assert time.monotonic() - began < 30


async def test_a_fault_of_ours_is_not_taken_for_a_slow_registry() -> None:
    steps = Steps(leave=9)
    steps.error = KeyError("ours")
    keeper = Keeper(steps, "k")
    with pytest.raises(KeyError):
        await keeper.settle(60)
    await keeper.stop()
