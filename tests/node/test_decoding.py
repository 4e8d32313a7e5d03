"""How many pictures are decoded at once: runs and decoders share the cores of a CPU."""

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
        self.decoding = Decoding(
            self.jobs,
            self.decoders,
            self.runners,
            Costs(),
            self._decode,
            lambda row, _: self.ready.append(row),
            lambda *_: None,
        )

    def busy(self, runners: int) -> None:
        for _ in range(runners):
            self.runners.submit(self.gate.wait, lambda *_: None)

    def push(self, *sizes: int) -> list[Row]:
        rows = [Row((self.engine, ()), b"", HEADER, decoded_bytes=size) for size in sizes]  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        self.jobs.add(Job(self.engine, rows, loop.time(), loop.time() + 60))  # type: ignore[arg-type]
        for row in rows:
            self.decoding.push(row)
        self.start()
        return [row for row in rows if row.stage is Stage.DECODING]

    def start(self) -> None:
        self.decoding.start(self.start)

    async def finish(self, rows: int) -> None:
        self.gate.set()
        await until(lambda: len(self.ready) == rows)
        self.runners.close()
        self.decoders.close()

    def _decode(self, _: Row) -> dict[str, object]:  # type: ignore[override]
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
