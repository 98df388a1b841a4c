"""Models that take images of any size: what a method holds must fit those of the call."""

import keras
import numpy as np
import pytest
from networks import batch

import tfsal
from tfsal.errors import InputError, MethodError

SMALL, ROWS = np.zeros((8, 8, 3), "f4"), np.zeros((4, 8, 8, 3), "f4")


@pytest.fixture(scope="module")
def net():
    image = keras.layers.Input([None, None, 3], name="image")
    h = keras.layers.Conv2D(4, 3, activation="softplus", name="conv")(image)
    h = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(h))
    return tfsal.load(keras.Model(image, h))


@pytest.mark.parametrize(
    "method",
    [
        tfsal.IntegratedGradients(steps=2, baseline=SMALL),
        tfsal.GuidedIG(steps=2, baseline=SMALL),
        tfsal.ExpectedGradients(samples=2, references=ROWS),
        tfsal.SmoothGrad(tfsal.IntegratedGradients(steps=2, baseline=SMALL), samples=2),
        tfsal.FeatureAblation(segments=2, baseline=SMALL),
        tfsal.ScoreCAM("conv", baseline=SMALL),
    ],
    ids=lambda method: method.name,
)
def test_arrays_of_another_size_are_refused(net, method):
    assert len(method(net, batch(2, 8, 8, 3))) == 2
    with pytest.raises(InputError, match=r"\[8, 8, 3\]; the input 'image' takes \[16, 12, 3\]"):
        method(net, batch(2, 16, 12, 3))


def test_what_is_missing_is_said_first(net):
    with pytest.raises(MethodError, match="references= is needed"):
        tfsal.ExpectedGradients()(net, batch(2, 8, 8, 3))
