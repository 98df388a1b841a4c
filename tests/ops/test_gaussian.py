"""Blurs against scipy, and their derivative in the width against finite differences."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfsal.ops import gaussian

SHAPES = [(41,), (400,), (20, 33), (9, 8, 7)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
# 400 positions are blurred in blocks; so are all where the size is not known.
each_size = pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])


def draw(*shape):
    return np.random.default_rng(0).normal(size=(2, 3, *shape))


def by_scipy(x, sigma):
    return ndimage.gaussian_filter(x, [0, 0] + [sigma] * (x.ndim - 2), mode="constant")


def run(function, x, known, jit_compile):
    """On [1, N, C, *spatial]."""
    shape = x.shape if known else [None, 3] + [None] * (x.ndim - 2)
    spec = tf.TensorSpec([1, *shape], tf.float64)
    return tf.function(function, input_signature=[spec], jit_compile=jit_compile)(x[np.newaxis])


@each_shape
@each_size
@pytest.mark.parametrize("jit_compile", [False, True])
def test_equals_scipy(shape, known, jit_compile):
    sigmas = [0.01, 0.4, 2.3, 20.0]
    radius = gaussian.truncated_reach(sigmas[-1])
    kernels = np.stack([gaussian.truncated_kernel(s, radius) for s in sigmas])
    x = draw(*shape)
    found = run(lambda x: gaussian.blur(x, tf.constant(kernels)), x, known, jit_compile)
    assert found.shape == (4, *x.shape)
    for blurred, sigma in zip(found, sigmas, strict=True):
        np.testing.assert_allclose(blurred, by_scipy(x, sigma), atol=1e-13)


def derivative(function, at, step):
    """By central differences of order 8."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    differences = (
        w * (function(at + k * step) - function(at - k * step)) for k, w in weights.items()
    )
    return sum(differences) / step


@each_shape
@each_size
@pytest.mark.parametrize("sigma", [0.35, 1.0, 7.0, 30.0])
def test_the_derivative_in_sigma(shape, known, sigma):
    x, radius = draw(*shape), gaussian.reach(30.0)

    def blurred(width):
        return gaussian.blur(tf.constant(x[np.newaxis]), gaussian.kernel(width, radius)[np.newaxis])

    def with_change(x):
        rows = gaussian.kernel(sigma, radius), gaussian.kernel_slope(sigma, radius)
        return gaussian.blur_and_change(x, *(tf.constant(row[np.newaxis]) for row in rows))

    found, change = run(with_change, x, known, False)
    expected = derivative(lambda width: blurred(width).numpy(), sigma, sigma / 50)
    np.testing.assert_allclose(found, blurred(sigma), atol=1e-13)
    assert np.abs(change - expected).max() < 1e-8 * np.abs(expected).max()


@each_shape
def test_the_difference_of_two_blurs(shape):
    x, radius = draw(*shape), 40
    narrow, wide = (gaussian.truncated_kernel(s, radius)[np.newaxis] for s in (3.1, 4.4))
    _, change = gaussian.blur_and_change(tf.constant(x[np.newaxis]), narrow, wide - narrow, wide)
    np.testing.assert_allclose(change[0], by_scipy(x, 4.4) - by_scipy(x, 3.1), atol=1e-13)


@pytest.mark.parametrize("sigma", [0.0, 1e-300, 0.019, 0.021, 0.5, 3.0, 50.0])
def test_kernels_sum_to_one_and_slopes_to_nothing(sigma):
    weights, slope = (f(sigma, 300) for f in (gaussian.kernel, gaussian.kernel_slope))
    for values, total in ((weights, 1), (slope, 0)):
        assert 2 * values.sum() - values[0] == pytest.approx(total, abs=1e-14)
    if sigma < 0.025:
        assert weights[0] == 1 and not slope.any()
    else:
        assert slope[0] < 0


def test_the_reach_leaves_nothing_out():
    radius = gaussian.reach(7.0)
    far = gaussian.kernel(7.0, 10 * radius)
    assert 2 * far[radius + 1 :].sum() < 2e-9
