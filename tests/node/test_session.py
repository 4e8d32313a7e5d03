"""The warm session answers rightly, whatever the batch, from many threads, and says clearly what it cannot do."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from node.session import Session
from repository import manifest as artefact
from repository.manifest import ArtefactError
from repository.running import has_bfloat16
from tests.fakes.artefacts import SAMPLES, packaged, toy
from wire.errors import BadRequest, ModelFailed

ROW = tf.TensorSpec((None, 2), tf.float32, name="x")


@cache
def warm() -> Session:
    """One session for all tests of this file: they must not close it."""
    return Session.load(packaged(), threads=2, runners=2)


def preprocessed(name: str) -> np.ndarray:
    """The manifest's words done by hand: centre square of 7/8 of the shorter side, bicubic, (x - 127) / 128."""
    picture = Image.open(SAMPLES / name).convert("RGB")
    side = 0.875 * min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    small = picture.resize((224, 224), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return (np.asarray(small, np.float32)[None] - 127) / 128


# TensorFlow decides about threads once per process, so this takes a process of its own.
SHARE_OF_THE_CALLER = """
import sys, time
from pathlib import Path
import numpy as np
from node.session import Session

session = Session.load(Path(sys.argv[1]), threads=2, runners=2)
rows = {"image": np.zeros((2, 224, 224, 3), np.float32)}
session.run(rows)
whole, own = time.process_time(), time.thread_time()
for _ in range(20):
    session.run(rows)
print((time.thread_time() - own) / (time.process_time() - whole))
"""


def test_a_run_is_done_by_the_thread_that_asked_for_it() -> None:
    command = [sys.executable, "-c", SHARE_OF_THE_CALLER, str(packaged())]
    share = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert share > 0.5  # of the processor's time


def noise(rows: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(rows, 224, 224, 3)).astype(np.float32)


@pytest.mark.parametrize(("name", "label"), json.loads((SAMPLES / "expected.json").read_text()).items())
def test_sample_photo_gets_its_label(name: str, label: str) -> None:
    scores = warm().run({"image": preprocessed(name)})["probabilities"][0]

    assert warm().labels[int(scores.argmax())] == label
    assert scores.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("rows", [2, 3, 5, 8, 11])
def test_rows_of_any_batch_are_answered_as_if_alone(rows: int) -> None:
    images = noise(rows)
    together = warm().run({"image": images})["probabilities"]
    alone = np.concatenate([warm().run({"image": image[None]})["probabilities"] for image in images])

    assert together.shape == (rows, 1000)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_many_threads_each_get_their_own_answer() -> None:
    images = noise(6)
    alone = [warm().run({"image": image[None]})["probabilities"] for image in images]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: warm().run({"image": images[i % 6][None]})["probabilities"], range(60)))

    for index, answer in enumerate(answers):
        np.testing.assert_allclose(answer, alone[index % 6], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "input 'image' is missing; the model takes image \\(float32 \\[-1, 224, 224, 3\\]\\)"),
        ({"picture": np.zeros(1)}, "unknown input 'picture'"),
        ({"image": noise(1).astype(np.float64)}, "is float64, the model takes float32"),
        ({"image": np.array([[b"x"]], dtype=object)}, "is object, the model takes float32"),
        ({"image": noise(1)[0]}, r"shape \[224, 224, 3\], the model takes \[-1, 224, 224, 3\]"),
        ({"image": noise(1)[..., :1]}, r"shape \[1, 224, 224, 1\]"),
        ({"image": noise(0)}, "is empty"),
    ],
)
def test_input_the_model_does_not_take_is_a_bad_request(inputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        warm().run(inputs)


def test_nan_harms_no_neighbour() -> None:
    images = noise(3)
    images[1] = np.nan
    scores = warm().run({"image": images})["probabilities"]

    np.testing.assert_allclose(scores[[0, 2]], warm().run({"image": images[[0, 2]]})["probabilities"], atol=1e-5)


def test_nan_is_an_answer_and_is_passed_on(tmp_path: Path) -> None:
    session = Session.load(toy(tmp_path, tf.math.log, ROW))
    answer = session.run({"x": np.float32([[1, -1]])})["out_0"]

    assert answer[0, 0] == 0
    assert np.isnan(answer[0, 1])


def test_larger_buckets_can_be_left_out() -> None:
    session = Session.load(packaged(), max_rows=2)

    assert session.buckets == (1, 2)
    assert session.run({"image": noise(5)})["probabilities"].shape == (5, 1000)
    session.close()


def test_progress_tells_every_bucket() -> None:
    lines: list[str] = []
    Session.load(packaged(), max_rows=2, progress=lines.append).close()

    assert lines == ["loading efficientnet-lite0 1", "warming up, batch 1", "warming up, batch 2"]


def test_declared_sides_are_warmed_and_others_are_served_too(tmp_path: Path) -> None:
    place = toy(tmp_path, tf.math.square, tf.TensorSpec((None, None, None, 1), tf.float32, name="x"), buckets=(1, 2))
    described = artefact.read(place)
    artefact.write(place, msgspec.structs.replace(described, sides=(16, 64)))
    lines: list[str] = []
    session = Session.load(place, progress=lines.append)

    assert lines[1:] == [f"warming up, batch {rows}, side {side}" for side in (16, 64) for rows in (1, 2)]
    assert (
        session.run({"x": np.full((1, 5, 7, 1), 3, np.float32)})["out_0"].tolist() == np.full((1, 5, 7, 1), 9).tolist()
    )
    session.close()


def test_failing_graph_is_told_and_the_session_serves_on(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda i: tf.gather(tf.range(10.0), i), tf.TensorSpec((None,), tf.int32, name="i"))
    session = Session.load(place)

    with pytest.raises(ModelFailed, match="99 is not in"):
        session.run({"i": np.array([1, 99], np.int32)})
    session.probe()
    assert session.run({"i": np.array([1, 9], np.int32)})["out_0"].tolist() == [1.0, 9.0]


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda a, b: (a + b, a * b), ROW, tf.TensorSpec((None, 2), tf.float32, name="y"))
    session = Session.load(place)
    a, b = np.full((3, 2), 2, np.float32), np.full((3, 2), 5, np.float32)

    answers = session.run({"y": b, "x": a})
    assert answers["out_0"].tolist() == [[7, 7]] * 3
    assert answers["out_1"].tolist() == [[10, 10]] * 3
    with pytest.raises(BadRequest, match="number of rows"):
        session.run({"x": a, "y": b[:2]})


