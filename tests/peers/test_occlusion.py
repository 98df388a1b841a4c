"""Occlusion against PAIR's, which calls the score of the same model at batch 1, in float64."""

import numpy as np
import pair
import pytest
import tensorflow as tf

import tfsal

peer = pytest.importorskip("saliency.core")


@pytest.mark.parametrize("size", [pytest.param(5, id="5"), pytest.param(11, id="one row")])
@pytest.mark.parametrize("value", [0, 0.4])
def test_equals_pair(size, value):
    net, x = pair.load("relu"), pair.images(2)
    function = net.as_function()

    def call(x, call_model_args=None, expected_keys=None):
        (scores,) = function(image=tf.constant(x)).values()
        return {expected_keys[0]: scores.numpy()[:, 1]}

    found = tfsal.Occlusion(patch=size, stride=1, normalize=False, baseline=value)(net, x, 1)
    for row, image in zip(found, x, strict=True):
        expected = peer.Occlusion().GetMask(image, call, size=size, value=value)
        for channel in np.moveaxis(expected, -1, 0):
            assert pair.relative(row, channel) < 1e-12
