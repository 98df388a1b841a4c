"""Every kind of source gives the numbers of an eager GradientTape, and is left as it was."""

import json
import warnings

import keras
import networks
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from everywhere import check_everywhere, check_plain, some_daily
from networks import FAMILIES, MIDDLES, PlainModule, batch, inputs_of, plain, plain_weights
from reference import (
    assert_same,
    differentiate,
    error,
    keras_answer,
    keras_run,
    tfsal_answer,
)
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tfsal

CLASS_INDEX = [0, -1, 1]
SPEC = tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")
FILES = ["functional", "sequential", "nested", "grouped", "vit", "two inputs", "lstm"]
TF_KERAS = ["tf_keras", "tf_keras sequential", "tf_keras nested", "tf_keras lstm"]

pytestmark = pytest.mark.filterwarnings("ignore:Part of the score")


def snapshot(model, inputs):
    """Weights, configuration and predictions, comparable bit by bit."""
    feed = inputs[0] if len(inputs) == 1 else inputs
    outputs = tf.nest.flatten(model(feed, training=False))
    arrays = [*model.get_weights(), *(y.numpy() for y in outputs)]
    config = "" if type(model).__name__ == "Subclassed" else json.dumps(model.get_config())
    return [a.tobytes() for a in arrays], config, sorted(vars(model))


def check_keras(model, source, **load):
    """Compares every method on `tfsal.load(source)` with the Keras model it was made of."""
    before = snapshot(model, inputs_of(model))
    net = tfsal.load(source, **load)
    fixed = next(iter(net.inputs.values())).shape[0]
    inputs, classes = inputs_of(model, fixed or 3), CLASS_INDEX[:fixed]
    reference = keras_answer(model, inputs, classes)
    # Its loop keeps gradients in lists of a size that XLA cannot know.
    xla = not any(type(layer) is tf_keras.layers.LSTM for layer in model._flatten_layers())
    check_everywhere(net, inputs, classes, reference, xla=xla)
    assert snapshot(model, inputs_of(model)) == before


# Of a SavedModel every day.
EXPORTED_DAILY = {"subclassed", "3-D", "nested", "grouped", "two inputs", "lstm", "tf_keras"}
LIVE_DAILY = FAMILIES.keys() - {
    *("sequential", "grouped", "vit", "lstm", "nested"),
    *("tf_keras sequential", "tf_keras nested", "tf_keras lstm"),
}


@pytest.mark.parametrize("family", some_daily(FAMILIES, LIVE_DAILY))
def test_live_keras_model(built, family):
    check_keras(built(family), built(family))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("family", some_daily(FILES + TF_KERAS, {"functional", "tf_keras"}))
def test_keras_file(built, family, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras: HDF5 is a legacy format.
        built(family).save(path)
    check_keras(built(family), path)


EXPORTED = ["subclassed", "vit, class token", "1-D", "3-D", *FILES, *TF_KERAS]


@pytest.mark.parametrize("family", some_daily(EXPORTED, EXPORTED_DAILY))
def test_model_export(built, family, tmp_path):
    built(family).export(str(tmp_path / "saved"), **({} if "tf_" in family else {"verbose": False}))
    check_keras(built(family), tmp_path / "saved")


FROZEN = ["functional", "1-D", "3-D", "vit", "two inputs", "lstm"]


@pytest.mark.parametrize("family", some_daily(FROZEN, {"functional", "two inputs"}))
def test_frozen_model(built, family):
    model = built(family)
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype, x.name) for x in model.inputs]
    function = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x), training=False))
    # Loops of TensorFlow 1, which lowering makes, have no gradient here.
    concrete = function.get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    outputs = [t.op.inputs[0].name for t in frozen.outputs]
    inputs = [t.name for t in frozen.inputs]
    graph = frozen.graph.as_graph_def()
    check_keras(model, graph, inputs=inputs, outputs=outputs)


SAVED = ["functional", "subclassed", "nested", "lstm", *TF_KERAS]


