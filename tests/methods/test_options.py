"""Every option changes the result; layers, inputs and tokens that do not fit are refused."""

import warnings

import networks
import numpy as np
import pytest
import tensorflow as tf
from reference import error, keras_answer

import tfsal
from tfsal import GradCAM, GradientTimesInput, HiResCAM, LayerCAM, VanillaGradient
from tfsal.errors import GradientError, InputError, LayerError, MethodError


@pytest.fixture(scope="module")
def cnn(built):
    return tfsal.load(built("functional"))


@pytest.fixture(scope="module")
def vit(built):
    return tfsal.load(built("vit, class token"))


@pytest.fixture(scope="module")
def two(built):
    return tfsal.load(built("two inputs"))


IMAGES = networks.batch(2, 16, 16, 3)
FEEDS = {"image": IMAGES, "meta": np.linspace(-1, 1, 8, dtype="float32").reshape(2, 4)}
AGE = tfsal.ClassScore("age")


# ---------------------------------------------------------------- class activation maps


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM, LayerCAM])
def test_relu_is_applied_to_the_attribution(cnn, kind):
    raw = kind(layer="conv2d_1", relu=False)(cnn, IMAGES, 0).numpy()
    kept = kind(layer="conv2d_1", relu=True)(cnn, IMAGES, 0).numpy()
    if kind is not LayerCAM:  # Its terms are positive after a ReLU.
        assert raw.min() < 0
    np.testing.assert_array_equal(kept, np.maximum(raw, 0))


def test_relu_defaults_are_the_papers():
    assert GradCAM().relu and LayerCAM().relu and not HiResCAM().relu


def test_the_layer_sets_the_resolution(cnn):
    shapes = {
        layer: GradCAM(layer=layer)(cnn, IMAGES, 0).shape.as_list()[1:]
        for layer in ("conv2d", "swish", "pool", "conv2d_2", "features")
    }
    assert shapes == {
        "conv2d": [16, 16],
        "swish": [16, 16],
        "pool": [8, 8],
        "conv2d_2": [8, 8],
        "features": [6, 6],
    }
    default = GradCAM()(cnn, IMAGES, 0)
    np.testing.assert_array_equal(default, GradCAM(layer=cnn.default_layer)(cnn, IMAGES, 0))
    np.testing.assert_array_equal(default, GradCAM(layer="features")(cnn, IMAGES, 0))


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM, LayerCAM])
def test_tokens_on_their_grid(built, vit, kind):
    flat = kind("features", relu=False)(vit, IMAGES, 0)
    answer = kind("features", relu=False, token_grid=(4, 4)).explain(vit, IMAGES, 0)
    assert flat.shape == (2, 17)
    np.testing.assert_array_equal(answer.attribution, tf.reshape(flat[:, 1:], [2, 4, 4]))
    assert answer.heatmap.shape == (2, 16, 16)
    reference = keras_answer(built("vit, class token"), [IMAGES], [0, 0])
    if kind is HiResCAM:
        expected = (reference.activations * reference.at_layer).sum(-1)
        assert error(flat, expected) < 1e-5


def test_tokens_to_skip(built, vit):
    """Without a class token all 16 are positions; with one, a grid of 17 is possible too."""
    plain = tfsal.load(built("vit"))
    grid = HiResCAM("features", token_grid=(4, 4), skip_tokens=0)(plain, IMAGES, 0)
    flat = HiResCAM("features")(plain, IMAGES, 0)
    np.testing.assert_array_equal(grid, tf.reshape(flat, [2, 4, 4]))
    wide = HiResCAM("features", token_grid=(1, 17), skip_tokens=0)(vit, IMAGES, 0)
    assert wide.shape == (2, 1, 17)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_grid": (4,)}, "token_grid="),
        ({"token_grid": (0, 16)}, "token_grid is"),
        ({"token_grid": (4, 4), "skip_tokens": -1}, "0 or more"),
        ({"skip_tokens": 2}, "give token_grid="),
    ],
)
def test_token_options_out_of_range(options, message):
    with pytest.raises(MethodError, match=message):
        GradCAM(**options)


