"""The packaged model is made once, whole, always alike, and made again when it is damaged."""

import threading
from pathlib import Path

import pytest

from repository.manifest import ArtefactError, load, read_labels
from repository.packaged import ensure

MODELS = Path(__file__).resolve().parents[2] / "var" / "models"


def silent(_: str) -> None:
    pass


def test_packaged_model_says_what_it_takes_and_gives() -> None:
    place = ensure(MODELS, silent)
    manifest = load(place)

    assert place == MODELS / "efficientnet-lite0" / "1"
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.inputs] == [
        ("image", "float32", (None, 224, 224, 3))
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.outputs] == [
        ("probabilities", "float32", (None, 1000))
    ]
    assert read_labels(place, manifest)[967] == "espresso"
    assert manifest.cost is not None
    assert set(manifest.cost.infer_ms) == set(manifest.batch_buckets)
    assert set(manifest.cost.decode_ms_per_megapixel) >= {"jpeg", "png", "webp"}


def test_sound_artefact_is_not_made_again() -> None:
    place = ensure(MODELS, silent)
    before = place.stat().st_mtime_ns
    lines: list[str] = []

    assert ensure(MODELS, lines.append) == place
    assert lines == []
    assert place.stat().st_mtime_ns == before


def test_damaged_artefact_is_made_again_by_one_of_two_and_is_the_same_file(tmp_path: Path) -> None:
    damaged = tmp_path / "efficientnet-lite0" / "1"
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{}")
    (tmp_path / ".building-killed").mkdir()
    lines: list[str] = []
    callers = [threading.Thread(target=ensure, args=(tmp_path, lines.append)) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert "is damaged" in lines[0]
    assert sum(line.endswith("is ready") for line in lines) == 1
    assert not list(tmp_path.glob(".building-*"))
    made = load(damaged).files
    assert made == load(ensure(MODELS, silent)).files, "the recipe changed: give the packaged model a new VERSION"


def test_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ArtefactError, match=r"Not a directory|File exists"):
        ensure(tmp_path / "file", silent)
