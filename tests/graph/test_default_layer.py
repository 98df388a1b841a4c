"""The default layer: the last convolution or merge with positions, on every way to the score."""

import keras
import networks
import pytest
import tensorflow as tf

import tfsal
from tfsal.errors import LayerError

DEFAULTS = {
    "functional": "features",
    "sequential": "features",
    "subclassed": "Tanh",
    "nested": "backbone/features",
    "residual": "features",
    "grouped": "features",
    "1-D": "features",
    "3-D": "features",
    "vit": "norm",
    "vit, class token": "features",
    "two inputs": "features",
    "lstm": "features",
    "one logit": "features",
    "float64": "features",
    "tf_keras": "features",
    "tf_keras sequential": "features",
    "tf_keras nested": "backbone/features",
    "tf_keras lstm": "features",
}


@pytest.mark.parametrize("family", DEFAULTS)
def test_families(built, family, tmp_path):
    net = tfsal.load(built(family))
    target = tfsal.ClassScore(next(iter(net.outputs)))
    assert net.default_layer_for(target) == DEFAULTS[family]
    if len(net.outputs) == 1:
        assert net.default_layer == DEFAULTS[family]


def test_exported_models_have_the_same(built, tmp_path):
    for family in ("functional", "nested", "vit, class token", "tf_keras lstm"):
        path = tmp_path / family.replace(" ", "_")
        built(family).export(str(path))
        assert tfsal.load(path).default_layer.split("/")[-1] == DEFAULTS[family].split("/")[-1]


def test_dense_output_takes_the_lowest_resolution():
    net = tfsal.load(networks.unet())
    assert net.default_layer_for(tfsal.RegionScore()) == "features" == net.default_layer


@pytest.mark.parametrize("shape", [[None, None, 3], [32, 32, 3]])
def test_dense_output_of_an_image_of_any_size(shape):
    image = L.Input(shape, name="image")
    skip = L.Conv2D(4, 3, padding="same", activation="relu", name="down")(image)
    h = L.Conv2D(8, 3, padding="same", activation="relu", name="bottleneck")(L.MaxPooling2D()(skip))
    h = L.Concatenate()([skip, L.UpSampling2D()(h)])
    net = tfsal.load(keras.Model(image, L.Conv2D(3, 1, name="logits")(h)))
    assert net.default_layer_for(tfsal.RegionScore()) == "bottleneck"
    for name in ("bottleneck", "logits"):
        expected = [None, *[s and s // (1 + (name == "bottleneck")) for s in shape[:2]]]
        assert net.tensor(net.resolve(name)).shape[:-1].as_list() == expected


def test_an_example_size_that_does_not_fit_is_not_needed():
    def model(image):  # Says that it takes any size, and takes one.
        h = tf.nn.conv2d(image, tf.ones([3, 3, 3, 4]), 1, "SAME", name="conv")
        return tf.ensure_shape(h, [None, 100, 100, 4])

    net = tfsal.load(model, specs=tf.TensorSpec([None, None, None, 3]))
    assert net.default_layer_for(tfsal.RegionScore())


L = keras.layers


def default_of(shape, *stack):
    image = L.Input(shape, name="image")
    h = image
    for layer in stack:
        h = layer(h)
    return tfsal.load(keras.Model(image, L.Dense(3)(L.Flatten()(h)))).default_layer


def test_after_norm_and_activation():
    conv = [L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="norm")]
    for activation in ("relu", "silu", "gelu", "hard_silu", "mish", "relu6", "leaky_relu"):
        act = L.Activation(activation, name="act")
        assert default_of([9, 9, 3], *conv, act, L.MaxPooling2D()) == "act", activation
    assert default_of([9, 9, 3], *conv) == "norm"


def test_group_normalisation_counts_as_norm():
    norm = L.GroupNormalization(2, name="norm")
    stack = [L.Conv2D(4, 3, name="conv"), norm, L.Activation("relu", name="act")]
    assert default_of([9, 9, 3], *stack) == "act"


def test_pooling_ends_the_search():
    assert default_of([9, 9, 3], L.Conv2D(4, 3, name="conv"), L.MaxPooling2D(), L.ReLU()) == "conv"


def test_a_convolution_with_one_position_is_passed_over():
    stack = [L.Conv2D(4, 3, name="conv"), L.GlobalAveragePooling2D(keepdims=True), L.Conv2D(5, 1)]
    assert default_of([9, 9, 3], *stack) == "conv"


def test_squeeze_and_excite_ends_at_its_product():
    image = L.Input([9, 9, 3])
    h = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    gate = L.GlobalAveragePooling2D(keepdims=True)(h)
    gate = L.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    h = L.Multiply(name="scaled")([h, gate])
    net = tfsal.load(keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(h))))
    assert net.default_layer == "scaled"


def test_parallel_branches_meet_at_the_merge():
    image = L.Input([9, 9, 3])
    sides = [L.Conv2D(4, k, padding="same", activation="relu")(image) for k in (1, 3, 5)]
    h = L.Concatenate(name="merge")(sides)
    net = tfsal.load(keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(h))))
    assert net.default_layer == "merge"


def test_two_images_meet_or_have_none():
    left, right = L.Input([9, 9, 3], name="left"), L.Input([9, 9, 3], name="right")
    conv = L.Conv2D(4, 3, padding="same", name="shared")
    merged = L.Concatenate(name="merge")([conv(left), conv(right)])
    net = tfsal.load(keras.Model([left, right], L.Dense(2)(L.GlobalAveragePooling2D()(merged))))
    assert net.default_layer == "merge"
    apart = L.Concatenate()([L.Flatten()(conv(left)), L.Flatten()(conv(right))])
    net = tfsal.load(keras.Model([left, right], L.Dense(2)(apart)))
    with pytest.raises(LayerError, match="Name a layer"):
        print(net.default_layer)


def test_a_model_without_positions_has_none():
    net = tfsal.load(
        lambda x: tf.nn.softmax(tf.tanh(x) @ tf.ones([4, 3])), specs=tf.TensorSpec([None, 4])
    )
    with pytest.raises(LayerError, match="no convolution or merge with positions"):
        print(net.default_layer)
    assert "default layer" not in str(net)