@pytest.mark.parametrize("family", some_daily(SAVED, {"subclassed", "tf_keras"}))
def test_saved_model_save(built, family, tmp_path):
    tf.saved_model.save(built(family), str(tmp_path / "saved"))
    check_keras(built(family), tmp_path / "saved", signature="serving_default")


def test_tf_keras_save_with_a_signature_name(built, tmp_path):
    model = built("tf_keras")
    signature = tf.function(lambda image: {"probabilities": model(image)}, input_signature=[SPEC])
    model.save(str(tmp_path / "saved"), signatures={"classify": signature})
    check_keras(model, tmp_path / "saved", signature="classify")
    assert list(tfsal.load(tmp_path / "saved").outputs) == ["probabilities"]  # It is the only one.


def test_mixed_precision_is_near_float32(built, tmp_path):
    model, half = built("residual"), networks.mixed()
    half.set_weights(model.get_weights())
    inputs = inputs_of(model)
    reference = keras_answer(model, inputs, CLASS_INDEX)
    half.export(str(tmp_path / "saved"), verbose=False)
    for source in (half, tmp_path / "saved"):
        net = tfsal.load(source)
        assert net.tensor(net.resolve("features")).dtype == tf.float16
        assert_same(tfsal_answer(net, inputs, CLASS_INDEX), reference, 1e-2)
        check_everywhere(net, inputs, CLASS_INDEX, reference, tolerance=1e-2)


def test_one_logit_scores_both_classes(built):
    model = built("one logit")
    net, x = tfsal.load(model), inputs_of(model)
    z = keras_answer(model, x, [1, 1, 1]).score
    explained = tfsal.VanillaGradient().explain(net, x[0], -1)
    assert error(explained.score, np.abs(z)) < 1e-5
    assert list(explained.class_index) == list((z > 0).astype(int))


@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dense_output(exported, tmp_path):
    model = networks.unet()
    if exported:
        model.export(str(tmp_path / "saved"), verbose=False)
    net, (x,) = tfsal.load(tmp_path / "saved" if exported else model), inputs_of(model)
    region = np.zeros([3, 16, 16], "float32")
    region[:, 4:9, 2:12] = 1
    run = keras_run(model, "features", "predictions")

    def run_region(tensors):
        features, logits = run(tensors)
        return features, tf.reduce_sum(logits * region[..., None], [1, 2])

    reference = differentiate(run_region, [x], CLASS_INDEX)
    target = tfsal.RegionScore()
    with pytest.warns(UserWarning, match="Part of the score does not run through"):
        check_everywhere(net, [x], CLASS_INDEX, reference, target=target, region=region)


# ---------------------------------------------------------------- plain TensorFlow


# XLA knows no end of them, and so keeps no gradients; that of map_fn it knows.
LOOPS = {"while", "calls"}


@pytest.mark.parametrize("middle", some_daily(MIDDLES, {"cond", "while"}))
def test_module_live_and_saved(middle, tmp_path):
    module = PlainModule(MIDDLES[middle])
    concrete = module.__call__.get_concrete_function()
    xla = middle not in LOOPS
    check_plain(lambda: tfsal.load(concrete), module.middle, xla)
    signatures = {"classify": concrete, "logits": concrete}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    check_plain(lambda: tfsal.load(str(tmp_path), signature="classify"), module.middle, xla)


MODULE = PlainModule()


def probabilities(image):
    return plain(image, plain_weights())["probabilities"]


def from_list(image):
    return {"p": probabilities(image)}


def from_dict(inputs):
    return probabilities(inputs["image"])


CALLABLES = {
    "callable": (probabilities, SPEC),
    "tf.function": (tf.function(probabilities), SPEC),
    "list": (from_list, [SPEC]),
    "dict": (from_dict, {"image": SPEC}),
    "module": (MODULE, SPEC),
    "input_signature": (MODULE.__call__, None),
}


@pytest.mark.parametrize("kind", some_daily(CALLABLES, {"dict", "input_signature"}))
def test_callable(kind):
    function, specs = CALLABLES[kind]
    net = check_plain(lambda: tfsal.load(function, specs=specs))
    assert list(net.inputs) == ["image"] and len(net.outputs) == 1