def test_strings_are_padded_like_numbers(tmp_path: Path) -> None:
    place = toy(tmp_path, tf.strings.length, tf.TensorSpec((None,), tf.string, name="text"))
    session = Session.load(place)

    answers = session.run({"text": np.array([b"a", b"bb", b""], dtype=object)})
    assert answers["out_0"].tolist() == [1, 2, 0]


def test_model_without_batch_takes_its_one_shape(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda x: x * 2, tf.TensorSpec((2,), tf.float32, name="x"), buckets=())
    session = Session.load(place)

    assert session.run({"x": np.float32([1, 2])})["out_0"].tolist() == [2, 4]
    with pytest.raises(BadRequest, match="shape"):
        session.run({"x": np.float32([1, 2, 3])})


def test_changed_artefact_is_not_loaded(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda x: x, ROW)
    data = bytearray((place / "graph.pb").read_bytes())
    data[len(data) // 2] ^= 1
    (place / "graph.pb").write_bytes(data)

    with pytest.raises(ArtefactError, match="SHA-256"):
        Session.load(place)


def test_graph_that_tensorflow_cannot_read_is_one_clear_line(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda x: x, ROW)
    written = artefact.load(place)
    (place / "graph.pb").write_bytes(b"no graph at all")
    artefact.write(place, written)

    with pytest.raises(ArtefactError, match="cannot read the graph"):
        Session.load(place)


def test_manifest_that_names_no_tensor_of_the_graph_is_one_clear_line(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda x: x, ROW)
    path = place / "manifest.json"
    path.write_text(path.read_text().replace("out_0:0", "nothing:0"))

    with pytest.raises(ArtefactError, match="graph and manifest disagree"):
        Session.load(place)


def test_gpu_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    place = toy(tmp_path, lambda x: x, ROW)
    if tf.config.list_physical_devices("GPU"):
        assert Session.load(place, device="gpu").device == "gpu"
    else:
        assert Session.load(place, device="auto").device == "cpu"
        with pytest.raises(ArtefactError, match="TensorFlow sees none"):
            Session.load(place, device="gpu")


def test_bfloat16_where_allowed_is_near_and_finds_the_same_label(tmp_path: Path) -> None:
    original = packaged()
    for name in ("graph.pb", "labels.json"):
        shutil.copy(original / name, tmp_path / name)
    artefact.write(tmp_path, msgspec.structs.replace(artefact.load(original), precision="bfloat16"))
    images = np.concatenate([preprocessed(name) for name in ("cat.jpg", "espresso.jpg", "tripod.png")])

    exact = warm().run({"image": images})["probabilities"]
    near = Session.load(tmp_path).run({"image": images})["probabilities"]
    assert near.argmax(axis=1).tolist() == exact.argmax(axis=1).tolist()
    np.testing.assert_allclose(near, exact, atol=0.03)
    assert has_bfloat16() == bool((near != exact).any())


def test_closed_session_can_be_opened_again() -> None:
    for _ in range(2):
        session = Session.load(packaged(), max_rows=1)
        assert session.run({"image": noise(1)})["probabilities"].shape == (1, 1000)
        session.close()
