"""How many pictures are decoded at once, as runs and decoders share the cores of a CPU, and which is next."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from node.costs import Costs
from node.decoding import Decoding
from node.jobs import Jobs
from node.room import Room
from node.work import Job, Row, Stage
from node.workers import Workers
from tests.fakes.serving import until
from tests.fakes.session import SECONDS
from wire.image_header import ImageHeader

SMALL, BIG = 1 << 20, 64 << 20
HEADER = ImageHeader("jpeg", 100, 100)


@dataclass(eq=False)
class OnDevice:
    """What decoding asks of an engine."""

    device: str


class Decoders:
    """Two runners and four decoders; every decoding waits until it is let go."""

    def __init__(self, device: str = "cpu") -> None:
        self.engine = OnDevice(device)
        self.gate = threading.Event()
        self.jobs = Jobs(Room(1 << 30))
        self.runners, self.decoders = Workers("runner", 2), Workers("decoder", 4)
        self.ready: list[Row] = []
        self.begun = threading.Semaphore(0)
        self.decoding = Decoding(
            self.jobs,
            self.decoders,
            self.runners,
            Costs(),
            self._decode,
            lambda row, _: self.ready.append(row),
            lambda *_: None,
            self.start,
        )

    def busy(self, runners: int) -> None:
        for _ in range(runners):
            self.runners.submit(self.gate.wait, lambda *_: None)

    def push(self, *sizes: int) -> list[Row]:
        return [row for row in self.job(*sizes).rows if row.stage is Stage.DECODING]

    def job(self, *sizes: int) -> Job:
        rows = [Row((self.engine, ()), b"", HEADER, decoded_bytes=size) for size in sizes]  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        job = Job(self.engine, rows, loop.time(), loop.time() + 60)  # type: ignore[arg-type]
        self.jobs.add(job)
        for row in rows:
            self.decoding.push(row)
        self.start()
        return job

    def start(self) -> None:
        self.decoding.start()

    async def finish(self, rows: int) -> None:
        self.gate.set()
        await until(lambda: len(self.ready) == rows)
        self.runners.close()
        self.decoders.close()

    def _decode(self, _: Row) -> dict[str, object]:  # type: ignore[override]
        self.begun.release()
        self.gate.wait()
        return {}


async def test_beside_busy_runners_pictures_are_decoded_one_at_a_time() -> None:
    decoders = Decoders()
    decoders.busy(2)
    assert len(decoders.push(SMALL, SMALL, SMALL)) == 1
    await decoders.finish(3)


async def test_every_core_that_no_run_is_on_decodes_one_more() -> None:
    decoders = Decoders()
    decoders.busy(1)
    assert len(decoders.push(SMALL, SMALL, SMALL)) == 2
    await decoders.finish(3)


async def test_a_small_picture_passes_a_big_one_that_is_being_decoded_though_all_runners_are_busy() -> None:
    decoders = Decoders()
    decoders.busy(2)
    assert len(decoders.push(BIG, BIG)) == 1
    assert len(decoders.push(SMALL, SMALL)) == 1
    await decoders.finish(4)


async def test_beside_a_gpu_all_decoders_work() -> None:
    decoders = Decoders("gpu")
    decoders.busy(2)
    assert len(decoders.push(SMALL, SMALL, SMALL, SMALL)) == 4
    await decoders.finish(4)


async def test_a_decoder_goes_on_with_the_next_small_picture_though_the_event_loop_is_busy() -> None:
    decoders = Decoders()
    decoders.busy(2)
    rows = decoders.job(SMALL, SMALL).rows
    decoders.gate.set()
    for _ in rows:
        assert decoders.begun.acquire(timeout=SECONDS)
    assert decoders.ready == []  # nothing was done on the event loop
    await decoders.finish(2)
    assert decoders.ready == rows


async def test_a_big_picture_waits_for_the_event_loop_to_choose_it() -> None:
    decoders = Decoders()
    decoders.busy(2)
    decoders.push(SMALL, BIG)
    assert decoders.jobs.room.held == SMALL
    await decoders.finish(2)


async def test_a_smaller_picture_takes_the_place_of_the_one_that_was_next() -> None:
    decoders = Decoders()
    decoders.busy(2)
    (_, second), (third,) = decoders.job(SMALL, SMALL).rows, decoders.job(SMALL).rows
    assert second.held
    third.key = -1.0
    decoders.decoding.push(third)
    decoders.start()
    assert third.held
    assert not second.held
    await decoders.finish(3)


async def test_who_hangs_up_while_its_picture_is_next_gives_its_bytes_back() -> None:
    decoders = Decoders()
    decoders.busy(2)
    decoders.push(SMALL)
    job = decoders.job(SMALL)
    assert decoders.jobs.room.held == 2 * SMALL
    decoders.decoding.leave(job)
    decoders.jobs.remove(job)
    decoders.start()
    assert decoders.jobs.room.held == SMALL
    await decoders.finish(1)


async def test_who_hangs_up_after_its_picture_was_begun_holds_its_bytes_until_that_is_done() -> None:
    decoders = Decoders()
    decoders.busy(2)
    decoders.push(SMALL)
    job = decoders.job(SMALL)
    decoders.gate.set()
    for _ in range(2):
        assert decoders.begun.acquire(timeout=SECONDS)
    decoders.decoding.leave(job)
    decoders.jobs.remove(job)
    assert job.rows[0].stage is Stage.DECODING
    assert decoders.jobs.room.held == 2 * SMALL
    await decoders.finish(1)
    await until(lambda: decoders.jobs.room.held == 0)
