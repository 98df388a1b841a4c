"""Models and values at the edges, where a wrong answer would look like a right one."""

import numpy as np
import oracles
import pytest
import tensorflow as tf

import tfsal
from tfsal import ClassScore, GradCAM, GraphScore, RegionScore, VanillaGradient, visualize
from tfsal.errors import InputError, LayerError, MethodError, TargetError


def spec(*shape, name, dtype=tf.float32):
    return tf.TensorSpec([None, *shape], dtype, name)


# ---------------------------------------------------------------- which input a map is laid over


def test_a_map_lies_over_the_input_it_has_the_rank_of():
    kernel = oracles.draw(3, 2, 5)

    def film(inputs):
        h = tf.nn.conv1d(inputs["signal"] * inputs["a_meta"][:, None, :2], kernel, 1, "SAME")
        return tf.reduce_mean(tf.nn.softplus(h), 1)

    specs = {"a_meta": spec(4, name="a_meta"), "signal": spec(40, 2, name="signal")}
    net = tfsal.load(film, specs=specs)
    x = {"a_meta": oracles.draw(2, 4), "signal": oracles.draw(2, 40, 2)}
    assert GradCAM().explain(net, x, 0).heatmap.shape == (2, 40)


def test_a_map_over_one_of_several_inputs():
    kernel = oracles.draw(3, 3, 3, 5)

    def both(inputs):
        h = tf.nn.softplus(tf.nn.conv2d(inputs["image"], kernel, 1, "SAME"))
        h = h * tf.reduce_mean(inputs["audio"], [1, 2])[:, None, None, None]
        return tf.reduce_mean(h, [1, 2])

    specs = {"audio": spec(20, 10, name="audio"), "image": spec(16, 12, 3, name="image")}
    net = tfsal.load(both, specs=specs)
    x = {"audio": oracles.draw(2, 20, 10), "image": oracles.draw(2, 16, 12, 3)}
    assert GradCAM().explain(net, x, 0).heatmap.shape == (2, 16, 12)


def test_an_input_without_rows_of_its_own():
    def scaled(inputs):
        return tf.reduce_sum(inputs["image"] ** 2 * inputs["scale"], [1, 2])

    specs = {"image": spec(8, 8, 3, name="image"), "scale": tf.TensorSpec([3], name="scale")}
    net = tfsal.load(scaled, specs=specs)
    for count in (1, 2):
        x = {"image": oracles.draw(count, 8, 8, 3), "scale": np.ones(3, "f4")}
        answer = VanillaGradient().explain(net, x, 1)
        assert answer.score.shape == (count,)
        expected = np.zeros((count, 8, 8, 3))
        expected[..., 1] = 2 * x["image"][..., 1]
        np.testing.assert_allclose(answer.attribution, expected, rtol=1e-6)


# ---------------------------------------------------------------- probabilities


def test_a_region_of_probabilities():
    """A pixel of 0.1 is no evidence for class 1, however many there are."""

    def segment(x):
        return tf.sigmoid(tf.reduce_mean(x, -1, keepdims=True) - 2.2)

    net = tfsal.load(segment, specs=spec(16, 16, 3, name="x"))
    x = np.zeros((1, 16, 16, 3), "f4")
    p = 1 / (1 + np.exp(2.2))
    for logits in (True, False):
        answer = VanillaGradient(target=RegionScore(logits=logits)).explain(net, x)
        assert int(answer.class_index[0]) == 0
    assert float(answer.score[0]) == pytest.approx(256 * (1 - p), rel=1e-4)


@pytest.mark.parametrize(
    "head",
    [
        lambda z: tf.nn.softmax(tf.concat([-z, z], -1))[:, 1],
        lambda z: tf.sigmoid(z) * 0.98 + 0.01,
        lambda z: tf.clip_by_value(tf.sigmoid(z), 1e-3, 1 - 1e-3),
    ],
    ids=["one of a softmax", "rescaled sigmoid", "clipped sigmoid"],
)
def test_top_1_of_a_probability_that_is_no_plain_sigmoid(head):
    weights = oracles.draw(6, 1)
    net = tfsal.load(lambda x: head(x @ weights), specs=spec(6, name="x"))
    x = oracles.draw(5, 6, seed=4)
    z = (x @ weights)[:, 0]
    answer = VanillaGradient().explain(net, x)
    assert z.min() < 0 < z.max()
    np.testing.assert_array_equal(answer.class_index, (z > 0).astype(int))
    assert np.all(answer.score.numpy() > 0.5)


def test_a_loss_over_one_probability_knows_its_two_classes():
    weights = oracles.draw(6, 1)
    net = tfsal.load(lambda x: {"p": tf.sigmoid(x @ weights)}, specs=spec(6, name="x"))

    def loss(outputs, class_index):
        label = tf.cast(class_index, tf.float32)[:, None]
        return tf.keras.losses.binary_crossentropy(label, outputs["p"])

    method = VanillaGradient(target=GraphScore(loss))
    x = oracles.draw(5, 6, seed=4)
    np.testing.assert_array_equal(
        method.explain(net, x).class_index, ((x @ weights)[:, 0] > 0).astype(int)
    )
    with pytest.raises(InputError, match="from 0 to 1"):
        method(net, x, 99)


