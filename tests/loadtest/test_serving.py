"""The comparison with other model servers: its sums, its requests, and one small run of it with real parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import pytest
from PIL import Image

from loadtest.openloop.histogram import Histogram
from loadtest.serving import photos, report
from loadtest.serving.contenders import CONTENDERS
from loadtest.serving.model import PLAIN, Model
from loadtest.serving.report import Report
from loadtest.serving.sample import Sample, summary
from node.multipart import image_and_fields
from tests.fakes.artefacts import packaged

ROOT = Path(__file__).resolve().parents[2]


def _latencies(*ms: float) -> Histogram:
    found = Histogram()
    for each in ms:
        found.record(each)
    return found


def _sample(server: str, per_second: float, *, p99: float = 10.0, images: str = "mix", cpu_ms: float = 10.0) -> Sample:
    return Sample(
        server=server,
        images=images,
        setting="",
        answered=100,
        per_second=per_second,
        cpu_ms=cpu_ms,
        half=_latencies(*[p99] * 10),
    )


def test_rounds_give_their_median_and_latencies_of_all_of_them_together() -> None:
    rounds = [_sample("x", rate, p99=ms) for rate, ms in ((10, 1.0), (30, 1.0), (20, 90.0))]
    found = summary(rounds)
    assert (found.rounds, found.per_second, found.best_per_second) == (3, 20, 30)
    assert found.p50 < 1.1
    assert found.p99 > 85


def test_parts_run_one_after_another_add_up_until_told_to_forget(tmp_path: Path) -> None:
    report.write(report.merged(tmp_path, [_sample("mosec", 90)], fresh=False), tmp_path)
    both = report.merged(tmp_path, [_sample("fleetgate", 120), _sample("mosec", 110)], fresh=False)
    found = both.of("mosec", "mix")
    assert found is not None
    assert (found.rounds, found.per_second) == (2, 100)
    assert report.merged(tmp_path, [], fresh=True).samples == []


def test_the_figures_to_reach_name_the_best_of_the_others_and_the_faster_bare_loop() -> None:
    samples = [
        _sample("bare loop, threads", 90),
        _sample("bare loop, processes", 100, cpu_ms=9.0),
        _sample("fleetgate", 95, p99=20.0),
        _sample("mosec", 50, p99=30.0),
        _sample("LitServe", 40, p99=25.0),
    ]
    told = "\n".join(report.goals(Report("", "", samples)))
    assert "95% of the bare loop's rate" in told
    assert "90% of its CPU efficiency" in told
    assert "1.90 x mosec" in told
    assert "the best of the others LitServe with 25" in told


def test_who_decodes_in_full_is_compared_apart_from_the_others() -> None:
    rates = {
        "bare loop, threads": 100,
        "fleetgate": 90,
        "mosec": 80,
        "mosec, plain Pillow": 45,
        "LitServe, plain Pillow": 30,
    }
    told = "\n".join(report.goals(Report("", "", [_sample(name, rate) for name, rate in rates.items()])))
    assert "1.12 x mosec, the fastest of the others" in told
    assert "2.00 x mosec, plain Pillow, the fastest of those that decode in full" in told


def test_decoding_as_tutorials_do_finds_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # the model sets it for its whole process
    chosen = [photo for group in photos.chosen() for photo in group]
    for plain in ("", "1"):
        monkeypatch.setenv(PLAIN, plain)
        model = Model(artefact=str(packaged()))
        assert [model.answer(photo.body)[0]["label"] for photo in chosen] == [photo.label for photo in chosen]


def test_every_contender_gets_the_same_photos() -> None:
    for contender in CONTENDERS.values():
        draw, rng = photos.drawing("mix", contender.sendable), Random(3)
        drawn = [draw(rng) for _ in range(400)]
        assert {each.size_class for each in drawn} == {"small", "oversized"}
        assert 5 <= sum(each.size_class == "oversized" for each in drawn) <= 40
        small = photos.chosen()[0][0]
        sent = contender.sendable(small)
        if contender.field:
            kind = sent.headers.partition(": ")[2].strip()
            assert image_and_fields(sent.body, kind)[0] == small.body
        else:
            assert sent.body == small.body


def test_a_loop_over_the_mix_holds_as_many_large_photos_as_the_drawn_one() -> None:
    bodies = photos.cycle("mix")
    large = {photo.body for photo in photos.chosen()[1]}
    assert sum(body in large for body in bodies) / len(bodies) == photos.SHARES["mix"]


def test_the_node_and_the_bare_loop_are_measured_for_real(tmp_path: Path) -> None:
    models = ROOT / "var" / "models"
    command = [sys.executable, "-m", "loadtest.serving", "--quick", "--models", str(models), "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Report)
    assert [each.server for each in found.samples] == ["bare loop, threads", "fleetgate"]
    node = found.samples[1]
    assert node.per_second > 0
    assert node.half.total > 0
    assert node.pss_mb > 300
    assert 1 < node.cpu_ms < 1000
    assert (tmp_path / "comparison.png").stat().st_size > 1000
    assert "of the bare loop's rate" in (tmp_path / "results.md").read_text()
