"""One way, asked by one client and by several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec

from loadtest.cold.ways import Way

_LEAST = 2  # answers per client, however long they take


class Steady(msgspec.Struct, frozen=True):
    """A closed loop of `clients`. Times are milliseconds."""

    clients: int
    answers: int
    median_ms: float
    slowest_ms: float
    per_second: float


class Figures(msgspec.Struct, frozen=True):
    """All of one way."""

    way: str
    first_ms: float  # from nothing running to the first answer
    steady: list[Steady]
    wrong: int


def measure(name: str, way: Way, images: Mapping[Path, str], clients: Sequence[int], seconds: float) -> Figures:
    """`images` are files with the label that is right."""
    files = list(images)
    wrong: list[Path] = []

    def ask(file: Path) -> float:
        start = perf_counter()
        if way.answer(file) != images[file]:
            wrong.append(file)
        return (perf_counter() - start) * 1e3

    def client(number: int, end: float) -> list[float]:
        times: list[float] = []
        while perf_counter() < end or len(times) < _LEAST:
            times.append(ask(files[(number + len(times)) % len(files)]))
        return times

    start = perf_counter()
    with way:
        ask(files[0])
        first_ms = (perf_counter() - start) * 1e3
        steady = []
        for count in clients:
            begin = perf_counter()
            with ThreadPoolExecutor(count) as pool:
                runs = list(pool.map(client, range(count), [begin + seconds] * count))
            took = perf_counter() - begin
            times = [time for run in runs for time in run]
            steady.append(Steady(count, len(times), median(times), max(times), len(times) / took))
    return Figures(name, first_ms, steady, len(wrong))
