"""Every kind of source becomes an artefact that answers as the source did, or is refused with one clear line."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from node.session import Session
from repository.freeze import Report, freeze
from repository.inspection import inspect
from repository.manifest import ArtefactError, Preprocessing, load
from repository.recipe import Recipe, Wanted
from repository.running import has_bfloat16

v1 = tf.compat.v1
AS_IT_SAYS = Wanted()
NOT_TRAINING = {"is_training": "false"}


def frozen(source: Path, target: Path, wanted: Wanted = AS_IT_SAYS, **more: object) -> Report:
    return freeze(Recipe(source, target, "toy", "1", wanted=wanted, **more), lambda _: None)


def keras_file(directory: Path, *layers: keras.layers.Layer) -> Path:
    keras.utils.set_random_seed(1)
    keras.Sequential([keras.Input((8, 8, 3), name="image"), *layers]).save(directory / "model.keras")
    return directory / "model.keras"


def classifier(directory: Path) -> Path:
    return keras_file(
        directory,
        keras.layers.Conv2D(4, 3, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(0.5),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax", name="scores"),
    )


class Doubler(tf.Module):
    """A TensorFlow 2 model with a variable and two signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"doubled": x * self.factor, "sum": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def halve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"halved": x / self.factor}


def saved_model(directory: Path) -> Path:
    model = Doubler()
    tf.saved_model.save(model, str(directory / "saved"), {"serving_default": model.double, "half": model.halve})
    return directory / "saved"