def test_a_grid_must_fit_the_tokens(cnn, vit):
    with pytest.raises(MethodError, match="needs 26 tokens; the layer has 17"):
        GradCAM("features", token_grid=(5, 5))(vit, IMAGES, 0)
    with pytest.raises(MethodError, match="token_grid is for a layer of tokens"):
        GradCAM("features", token_grid=(3, 12))(cnn, IMAGES, 0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("conv2d_7", "no layer 'conv2d_7'.*conv2d_2"),
        ("predictions", "no positions to draw a map on.*features"),
    ],
)
def test_layers_that_do_not_fit(cnn, layer, message):
    with pytest.raises(LayerError, match=message):
        GradCAM(layer=layer)(cnn, IMAGES, 0)


def test_a_layer_off_the_path():
    import keras

    image = keras.layers.Input([16, 16, 3], name="image")
    used = keras.layers.Conv2D(4, 3, activation="softplus", name="used")(image)
    aside = keras.layers.Conv2D(4, 3, name="aside")(image)
    pool = keras.layers.GlobalAveragePooling2D
    score = keras.layers.Dense(3, name="score")(pool()(used))
    net = tfsal.load(keras.Model(image, [score, pool(name="other")(aside)]))
    target = tfsal.ClassScore("score")
    GradCAM("used", target=target)(net, IMAGES, 0)
    with pytest.raises(LayerError, match="not on the way.*used"):
        GradCAM("aside", target=target)(net, IMAGES, 0)


def test_a_layer_that_part_of_the_score_goes_around(built):
    net = tfsal.load(built("residual"))
    with pytest.warns(UserWarning, match="does not run through the layer 'block1_conv'"):
        GradCAM("block1_conv")(net, IMAGES, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GradCAM("block1_add")(net, IMAGES, 0)
        GradCAM()(net, IMAGES, 0)


def test_no_layer_with_positions():
    weights = tf.random.stateless_normal([6, 3], [0, 0])
    net = tfsal.load(lambda x: x @ weights, specs=tf.TensorSpec([None, 6]))
    with pytest.raises(LayerError, match="no convolution"):
        GradCAM()(net, np.ones((1, 6)), 0)


# ---------------------------------------------------------------- input gradients


@pytest.mark.parametrize("kind", [VanillaGradient, GradientTimesInput])
def test_several_inputs(two, kind):
    both = kind(target=AGE).explain(two, FEEDS, 1)
    assert list(both.attribution) == list(both.heatmap) == ["image", "meta"]
    assert both.attribution["image"].shape == (2, 16, 16, 3)
    assert both.attribution["meta"].shape == both.heatmap["meta"].shape == (2, 4)
    for name in FEEDS:
        for inputs in (name, (name,), [name]):
            one = kind(inputs=inputs, target=AGE)(two, FEEDS, 1)
            assert error(one, both.attribution[name]) < 1e-5


def test_a_cam_lies_over_the_input_it_comes_from(two):
    answer = GradCAM(target=AGE).explain(two, FEEDS, 1)
    assert answer.attribution.shape == (2, 5, 5) and answer.heatmap.shape == (2, 16, 16)


def test_inputs_that_cannot_be_explained(two):
    with pytest.raises(InputError, match="no input 'images'. Its inputs: image, meta"):
        VanillaGradient(inputs="images", target=AGE)(two, FEEDS)

    table = tf.random.stateless_normal([10, 3], [0, 0])

    def embed(x):
        return tf.reduce_sum(tf.gather(table, x), 1)

    net = tfsal.load(embed, specs=tf.TensorSpec([None, 4], tf.int32, "ids"))
    with pytest.raises(GradientError, match="no floating-point input"):
        VanillaGradient()(net, np.ones((1, 4), "int32"), 0)
    with pytest.raises(GradientError, match=r"'ids' \(int32\) has no gradient"):
        VanillaGradient(inputs="ids")(net, np.ones((1, 4), "int32"), 0)


def test_an_op_without_a_gradient_is_named():
    kernel = tf.random.stateless_normal([3, 3, 3, 4], [0, 0])

    def model(x):
        h = tf.nn.conv2d(tf.round(tf.image.resize(x, [8, 8], "area") * 9), kernel, 1, "SAME")
        return tf.reduce_mean(tf.nn.softplus(h), [1, 2])

    net = tfsal.load(model, specs=tf.TensorSpec([None, 16, 16, 3]))
    assert GradCAM()(net, IMAGES, 0).shape == (2, 8, 8)
    with pytest.raises(GradientError, match=r"\(Round\).*not differentiable"):
        VanillaGradient()(net, IMAGES, 0)
