"""`fleetgate freeze` as a user calls it: what it prints, and its exit codes."""

import argparse
from pathlib import Path

import pytest

from fleetgate import freeze
from repository.manifest import load
from tests.fakes.artefacts import SAMPLES, packaged


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    freeze.add_parser(parser.add_subparsers())
    return freeze.run(parser.parse_args(["freeze", *map(str, words)]))


def test_artefact_is_made_and_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = [SAMPLES / "cat.jpg", SAMPLES / "tripod.png"]
    place = tmp_path / "lite" / "7"
    code = call(
        packaged() / "graph.pb",
        *("-o", place, "--size", "224", "--mean", "127", "--std", "128", "--buckets", "1,2"),
        *("--labels", packaged() / "labels.json", "--licence", "Apache-2.0", "--images", *photographs),
    )
    said = capsys.readouterr().out

    assert code == 0
    assert "2 photographs: difference" in said
    assert "2 of 2" in said
    made, original = load(place), load(packaged())
    assert (made.name, made.version, made.batch_buckets) == ("lite", "7", (1, 2))
    assert made.preprocessing == original.preprocessing
    assert made.files["graph.pb"] == original.files["graph.pb"]


def test_inspection_lists_nodes_and_guesses(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(packaged() / "graph.pb", "--inspect") == 0

    said = capsys.readouterr().out
    assert "DepthwiseConv2dNative" in said
    assert "likely inputs: image\n" in said
    assert "likely outputs: probabilities\n" in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "-o ARTEFACT is missing"),
        (("-o", "x/1", "--images", "a.jpg"), "--size"),
        (("-o", "x/1", "--size", "1x2x3"), "should be one number, or 2"),
        (("-o", "x/1", "--size", "0"), "height"),
        (("-o", "x/1", "--size", "8", "--filter", "best"), "filter"),
        (("-o", "x/1", "--buckets", "many"), "many"),
    ],
)
def test_wrong_call_is_told_apart_from_a_refusal(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("model.pb", *words) == 2
    assert complaint in capsys.readouterr().err


def test_refusal_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "nothing.pb", "-o", tmp_path / "x" / "1") == 1
    assert capsys.readouterr().err.endswith("nothing.pb does not exist\n")
