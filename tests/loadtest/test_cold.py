"""Cold against warm: what is counted, and each way with real parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from loadtest.cold.measure import Figures, measure
from loadtest.cold.ways import Script
from repository import packaged

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "var" / "models"


class Told:
    """Answers at once, as it was told."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked: list[Path] = []

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answer(self, image: Path) -> str:
        self.asked.append(image)
        return self.label


def test_every_client_asks_twice_at_least_and_all_images_take_turns() -> None:
    way, images = Told("cat"), {Path("a"): "cat", Path("b"): "cat"}
    found = measure("told", way, images, [1, 3], seconds=0.0)
    assert [steady.answers for steady in found.steady] == [2, 6]
    assert set(way.asked) == set(images)
    assert found.wrong == 0


def test_wrong_answers_are_counted() -> None:
    assert measure("told", Told("dog"), {Path("a"): "cat"}, [1], seconds=0.0).wrong == 3


def test_a_script_answers_one_image_and_ends() -> None:
    with Script(packaged.ensure(MODELS, print)) as way:
        assert way.answer(ROOT / "samples" / "cat.jpg") == "Egyptian cat"


def test_the_warm_ways_are_measured_for_real(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.cold", "--quick", "--models", str(MODELS), "--out", str(tmp_path)]
    ways = ["--ways", "a process with its input open", "the node"]
    done = subprocess.run([*command, *ways], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=dict[str, object])
    piped, node = msgspec.convert(found["ways"], list[Figures])
    for figures in (piped, node):
        assert figures.wrong == 0
        assert figures.first_ms > figures.steady[0].median_ms
        assert [steady.clients for steady in figures.steady] == [1, 2]