def old_graph(save: Callable[[v1.Session, tf.Tensor, tf.Tensor], None]) -> None:
    """A TensorFlow 1 network: old and new variables, fused normalisation, dropout behind a placeholder, training."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        image = v1.placeholder(tf.float32, (None, 8, 8, 3), name="image")
        training = v1.placeholder(tf.bool, (), name="is_training")
        kernel = v1.get_variable("kernel", (3, 3, 3, 4), use_resource=False)
        depthwise = v1.get_variable("depthwise", (3, 3, 4, 1), use_resource=True)
        ones = [tf.constant(value, tf.float32, (4,)) for value in (1.5, 0.1, 0.2, 0.9)]
        x = v1.nn.fused_batch_norm(tf.nn.conv2d(image, kernel, 1, "SAME"), *ones, is_training=False)[0]
        x = tf.nn.depthwise_conv2d(tf.nn.relu(x), depthwise, (1, 1, 1, 1), "SAME")
        x = tf.nn.relu(v1.nn.fused_batch_norm(x, *ones, is_training=False)[0], name="features")
        x = v1.cond(training, lambda: v1.nn.dropout(x, rate=0.5), lambda: x)
        scores = tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)), name="head/scores")
        with tf.control_dependencies([v1.assert_non_negative(scores)]):
            loss = v1.losses.mean_squared_error(tf.zeros((1, 4)), scores)
        v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        session.run(v1.global_variables_initializer())
        save(session, image, scores)


def checkpoint(directory: Path) -> Path:
    old_graph(lambda session, *_: v1.train.Saver().save(session, str(directory / "model.ckpt")))
    return directory / "model.ckpt.meta"


def old_saved_model(directory: Path) -> Path:
    def save(session: v1.Session, image: tf.Tensor, scores: tf.Tensor) -> None:
        v1.saved_model.simple_save(session, str(directory / "old"), {"picture": image}, {"probabilities": scores})

    old_graph(save)
    return directory / "old"


def graph_file(directory: Path, build: Callable[[], object]) -> Path:
    with tf.Graph().as_default() as graph:
        build()
    (directory / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return directory / "graph.pb"


def operations(target: Path) -> list[str]:
    return [node.op for node in v1.GraphDef.FromString((target / "graph.pb").read_bytes()).node]


def test_keras_file_answers_as_the_model_did(tmp_path: Path) -> None:
    source = classifier(tmp_path)
    report = frozen(source, tmp_path / "toy" / "1", labels=labels(tmp_path, "a", "b", "c"))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)

    assert [spec.name for spec in report.manifest.inputs] == ["image"]
    assert [spec.name for spec in report.manifest.outputs] == ["scores"]
    assert report.verdict.same_top == "4 of 4"
    answer = Session.load(tmp_path / "toy" / "1").run({"image": images})["scores"]
    np.testing.assert_allclose(answer, keras.models.load_model(source).predict(images, verbose=0), atol=1e-5)
    assert not {"ReadVariableOp", "VarHandleOp", "RandomUniform"} & set(operations(tmp_path / "toy" / "1"))


def labels(directory: Path, *names: str) -> Path:
    (directory / "labels.txt").write_text("\n".join(names) + "\n")
    return directory / "labels.txt"


def test_saved_model_keeps_the_names_of_its_signature(tmp_path: Path) -> None:
    frozen(saved_model(tmp_path), tmp_path / "out")
    answers = Session.load(tmp_path / "out").run({"x": np.float32([[1, 2], [3, 4]])})

    assert answers["doubled"].tolist() == [[2, 4], [6, 8]]
    assert answers["sum"].tolist() == [3, 7]


def test_other_signature_and_fewer_outputs_can_be_named(tmp_path: Path) -> None:
    source = saved_model(tmp_path)
    frozen(source, tmp_path / "half", Wanted(signature="half"))
    frozen(source, tmp_path / "sum", Wanted(outputs=("total=sum",)))
    x = {"x": np.float32([[1, 2]])}

    assert Session.load(tmp_path / "half").run(x)["halved"].tolist() == [[0.5, 1]]
    assert Session.load(tmp_path / "sum").run(x)["total"].tolist() == [3]


def test_checkpoint_is_frozen_without_what_served_training(tmp_path: Path) -> None:
    report = frozen(
        checkpoint(tmp_path), tmp_path / "out", Wanted(outputs=("scores=head/scores",), constants=NOT_TRAINING)
    )

    assert [spec.name for spec in report.manifest.inputs] == ["image"]
    assert [spec.name for spec in report.manifest.outputs] == ["scores"]
    gone = {"Assert", "FusedBatchNormV3", "If", "RandomUniform", "Switch", "ResourceApplyGradientDescent"}
    assert not gone & set(operations(tmp_path / "out"))
    assert Session.load(tmp_path / "out").run({"image": np.zeros((3, 8, 8, 3), np.float32)})["scores"].shape == (3, 4)


def test_old_saved_model_is_frozen_by_its_signature(tmp_path: Path) -> None:
    report = frozen(old_saved_model(tmp_path), tmp_path / "out", Wanted(constants=NOT_TRAINING))

    assert [spec.name for spec in report.manifest.inputs] == ["picture"]
    assert [spec.name for spec in report.manifest.outputs] == ["probabilities"]


def test_inner_nodes_can_be_inputs_and_outputs(tmp_path: Path) -> None:
    wanted = Wanted(inputs=("features",), outputs=("head/scores",), constants=NOT_TRAINING)
    report = frozen(checkpoint(tmp_path), tmp_path / "out", wanted)

    assert [(spec.name, spec.shape) for spec in report.manifest.inputs] == [("features", (None, 8, 8, 4))]
    assert "Conv2D" not in operations(tmp_path / "out")


def test_frozen_graph_is_frozen_again_and_its_only_output_is_guessed(tmp_path: Path) -> None:
    source = graph_file(tmp_path, lambda: tf.nn.relu(v1.placeholder(tf.float32, (None, 2), name="x"), name="y"))
    report = frozen(source, tmp_path / "out")

    assert report.manifest.batch_buckets == (1, 2, 4, 8)
    assert Session.load(tmp_path / "out").run({"x": np.float32([[-1, 1]])})["y"].tolist() == [[0, 1]]


def test_two_freezes_are_one_file(tmp_path: Path) -> None:
    source = checkpoint(tmp_path)
    wanted = Wanted(outputs=("head/scores",), constants=NOT_TRAINING)
    first = frozen(source, tmp_path / "a", wanted).manifest.files["graph.pb"]

    assert frozen(source, tmp_path / "b", wanted).manifest.files["graph.pb"] == first


def test_pictures_are_compared_after_the_preprocessing_that_the_manifest_states(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    steps = Preprocessing("", 8, 8, "crop", 0.875, "bicubic", (0, 0, 0), (255, 255, 255))
    report = frozen(classifier(tmp_path), tmp_path / "out", preprocessing=steps, images=(tmp_path / "red.png",))

    assert report.verdict.what == "1 photographs"
    written = load(tmp_path / "out").preprocessing
    assert written is not None
    assert (written.input, written.layout) == ("image", "NHWC")


def test_free_picture_size_is_fixed_to_the_one_that_will_be_served(tmp_path: Path) -> None:
    source = graph_file(
        tmp_path, lambda: tf.reduce_mean(v1.placeholder(tf.float32, (None, None, None, 3), name="x"), (1, 2), name="y")
    )
    steps = Preprocessing("x", 16, 24, "stretch", 1, "bilinear", (0, 0, 0), (1, 1, 1))

    assert frozen(source, tmp_path / "out", preprocessing=steps).manifest.inputs[0].shape == (None, 16, 24, 3)


def test_rows_that_change_each_other_get_no_batch(tmp_path: Path) -> None:
    def centre() -> tf.Tensor:
        x = v1.placeholder(tf.float32, (None, 2), name="x")
        return tf.subtract(x, tf.reduce_mean(x, axis=0), name="y")

    source = graph_file(tmp_path, centre)

    assert frozen(source, tmp_path / "out").manifest.batch_buckets == ()
    with pytest.raises(ArtefactError, match="rows of one batch change each other's answers"):
        frozen(source, tmp_path / "other", buckets=(1, 2))


def test_graph_of_one_fixed_batch_is_served_without_batching(tmp_path: Path) -> None:
    source = graph_file(tmp_path, lambda: tf.nn.relu(v1.placeholder(tf.float32, (1, 2), name="x"), name="y"))

    assert frozen(source, tmp_path / "out").manifest.batch_buckets == ()
    with pytest.raises(ArtefactError, match="no free batch"):
        frozen(source, tmp_path / "other", buckets=(2,))


def test_bfloat16_is_allowed_only_where_it_was_checked(tmp_path: Path) -> None:
    source = classifier(tmp_path)
    if has_bfloat16():
        assert frozen(source, tmp_path / "out", precision="bfloat16").manifest.precision == "bfloat16"
    else:
        with pytest.raises(ArtefactError, match="no bfloat16"):
            frozen(source, tmp_path / "out", precision="bfloat16")


def test_existing_version_is_never_changed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with pytest.raises(ArtefactError, match="exists already"):
        frozen(saved_model(tmp_path), tmp_path / "out")


def test_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="2 labels for 3 values"):
        frozen(classifier(tmp_path), tmp_path / "models" / "toy" / "1", labels=labels(tmp_path, "a", "b"))

    assert list((tmp_path / "models" / "toy").iterdir()) == []


def test_source_left_in_training_mode_is_refused(tmp_path: Path) -> None:
    wanted = Wanted(outputs=("head/scores",), constants={"is_training": "true"})

    with pytest.raises(ArtefactError, match="differently each time"):
        frozen(checkpoint(tmp_path), tmp_path / "out", wanted)


def test_forgotten_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"also need is_training \(bool\).*--set"):
        frozen(checkpoint(tmp_path), tmp_path / "out", Wanted(inputs=("image",), outputs=("head/scores",)))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(outputs=("head/score",)), r"no output or node 'head/score'; near: head/scores"),
        (Wanted(inputs=("imagee",)), r"no input or node 'imagee'; near: image"),
        (Wanted(signature="serve"), r"no signature 'serve'; near: serving_default"),
        (Wanted(constants={"is_train": "false"}), r"no placeholder has this name; near: is_training"),
        (Wanted(constants={"is_training": "maybe"}), r"--set is_training=maybe"),
    ],
)
def test_missing_name_suggests_near_ones(tmp_path: Path, wanted: Wanted, words: str) -> None:
    with pytest.raises(ArtefactError, match=words):
        frozen(old_saved_model(tmp_path), tmp_path / "out", wanted)


def test_python_function_in_a_graph_is_refused(tmp_path: Path) -> None:
    def build() -> None:
        x = v1.placeholder(tf.float32, (None,), name="x")
        tf.ensure_shape(v1.py_func(lambda value: value, [x], tf.float32), (None,), name="y")

    source = graph_file(tmp_path, build)

    with pytest.raises(ArtefactError, match="calls Python functions"):
        frozen(source, tmp_path / "out")
    with pytest.raises(ArtefactError, match="needs Python functions between"):
        frozen(source, tmp_path / "out", Wanted(trust=True, outputs=("y",), inputs=("x",)))
    assert "PyFunc" in inspect(source).refusal


def test_file_operation_in_a_graph_is_refused(tmp_path: Path) -> None:
    source = graph_file(tmp_path, lambda: tf.io.read_file(v1.placeholder(tf.string, (), name="x"), name="y"))

    with pytest.raises(ArtefactError, match=r"reads or writes files.*ReadFile \(y\)"):
        frozen(source, tmp_path / "out")


def test_unknown_operation_is_named(tmp_path: Path) -> None:
    source = graph_file(tmp_path, lambda: tf.nn.relu(v1.placeholder(tf.float32, (None, 2), name="x"), name="y"))
    source.write_bytes(source.read_bytes().replace(b"Relu", b"Rulu"))

    with pytest.raises(ArtefactError, match=r"TensorFlow does not have: Rulu \(y\)"):
        frozen(source, tmp_path / "out")
    assert [node.op for node in inspect(source).nodes] == ["Placeholder", "Rulu"]


def test_lambda_layer_needs_trust(tmp_path: Path) -> None:
    source = keras_file(tmp_path, keras.layers.Lambda(lambda x: x * 2, name="twice"))

    with pytest.raises(ArtefactError, match="Python code in Lambda layers: twice"):
        frozen(source, tmp_path / "out")
    frozen(source, tmp_path / "out", Wanted(trust=True))
    image = np.ones((1, 8, 8, 3), np.float32)
    assert Session.load(tmp_path / "out").run({"image": image})["twice"].max() == 2


@pytest.mark.parametrize("name", ["x.keras", "x.h5", "x.meta", "x.pb", "x.onnx", "saved_model.pb"])
def test_garbage_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x0a\xff garbage")

    with pytest.raises(ArtefactError) as caught:
        frozen(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_inspection_guesses_inputs_and_outputs_and_knows_sizes(tmp_path: Path) -> None:
    found = inspect(checkpoint(tmp_path))

    assert found.inputs == ["image", "is_training"]
    assert found.outputs == ["head/scores"]
    assert {node.name: node.shape for node in found.nodes}["features"] == "[?, 8, 8, 4]"
    assert inspect(saved_model(tmp_path)).signatures["serving_default"][0] == {"x": "serving_default_x:0"}
