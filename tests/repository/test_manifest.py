"""An artefact is served only when every byte of it is the one that was frozen."""

import os
from pathlib import Path

import msgspec
import pytest

from repository import manifest as artefact
from repository.manifest import ArtefactError, Manifest, Preprocessing, TensorSpec

IMAGE = TensorSpec("image", "float32", (None, 4, 4, 3), "image:0")
SCORES = TensorSpec("scores", "float32", (None, 2), "scores:0")
STEPS = Preprocessing("image", 4, 4, "crop", 0.875, "bicubic", (127, 127, 127), (128, 128, 128))
MANIFEST = Manifest(
    name="toy",
    version="1",
    inputs=(IMAGE,),
    outputs=(SCORES,),
    tensorflow="2.21.0",
    created="2026-11-24T00:00:00Z",
    source="made by a test",
    licence="Apache-2.0",
    preprocessing=STEPS,
    labels="labels.json",
    label_output="scores",
    batch_buckets=(1, 2),
)


def an_artefact(directory: Path) -> Path:
    (directory / "graph.pb").write_bytes(b"a graph")
    (directory / "labels.json").write_text('["cat", "dog"]')
    artefact.write(directory, MANIFEST)
    return directory


def edited(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changes))


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    loaded = artefact.load(an_artefact(tmp_path))

    assert sorted(loaded.files) == ["graph.pb", "labels.json"]
    assert msgspec.structs.replace(loaded, files={}) == MANIFEST
    assert artefact.read_file(tmp_path, loaded, "graph.pb") == b"a graph"
    assert artefact.read_labels(tmp_path, loaded) == ("cat", "dog")


def test_manifest_is_the_last_file_written(tmp_path: Path) -> None:
    an_artefact(tmp_path)

    assert sorted(os.listdir(tmp_path)) == ["graph.pb", "labels.json", "manifest.json"]


def test_unfinished_artefact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(b"a graph")

    with pytest.raises(ArtefactError, match=r"manifest\.json is missing"):
        artefact.load(tmp_path)


def test_flipped_byte_is_refused(tmp_path: Path) -> None:
    (an_artefact(tmp_path) / "graph.pb").write_bytes(b"a grapi")

    with pytest.raises(ArtefactError, match=r"graph\.pb has another SHA-256"):
        artefact.load(tmp_path)


def test_file_swapped_after_the_check_is_refused_when_read(tmp_path: Path) -> None:
    loaded = artefact.load(an_artefact(tmp_path))
    (tmp_path / "graph.pb").write_bytes(b"evil!!!")

    with pytest.raises(ArtefactError, match=r"graph\.pb has another SHA-256"):
        artefact.read_file(tmp_path, loaded, "graph.pb")


def test_longer_file_is_refused(tmp_path: Path) -> None:
    (an_artefact(tmp_path) / "graph.pb").write_bytes(b"a graph and more")

    with pytest.raises(ArtefactError, match=r"graph\.pb has 16 bytes, the manifest says 7"):
        artefact.load(tmp_path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    (an_artefact(tmp_path) / "labels.json").unlink()

    with pytest.raises(ArtefactError, match=r"labels\.json is missing"):
        artefact.load(tmp_path)


@pytest.mark.parametrize("name", ["extra.py", ".hidden", "manifest.json.part"])
def test_extra_file_is_refused(tmp_path: Path, name: str) -> None:
    (an_artefact(tmp_path) / name).touch()

    with pytest.raises(ArtefactError, match="is not in the manifest"):
        artefact.load(tmp_path)


def test_symlink_is_refused_even_to_the_right_bytes(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    directory = an_artefact(tmp_path / "aside")
    (directory / "graph.pb").rename(tmp_path / "graph.pb")
    (directory / "graph.pb").symlink_to(tmp_path / "graph.pb")

    with pytest.raises(ArtefactError, match=r"graph\.pb cannot be read"):
        artefact.load(directory)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_directory_and_pipe_are_refused_without_waiting(tmp_path: Path, make) -> None:
    (an_artefact(tmp_path) / "graph.pb").unlink()
    make(tmp_path / "graph.pb")

    with pytest.raises(ArtefactError, match=r"graph\.pb is not a plain file"):
        artefact.load(tmp_path)


@pytest.mark.parametrize("name", ["../graph.pb", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "manifest.json"])
def test_path_tricks_are_refused(tmp_path: Path, name: str) -> None:
    directory = an_artefact(tmp_path)
    digests = msgspec.json.decode((directory / "manifest.json").read_bytes())["files"]
    edited(directory, files={**digests, name: digests["graph.pb"]})

    with pytest.raises(ArtefactError):
        artefact.load(directory)
    with pytest.raises(ArtefactError):
        artefact.read_file(directory, MANIFEST, name)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"name": "a/b"}, "name"),
        ({"graph": "other.pb"}, "not among its files"),
        ({"labels": ""}, "labels and label_output"),
        ({"label_output": "other"}, "labels and label_output"),
        ({"batch_buckets": [2, 1]}, "must rise"),
        ({"sides": [256]}, "sides are for inputs with free sides"),
        ({"batch_buckets": [0]}, "batch_buckets"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [msgspec.to_builtins(IMAGE)] * 2}, "two inputs have one name"),
        ({"inputs": [{**msgspec.to_builtins(IMAGE), "shape": [1, 4, 4, 3]}]}, "free first dimension"),
        ({"inputs": [{**msgspec.to_builtins(IMAGE), "shape": [None, 4, 4, 1]}]}, "preprocessing gives rows"),
        ({"inputs": [{**msgspec.to_builtins(IMAGE), "dtype": "complex"}]}, "dtype"),
        ({"preprocessing": {**msgspec.to_builtins(STEPS), "std": [1, 0, 1]}}, "std"),
        ({"preprocessing": {**msgspec.to_builtins(STEPS), "input": "other"}}, "names no input"),
    ],
)
def test_contradictory_manifest_is_refused(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    edited(an_artefact(tmp_path), **changes)

    with pytest.raises(ArtefactError, match=problem):
        artefact.load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)])
def test_manifest_of_garbage_is_one_clear_line(tmp_path: Path, data: bytes) -> None:
    (an_artefact(tmp_path) / "manifest.json").write_bytes(data)

    with pytest.raises(ArtefactError) as caught:
        artefact.load(tmp_path)
    assert "manifest.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_must_be_as_many_as_the_output_has_values(tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(b"a graph")
    (tmp_path / "labels.json").write_text('["cat"]')
    written = artefact.write(tmp_path, MANIFEST)

    with pytest.raises(ArtefactError, match="1 labels for 2 values of scores"):
        artefact.read_labels(tmp_path, written)


def test_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"manifest\.json is missing"):
        artefact.load(tmp_path / "nowhere")
