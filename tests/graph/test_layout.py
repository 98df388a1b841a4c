"""Tensors whose channels are the second axis are known, and no map is drawn on them."""

import keras
import pytest
import tensorflow as tf

import tfsal
from tfsal.errors import LayerError

L = keras.layers
FILTER = tf.random.stateless_normal([3, 3, 3, 4], [0, 0])
SPEC = tf.TensorSpec([None, 3, 12, 10], tf.float32, name="image")
LAST = tf.TensorSpec([None, 12, 10, 3], tf.float32, name="image")


def head(h, axes):
    return tf.reduce_mean(h, axes) @ tf.ones([4, 2])


def native(image):
    """The ops of a model that was trained on a GPU."""
    h = tf.nn.conv2d(image, FILTER, 1, "SAME", data_format="NCHW", name="conv")
    h = tf.nn.bias_add(h, [1.0, 2.0, 3.0, 4.0], data_format="NCHW", name="bias")
    h = tf.nn.relu(h, name="relu") * tf.ones([1, 4, 1, 1])
    return head(tf.concat([h, h], 0, name="both"), [2, 3])


def transposed(image):
    """The ops of such a model where TensorFlow's CPU kernels are to run it."""
    h = tf.transpose(image * 2.0, [0, 2, 3, 1], name="to_last")
    h = tf.nn.conv2d(h, FILTER, 1, "SAME", name="conv")
    h = tf.nn.relu(tf.transpose(h, [0, 3, 1, 2]), name="relu")
    return head(h, [2, 3])


def entered(image):
    """Channels last outside, first inside."""
    h = tf.transpose(image, [0, 3, 1, 2], name="to_first")
    h = tf.nn.conv2d(h, FILTER, 1, "SAME", data_format="NCHW", name="conv")
    return head(tf.transpose(h, [0, 2, 3, 1], name="relu"), [1, 2])


def signal(image):
    h = tf.nn.conv1d(image, FILTER[0], 1, "SAME", data_format="NCW")
    return head(tf.nn.relu(h, name="relu"), [2])


def last(image):
    h = tf.nn.relu(tf.nn.conv2d(image, FILTER, 1, "SAME", name="conv"), name="relu")
    return head(h, [1, 2])


@pytest.mark.parametrize(
    "model, spec, first",
    [
        (native, SPEC, {"image", "conv", "bias", "relu", "both"}),
        (transposed, SPEC, {"image", "relu"}),
        (entered, LAST, {"to_first", "conv"}),
        (signal, tf.TensorSpec([None, 3, 12], tf.float32, name="image"), {"image", "relu"}),
        (last, LAST, set()),
    ],
)
def test_channels_first(model, spec, first):
    net = tfsal.load(model, specs=spec)
    names = ["conv", "bias", "relu", "both", "to_last", "to_first"]
    infos = {n: net.tensor(n + ":0") for n in names if n + ":0" in net._tensors}
    infos["image"] = net.inputs["image"]
    assert {n for n, info in infos.items() if info.channels_first} == first
    for name, info in infos.items():
        assert info.is_map == (name not in first)
        assert 4 not in info.spatial and 3 not in info.spatial
    if "relu" in first and "to_last" not in infos:
        with pytest.raises(LayerError, match="no convolution or merge.*have their channels first"):
            print(net.default_layer)
    else:
        assert net.default_layer == {"transposed": "conv"}.get(model.__name__, "relu")


def test_keras_layers_in_both_layouts():
    for data_format, shape in (("channels_first", [3, 12, 10]), ("channels_last", [12, 10, 3])):
        image = L.Input(shape, name="image")
        h = L.Conv2D(4, 3, data_format=data_format, activation="relu", name="conv")(image)
        h = L.MaxPooling2D(data_format=data_format, name="pool")(h)
        h = L.GlobalAveragePooling2D(data_format=data_format)(h)
        net = tfsal.load(keras.Model(image, L.Dense(2)(h)))
        is_first = data_format == "channels_first"
        for info in (net.inputs["image"], *(net.tensor(net.resolve(n)) for n in ("conv", "pool"))):
            assert (info.channels_first, info.is_map) == (is_first, not is_first), info