def test_specs_of_a_keras_model_choose_its_shapes():
    model = networks.Subclassed()
    net = tfsal.load(model, specs=SPEC)
    assert net.inputs["image"].shape.as_list() == [None, 16, 16, 3]


def test_integer_keys_of_outputs():
    net = tfsal.load(lambda x: {1: x * 2.0, 0: tf.tanh(x)}, specs=tf.TensorSpec([None, 4]))
    assert list(net.outputs) == ["0", "1"]
    assert net.outputs["0"].op == "Identity" and "Tanh" in {x.op for x in net.layers()}
    np.testing.assert_array_equal(net.as_function()(tf.ones([1, 4]))["1"], [[2.0] * 4])


def test_a_model_graph_is_returned_as_it_is(tmp_path):
    net = tfsal.load(probabilities, specs=SPEC)
    assert tfsal.load(net) is net and net.path is None
    assert repr(net) == "<ModelGraph of the function 'probabilities': image -> output_0>"


# ---------------------------------------------------------------- preprocessing, tables


def test_normalization_layer():
    image = keras.layers.Input([16, 16, 3], name="image")
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(batch(8, 16, 16, 3) * 3 + 1)
    h = keras.layers.Conv2D(6, 3, activation="softplus", name="features")(scale(image))
    h = keras.layers.Dense(5, name="predictions")(keras.layers.Flatten()(keras.ops.tanh(h)))
    model = keras.Model(image, h)
    check_keras(model, model)


def with_words():
    """An image and a word, which a table turns into an index."""
    image = keras.layers.Input([16, 16, 3], name="image")
    word = keras.layers.Input([1], dtype="string", name="word")
    index = keras.layers.StringLookup(vocabulary=["day", "night"], name="lookup")(word)
    context = keras.layers.Flatten()(keras.layers.Embedding(3, 4, name="embedding")(index))
    h = keras.layers.Conv2D(6, 3, activation="softplus", name="features")(image)
    h = keras.layers.Concatenate()([keras.layers.Flatten()(keras.ops.tanh(h)), context])
    h = keras.layers.Dense(5, activation="softmax", name="predictions")(h)
    return networks.perturb(keras.Model([image, word], h))


@pytest.mark.parametrize("source", ["live", "exported"])
def test_string_lookup(source, tmp_path):
    model, x = with_words(), batch(3, 16, 16, 3)
    words = np.array([["night"], ["dusk"], ["day"]], "S")
    index = model.get_layer("lookup")(words)
    head = model.get_layer("predictions")

    def run(tensors):
        features = model.get_layer("features")(tensors[0])
        context = model.get_layer("embedding")(index)
        h = tf.concat([tf.reshape(tf.tanh(features), [3, -1]), context[:, 0]], 1)
        return features, h @ head.kernel.value + head.bias.value

    reference = differentiate(run, [x], CLASS_INDEX)
    if source == "exported":
        model.export(str(tmp_path / "saved"), verbose=False)
    net = tfsal.load(model if source == "live" else tmp_path / "saved")
    image, word = sorted(net.inputs, key=lambda k: net.inputs[k].dtype == tf.string)
    feeds = {image: x, word: words}
    # XLA has no strings.
    check_everywhere(net, feeds, CLASS_INDEX, reference, xla=False)


def test_saved_model_with_a_hash_table(tmp_path):
    class WithTable(PlainModule):
        def __init__(self):
            super().__init__()
            pairs = tf.lookup.KeyValueTensorInitializer([0, 1], [2.0, 3.0])
            self.table = tf.lookup.StaticHashTable(pairs, -1.0)
            self.middle = lambda h: h * self.table.lookup(tf.constant(1))

    module = WithTable()
    concrete = module.__call__.get_concrete_function()
    tf.saved_model.save(module, str(tmp_path), signatures=concrete)
    for source in (concrete, tmp_path):
        check_plain(lambda source=source: tfsal.load(source), lambda h: h * 3.0, xla=False)
