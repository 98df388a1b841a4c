"""Preprocess against Keras's own preprocessing, and its checks."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tfsal import Preprocess
from tfsal.errors import InputError, MethodError
from tfsal.serving import preprocess

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype("uint8")


@pytest.mark.parametrize("name", sorted(preprocess._APPLICATIONS))
def test_is_what_the_keras_application_does(name):
    application = importlib.import_module(f"keras.applications.{name}")
    expected = application.preprocess_input(IMAGE[None].astype("float32"))[0]
    np.testing.assert_allclose(Preprocess.named(name)(IMAGE), expected, rtol=0, atol=2e-5)


def test_every_keras_application_is_there():
    import keras

    modules = {
        name
        for name in dir(keras.applications)
        if hasattr(getattr(keras.applications, name), "preprocess_input")
    }
    assert modules - {"imagenet_utils"} == set(preprocess._APPLICATIONS)


def test_resizes_first_and_without_aliases():
    found = Preprocess(size=(4, 5), scale=1 / 255, mean=(0.1, 0.2, 0.3), std=2.0)(IMAGE)
    pixels = tf.image.resize(IMAGE.astype("float32"), (4, 5), antialias=True)
    np.testing.assert_allclose(found, (pixels / 255 - [0.1, 0.2, 0.3]) / 2, atol=1e-6)
    assert found.dtype == tf.float32


def test_means_are_in_the_order_of_the_channels():
    found = Preprocess(channels="bgr", mean=(1.0, 2.0, 3.0))(IMAGE)
    np.testing.assert_allclose(found, IMAGE[..., ::-1] - np.array([1.0, 2.0, 3.0]))
    gray = Preprocess(channels="gray", mean=(5.0,))(IMAGE)
    expected = IMAGE @ np.array([0.2989, 0.587, 0.114]) - 5
    np.testing.assert_allclose(gray[..., 0], expected, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "cmyk"}, "'rgb', 'bgr' or 'gray', not 'cmyk'"),
        ({"size": (224,)}, "size is"),
        ({"size": (0, 224)}, "size is"),
        ({"mean": (1, 2)}, "mean is one number or 3"),
        ({"std": (1, 2, 3), "channels": "gray"}, "std is one number or 1"),
        ({"std": 0}, "must not be 0"),
        ({"std": (1, 0, 1)}, "must not be 0"),
    ],
)
def test_declarations_out_of_range(options, message):
    with pytest.raises(MethodError, match=message):
        Preprocess(**options)


def test_an_unknown_application_lists_those_there_are():
    with pytest.raises(MethodError, match="no preprocessing named 'resnet51'.*resnet50"):
        Preprocess.named("resnet51")


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 4), (1, 9, 7, 3)])
def test_an_image_that_is_no_rgb(shape):
    with pytest.raises(InputError, match="RGB"):
        Preprocess()(np.zeros(shape))


def test_is_a_value():
    assert Preprocess(size=[4, 4], mean=[1, 2, 3]) == Preprocess(size=(4, 4), mean=(1, 2, 3))
    assert hash(Preprocess(size=[4, 4])) == hash(Preprocess(size=(4, 4)))
