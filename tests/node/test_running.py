"""Who goes first to a runner that is busy: what the runner was given already, then the next batch."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from node.batch_run import Ran, run_batch
from node.config import Batch
from node.engine import State
from node.jobs import Jobs
from node.running import Running
from node.work import Job, Row, Stage
from node.workers import Workers

POISON = 66


class Room:
    def give(self, places: int) -> None:
        pass


class Costs:
    def run_ms(self, bucket: object, rows: int) -> float:
        return 1.0

    def learn_run(self, *learned: object) -> None:
        pass


class Unwatched:
    def decoded(self, row: Row, ms: float) -> None:
        pass

    def ran(self, engine: object, rows: int, ms: float) -> None:
        pass


class Engine:
    """A session that fails for one input; waits with every run until `gate` is open."""

    state, session, batched, buckets, title, rebuild_seconds = State.READY, 1, False, (1,), "m@1", 1.0
    decodes, hangs, hopeless = False, 0, False

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.order: list[object] = []
        self.manifest = SimpleNamespace(batch_buckets=())

    def answer(self, items: Sequence[dict[str, np.ndarray]]) -> Ran:
        return run_batch(self._run, None, self.manifest, items)

    def row_bytes(self, bucket: object) -> int:
        return 8

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self.gate.wait(20)
        self.order.append(int(inputs["x"][0]))
        time.sleep(0.003)  # long enough for the next batch to be handed on meanwhile
        if inputs["x"][0] == POISON:
            raise ValueError("poison")
        return {"y": inputs["x"]}

    def probe(self) -> None:
        self.order.append("probe")

    def went_well(self, session: int) -> None:
        pass

    def fell_sick(self, why: str, *, hung: bool, then: Callable[[], None]) -> None:
        raise AssertionError(why)


async def test_a_session_that_is_to_be_judged_is_not_kept_waiting_by_batches_that_are_handed_on() -> None:
    loop, engine, jobs, workers = asyncio.get_running_loop(), Engine(), Jobs(Room()), Workers("runner", 1)

    def pump() -> None:
        running.start()

    running = Running(jobs, workers, Costs(), Batch(), 20.0, Unwatched(), pump)
    answers = []
    for value in [1, POISON, *[2] * 30]:
        row = Row((engine, ((1,),)), inputs={"x": np.array([value])}, run_ms=1.0, key=loop.time())
        row.stage = Stage.WAITING
        answers.append(jobs.add(Job(engine, [row], loop.time(), loop.time() + 30)))
        running.push(row, row.inputs)
    running.start()
    engine.gate.set()
    done = await asyncio.gather(*answers, return_exceptions=True)
    assert [n for n, each in enumerate(done) if isinstance(each, BaseException)] == [1]
    assert engine.order.index("probe") - engine.order.index(POISON) <= 3