@pytest.mark.parametrize("fn", [lambda outputs: outputs["p"], lambda o, c: o["nope"][:, 0]])
def test_a_score_function_that_fails_says_how_it_is_called(fn):
    net = tfsal.load(lambda x: {"p": x * 2}, specs=spec(6, name="x"))
    with pytest.raises(TargetError, match=r"called with \(\{p\}, class_index\)"):
        VanillaGradient(target=GraphScore(fn))(net, oracles.draw(1, 6))


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("size", [1e-5, 1.0, 30.0, 300.0])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_float16_gradients_of_any_size(size, jit_compile):
    def half(x):
        return tf.cast(tf.cast(x, tf.float16) * tf.constant(size, tf.float16), tf.float32)

    net = tfsal.load(half, specs=spec(3, name="x"))
    x = np.array([[0.1, 0.2, 0.3], [np.inf, 0.1, 0.1], [0.3, 0.2, 0.1]], "f4")
    good = VanillaGradient()(net, x[::2], 1, jit_compile=jit_compile)
    expected = np.zeros((2, 3))
    expected[:, 1] = np.float16(size)
    np.testing.assert_allclose(good, expected, rtol=1e-3)


def test_an_infinite_input_has_no_answer():
    net = tfsal.load(lambda x: x - tf.reduce_sum(x, -1, keepdims=True), specs=spec(3, name="x"))
    with pytest.raises(InputError, match="its score is NaN"):
        VanillaGradient()(net, np.array([[1, 2, 3], [np.inf, 1, 1]], "f4"), 0)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(tf.uint8, 300), (tf.uint8, -1), (tf.float32, 1e300), (tf.float16, 1e6)],
)
def test_a_value_that_the_dtype_cannot_hold(dtype, value):
    net = tfsal.load(
        lambda x: tf.nn.softplus(tf.cast(x, tf.float32)), specs=spec(2, name="x", dtype=dtype)
    )
    with pytest.raises(InputError, match=f"beyond the {dtype.name}"):
        GradCAM()(net, np.array([[0, value]]))


def test_a_sparse_map_does_not_vanish():
    attribution = np.zeros((2, 100, 100, 1), "f4")
    attribution[0, 3, :50] = 5
    attribution[0, 4, 0] = -5
    for show, low, zero in ((visualize.grayscale, 1, 0), (visualize.diverging, 0, 0.5)):
        maps = show(attribution).numpy()
        assert maps[0, 3, 7] == 1 and maps[0, 4, 0] == low
        assert (maps[1] == zero).all()


def test_an_empty_batch_of_a_model_with_a_constant_output():
    net = tfsal.load(lambda x: {"p": x * 2, "t": tf.constant(3.0)}, specs=spec(4, name="x"))
    method = VanillaGradient(target=ClassScore("p"))
    answer = method.explain(net, np.zeros((0, 4), "f4"))
    assert answer.outputs["p"].shape == (0, 4) and float(answer.outputs["t"]) == 3


def test_an_output_of_unknown_rank():
    def strange(x):
        return tf.py_function(lambda v: v * 2, [x], tf.float32)

    net = tfsal.load(strange, specs=spec(5, name="x"))
    answer = VanillaGradient().explain(net, np.eye(5, dtype="f4"), 4)
    np.testing.assert_allclose(answer.score, [0, 0, 0, 0, 2])


# ---------------------------------------------------------------- hyperparameters and layers


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (GradCAM, {"relu": "off"}),
        (GradCAM, {"layer": 3}),
        (GradCAM, {"token_grid": 14}),
        (GradCAM, {"token_grid": ("a", "b")}),
        (GradCAM, {"token_grid": (2, 2), "skip_tokens": 1.5}),
        (GradCAM, {"target": "class"}),
        (VanillaGradient, {"inputs": 3}),
    ],
)
def test_a_hyperparameter_of_the_wrong_type(method, options):
    with pytest.raises(MethodError, match=f"{list(options)[-1]}=.* is not of type"):
        method(**options)


def test_a_list_is_as_good_as_a_tuple():
    assert GradCAM(token_grid=[2, 3]) == GradCAM(token_grid=(2, 3))
    assert hash(VanillaGradient(inputs=["x"])) == hash(VanillaGradient("x"))


def test_channels_first_is_not_read_as_channels_last():
    kernel = oracles.draw(3, 3, 3, 4)

    def first(x):
        h = tf.nn.conv2d(x, kernel, 1, "SAME", data_format="NCHW", name="conv")
        return tf.reduce_mean(tf.nn.softplus(h), [2, 3])

    net = tfsal.load(first, specs=spec(3, 24, 32, name="x"))
    with pytest.raises(LayerError, match="channels"):
        GradCAM(layer="conv")(net, oracles.draw(1, 3, 24, 32))
    assert VanillaGradient().explain(net, oracles.draw(2, 3, 24, 32)).heatmap.shape == (2, 24, 32)


def test_channels_first_input_of_a_channels_last_model():
    kernel = oracles.draw(3, 3, 3, 4)

    def converted(x):
        h = tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]), kernel, 1, "SAME")
        return tf.reduce_mean(tf.nn.softplus(h), [1, 2])

    net = tfsal.load(converted, specs=spec(3, 24, 32, name="x"))
    answer = GradCAM().explain(net, oracles.draw(2, 3, 24, 32))
    assert answer.attribution.shape == answer.heatmap.shape == (2, 24, 32)
