"""Every way a source can be wrong: the message says what it is and what to do."""

import re

import keras
import networks
import numpy as np
import pytest
import tensorflow as tf
from networks import PlainModule, batch, plain, plain_weights

import tfsal
from tfsal.errors import GradientError, SourceError

SPEC = tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")


def refused(match, *args, **kwargs):
    with pytest.raises(SourceError, match=re.compile(match, re.DOTALL)) as caught:
        tfsal.load(*args, **kwargs)
    assert len(str(caught.value)) < 1200 and "Traceback" not in str(caught.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Files of a SavedModel, to be damaged."""
    path = tmp_path_factory.mktemp("source") / "saved"
    module = PlainModule()
    function = module.__call__.get_concrete_function()
    tf.saved_model.save(module, str(path), signatures={"one": function, "two": function})
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def directory(saved, tmp_path):
    for name, content in saved.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture(scope="module")
def graph_def():
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 3], name="image")
        flag = tf.compat.v1.placeholder(tf.float32, [], name="is_training")
        plain(x * flag, plain_weights())
    return graph.as_graph_def()


# ---------------------------------------------------------------- SavedModels


def test_missing_path(tmp_path):
    refused("There is no model at '.*nowhere'", tmp_path / "nowhere")
    refused("There is no model at", str(tmp_path / "model.keras"))


def test_directory_without_a_model(tmp_path):
    refused("holds no saved_model.pb", tmp_path)


def test_corrupt_saved_model(directory):
    (directory / "saved_model.pb").write_bytes(b"\x99 not a protocol buffer " * 9)
    refused("cannot be read; it may be damaged", directory, signature="one")


@pytest.mark.parametrize("keep", [0, 100])
def test_truncated_saved_model(directory, saved, keep):
    path = directory / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:keep])
    refused("cannot be read|no signatures", directory, signature="one")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
@pytest.mark.parametrize("which", ["data", "index"])
def test_damaged_variables(directory, damage, which):
    (path,) = (p for p in (directory / "variables").iterdir() if which in p.name)
    content = path.read_bytes()
    path.unlink()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    refused("cannot be read; it may be damaged or incomplete", directory, signature="one")


def test_signatures(directory):
    refused("has no signature 'three'.*one, two", directory, signature="three")
    refused("has several signatures.*one, two", directory)


def test_saved_model_without_signatures(tmp_path):
    module = tf.Module()
    module.v = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path))
    refused("has no signatures.*specs=", tmp_path)


def test_the_file_instead_of_its_directory(directory):
    refused("is part of a SavedModel: give its directory", directory / "saved_model.pb")


def test_a_source_is_left_as_it_is(directory, saved):
    tfsal.load(directory, signature="one")
    found = {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    assert found == saved


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "graph.pb"])
@pytest.mark.parametrize("content", [b"", b"\x99 not a model " * 50])
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused("cannot be read as a Keras model|no GraphDef|without nodes", tmp_path / name)


def test_truncated_keras_file_is_called_damaged_first(built, tmp_path):
    built("functional").save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(content[: len(content) // 2])
    refused("as a Keras model. It may be damaged; if it has custom", tmp_path / "model.keras")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    refused("is no model file tfsal knows.*SavedModel directory", tmp_path / "model.onnx")


# ---------------------------------------------------------------- frozen graphs


@pytest.mark.parametrize("ends", [{}, {"inputs": "image:0"}, {"outputs": "probabilities:0"}])
def test_frozen_graph_needs_its_ends(graph_def, ends):
    refused("needs inputs= and outputs=.*image:0.*probabilities:0", graph_def, **ends)


@pytest.mark.parametrize(
    "inputs, outputs, match",
    [
        ("imagee:0", "probabilities", "inputs: there is no tensor 'imagee:0'.*image:0"),
        ("image", "probability", "outputs: there is no tensor 'probability:0'.*probabilities:0"),
        ("image", "probabilities:1", "outputs: there is no tensor 'probabilities:1'"),
        ("image", "probabilities", r"need the placeholder is_training.*constants=\{'is_training:0"),
    ],
)
def test_names_of_a_frozen_graph(graph_def, inputs, outputs, match):
    refused(match, graph_def, inputs=inputs, outputs=outputs)


def test_unknown_op(graph_def):
    strange = tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())
    next(n for n in strange.node if n.op == "Softplus").op = "MyVeryOwnOp"
    ends = {"inputs": "image", "outputs": "probabilities"}
    refused("MyVeryOwnOp", strange, **ends)


def test_session_without_values():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        w = tf.compat.v1.get_variable("w", [4, 2], use_resource=True)
        y = tf.matmul(x, w, name="y")
        refused("session cannot be frozen", (session, x, y))
        refused("is a tuple \\(session, inputs, outputs\\)", (session, x))
        session.run(tf.compat.v1.global_variables_initializer())
        refused("'nothing'|nothing", (session, x, "nothing:0"))


# ---------------------------------------------------------------- objects


@pytest.mark.parametrize("source", [None, 3, np.zeros(3), {"a": 1}, ("a", "b", "c")])
def test_objects_of_the_wrong_kind(source):
    refused("Cannot load a .*tfsal.load takes", source)


def test_callables():
    refused("needs specs=, such as", lambda x: x)
    refused("could not be traced", lambda x: x.no_such_thing, specs=SPEC)
    refused("returns no tensor", lambda x: None, specs=SPEC)


def test_subclassed_model_that_was_never_called():
    refused("it is subclassed and was not called yet. Give specs=", networks.Subclassed())


class Text(keras.Model):
    def __init__(self):
        super().__init__(name="text")
        self.embedding = keras.layers.Embedding(9, 4, name="words")
        self.dense = keras.layers.Dense(2)

    def call(self, ids):
        return self.dense(tf.reduce_mean(self.embedding(ids), 1))


def test_subclassed_model_of_ids_needs_its_dtype():
    model = Text()
    model(tf.zeros([2, 6], tf.int32))
    refused(r"'text' may be ids or words, which its layer 'words' reads.*\[None, 6\]", model)
    assert tfsal.load(model, specs=tf.TensorSpec([None, 6], tf.int32)).inputs["inputs"]


@pytest.mark.parametrize(
    "name, value",
    [("signature", "one"), ("inputs", "x:0"), ("outputs", "y:0"), ("constants", {"a": 1})],
)
def test_arguments_without_use(name, value, directory):
    refused("source has no use for it", plain, specs=SPEC, **{name: value})
    if name == "constants":
        refused("source has no use for it", directory, **{name: value})
    elif name != "signature":
        refused(
            "are for frozen graphs; for a SavedModel choose signature=", directory, **{name: value}
        )


# ---------------------------------------------------------------- heads with no gradient


def suppressed(p):
    boxes = tf.random.stateless_uniform([5, 4], [0, 0])
    kept = tf.raw_ops.NonMaxSuppressionV5(
        boxes=boxes,
        scores=p[0],
        max_output_size=5,
        iou_threshold=0.5,
        score_threshold=0.0,
        soft_nms_sigma=0.1,
    )
    return tf.reshape(kept.selected_scores, [1, -1])


def resized(p):
    return tf.raw_ops.ResizeArea(images=p[:, None, :, None], size=[1, 3])[:, 0, :, 0]


HEADS = {
    "ArgMax": lambda p: tf.cast(tf.argmax(p, -1), tf.float32),
    "Cast": lambda p: tf.cast(tf.cast(p * 9, tf.int32), tf.float32),
    "NonMaxSuppressionV5": suppressed,
    "ResizeArea": resized,
    "Greater": lambda p: tf.cast(p > 0.5, tf.float32),
    "Round": tf.round,
}


@pytest.mark.parametrize("op", HEADS)
def test_heads_with_no_gradient_name_the_op(op):
    def model(image):
        return HEADS[op](plain(image, plain_weights())["probabilities"])

    net, x = tfsal.load(model, specs=SPEC), batch(1, 16, 16, 3)
    assert net.as_function()(tf.constant(x))["output_0"].shape[0] == 1
    for method in (tfsal.VanillaGradient(), tfsal.GradCAM("features")):
        with pytest.raises(GradientError, match=rf"\({op}\).*not differentiable"):
            method(net, x)


def test_an_integer_output_is_refused():
    def model(image):
        return tf.cast(plain(image, plain_weights())["probabilities"] * 9, tf.int32)

    net = tfsal.load(model, specs=SPEC)
    with pytest.raises(tfsal.TfsalError, match="int32, which has no gradient"):
        tfsal.VanillaGradient()(net, batch(1, 16, 16, 3))
