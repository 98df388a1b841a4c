"""Equality with PAIR's saliency library, which calls the gradient of the same model."""

import contextlib

import networks
import numpy as np
import pytest
import saliency.core as pair
import tensorflow as tf
from reference import error

import tfsal
from tfsal.ops import random

ARCHITECTURES = ["functional", "residual", "vit"]
CLASS = 2


@pytest.fixture(scope="module", params=ARCHITECTURES)
def net(request, built):
    return tfsal.load(built(request.param))


def gradient_of(net):
    """The function that PAIR's library calls: our compiled gradient, at batch 1."""

    def call(x, call_model_args=None, expected_keys=None):
        assert len(x) == 1 and expected_keys == [pair.base.INPUT_OUTPUT_GRADIENTS]
        gradients = tfsal.VanillaGradient()(net, np.asarray(x, "float32"), CLASS)
        return {pair.base.INPUT_OUTPUT_GRADIENTS: gradients.numpy().astype("f8")}

    return call


@pytest.mark.parametrize(("steps", "baseline"), [(25, 0.0), (7, 0.5)])
def test_integrated_gradients(net, steps, baseline):
    x = networks.batch(2, 16, 16, 3, seed=4)
    method = tfsal.IntegratedGradients(steps=steps, rule="pair", baseline=baseline)
    found = method(net, x, CLASS, internal_batch_size=1)
    for i in range(2):
        expected = pair.IntegratedGradients().GetMask(
            x[i].astype("f8"),
            gradient_of(net),
            x_steps=steps,
            x_baseline=np.full(x[i].shape, baseline),
        )
        assert error(found[i], expected) < 1e-4


@contextlib.contextmanager
def noise_of(monkeypatch, seed):
    """Their noise is NumPy's global generator; for a while it is ours."""
    samples = iter(range(1000))

    def normal(mean, stdev, shape):
        return mean + stdev * random.normal(tf.constant([seed]), next(samples), shape)[0].numpy()

    with monkeypatch.context() as patch:
        patch.setattr(np.random, "normal", normal)
        yield


@pytest.mark.parametrize(
    ("kind", "magnitude"), [(tfsal.SmoothGrad, False), (tfsal.SquareGrad, True)]
)
def test_smoothgrad_and_squaregrad(net, kind, magnitude, monkeypatch):
    x = networks.batch(2, 16, 16, 3, seed=4)
    found = kind(samples=9, stdev=0.15)(net, x, CLASS, seed=[11, 12], internal_batch_size=1)
    for i in range(2):
        with noise_of(monkeypatch, 11 + i):
            expected = pair.GradientSaliency().GetSmoothedMask(
                x[i].astype("f8"),
                gradient_of(net),
                stdev_spread=0.15,
                nsamples=9,
                magnitude=magnitude,
            )
        assert error(found[i], expected) < 1e-4


def test_smoothed_integrated_gradients(net, monkeypatch):
    x = networks.batch(1, 16, 16, 3, seed=4)
    base = tfsal.IntegratedGradients(steps=5, rule="pair")
    found = tfsal.SmoothGrad(base, samples=3)(net, x, CLASS, seed=11, internal_batch_size=1)
    with noise_of(monkeypatch, 11):
        expected = pair.IntegratedGradients().GetSmoothedMask(
            x[0].astype("f8"), gradient_of(net), nsamples=3, magnitude=False, x_steps=5
        )
    assert error(found[0], expected) < 1e-4
