"""Sobol's total indices and HSIC, on functions whose answer is known and against plain NumPy."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import error
from test_perturbation import bent, images, net_of

from tfsal import HSIC, SobolIndices
from tfsal.errors import MethodError
from tfsal.ops import random


def ishigami(x):
    """Of numbers in [0, 1], scaled to [-pi, pi]; a = 7, b = 0.1."""
    z = (2 * x - 1) * np.pi
    score = tf.sin(z[:, 0]) + 7 * tf.sin(z[:, 1]) ** 2 + 0.1 * z[:, 2] ** 4 * tf.sin(z[:, 0])
    return score[:, tf.newaxis] * [[1.0, -1.0]]


def total_indices_of_ishigami(a=7, b=0.1):
    """Ishigami and Homma 1990, in closed form."""
    first = (1 + b * np.pi**4 / 5) ** 2 / 2
    both = b**2 * np.pi**8 * 8 / 225
    return np.array([first + both, a**2 / 8, both]) / (first + a**2 / 8 + both)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_ishigami(dtype):
    """An input of ones and a baseline of zeros: the masks are the numbers."""
    net = oracles.load(lambda x: tf.cast(ishigami(tf.cast(x, tf.float32)), dtype), 3, dtype=dtype)
    expected = total_indices_of_ishigami()
    np.testing.assert_allclose(expected, [0.5576, 0.4424, 0.2437], atol=1e-4)
    x = np.ones((2, 3))
    found = SobolIndices(samples=2048)(net, x, 0, seed=[1, 2], internal_batch_size=4096)
    np.testing.assert_allclose(found, [expected] * 2, atol=0.01)
    assert error(found[0], found[1]) > 1e-4


def test_sobol_of_an_additive_model_is_its_variances():
    weights = np.array([1.0, -2.0, 3.0, 0.0, 0.5], "f4")
    net = oracles.load(lambda x: (x @ weights[:, None]) * [[1.0, 1.0]], 5)
    found = SobolIndices(samples=1024)(net, np.ones((1, 5), "f4"), 0, internal_batch_size=2048)
    np.testing.assert_allclose(found[0], weights**2 / np.sum(weights**2), atol=0.01)
    assert found[0, 3] == 0


def test_a_score_that_does_not_vary_has_indices_of_zero():
    net = oracles.load(lambda x: tf.stack([x[:, 0] * 0 + 2, x[:, 0]], 1), 3)
    for method in (SobolIndices(samples=4), HSIC(samples=8)):
        np.testing.assert_allclose(method(net, np.ones((1, 3), "f4"), 0), 0, atol=1e-6)


# ---------------------------------------------------------------- HSIC


SEEDS = np.array([3, 9], "int32")


def subsets(count, features, seeds=SEEDS):
    """[N, count, features] of 0 and 1: Sobol points, shifted by the digits of each seed."""
    points = tf.math.sobol_sample(features, count, dtype=tf.float64).numpy()
    words = (points * 2**32).astype("uint32")
    shift = random.bits(tf.constant(seeds), 0, [features], stream=1).numpy()
    return np.round((words ^ shift[:, None]) / 2.0**32)


def dependence(z, y, width):
    """trace(K H L H) / n with the matrices written out, z [n] and y [n] of one feature."""
    n = len(y)
    k = 0.5 - (z[:, None] - z[None]) ** 2
    gaussian = np.exp(-((y[:, None] - y[None]) ** 2) / (2 * width**2))
    h = np.eye(n) - 1 / n
    return np.trace(k @ h @ gaussian @ h) / n


@pytest.mark.parametrize("width", [None, 0.3])
@pytest.mark.parametrize("samples", [40, 37])
def test_hsic_is_the_trace(width, samples):
    x = images(8, 6, 2, count=2)
    net = oracles.load(bent, 8, 6, 2, dtype=tf.float64)
    method = HSIC(segments=(4, 3), samples=samples, width=width, baseline=0.1)
    found = method(net, x, 1, seed=SEEDS, internal_batch_size=14)
    blocks = np.kron(np.arange(12).reshape(4, 3), np.ones((2, 2), int))
    for row, present in enumerate(subsets(samples, 12)):
        points = np.where(present[:, blocks][..., None] > 0, x[row], np.float32(0.1)).astype("f8")
        scores = bent(tf.constant(points)).numpy()[:, 1]
        each = [dependence(z, scores, width or np.median(scores)) for z in present.T]
        assert error(found[row, ::2, ::2], np.reshape(each, (4, 3))) < 1e-6


def test_hsic_finds_what_counts():
    net = oracles.load(lambda x: ((x[:, 3] - 0.5) * (x[:, 5] - 0.5))[:, None] * [[4.0, 1.0]] + 3, 8)
    answer = HSIC(samples=128).explain(net, np.ones((1, 8), "f4"), 0, internal_batch_size=64)
    assert np.abs(answer.attribution).max() < 1e-2  # No single one tells anything of a product.
    net = oracles.load(lambda x: tf.abs(x[:, 3:4] * 2 - x[:, 5:6]) * [[1.0, 1.0]], 8)
    found = HSIC(samples=128)(net, np.ones((1, 8), "f4"), 0, internal_batch_size=64)[0].numpy()
    assert (
        set(np.argsort(found)[-2:]) == {3, 5}
        and found[[0, 1, 2, 4, 6, 7]].max() < 0.1 * found.max()
    )


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("kind", "options"),
    [(SobolIndices, {"samples": 9}), (HSIC, {"samples": 31}), (HSIC, {"width": 0.1})],
)
def test_every_option_changes_the_result(kind, options):
    net, x = net_of(10, 8, 2), images(10, 8, 2)
    usual = {"segments": 3, "samples": 8 if kind is SobolIndices else 30}
    assert error(kind(**usual | options)(net, x, 1), kind(**usual)(net, x, 1)) > 1e-3


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SobolIndices, {"samples": 1}, "samples=2 or more, not 1"),
        (HSIC, {"samples": 0}, "samples=2 or more, not 0"),
        (HSIC, {"width": 0.0}, "width is above 0"),
        (SobolIndices, {"segments": 104}, "10816 features are more than the 10600"),
    ],
    ids=str,
)
def test_bad_values_are_refused(kind, options, message):
    with pytest.raises(MethodError, match=message):
        kind(**options)(
            oracles.load(lambda x: x[:, 0, :2, 0], 110, 110, 1), np.zeros((1, 110, 110, 1)), 0
        )
