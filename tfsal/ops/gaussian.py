"""Gaussian blurs and their derivative in the width, over any number of axes.

A blur is a product with a banded matrix along one axis after the other; beyond the ends lie zeros.
Matrix products are what CPUs, GPUs and TPUs do best, in every dtype, and XLA compiles them
everywhere; a Fourier transform would be circular, and TPUs have none of complex128.
"""

import math

import numpy as np
import tensorflow as tf

# A kernel of this many widths leaves out 2e-9 of a Gaussian.
_REACH = 6.0
# A kernel narrower than this is 1 and zeros, to the last bit of float64.
_NARROWEST = 0.02


def reach(sigma):
    """Radius at which a Gaussian of this width has faded below float32 rounding."""
    return math.ceil(_REACH * sigma)


def truncated_reach(sigma):
    """Radius at which scipy.ndimage.gaussian_filter cuts a Gaussian, truncate=4."""
    return int(4.0 * sigma + 0.5)


def kernel(sigma, radius):
    """Weights of a sampled Gaussian at the offsets 0 to `radius`; they are the same at -offset.

    All 2 * radius + 1 of them sum to 1. At sigma = 0 it is 1 and zeros.

    Returns:
      [radius + 1] float64.
    """
    sigma = max(sigma, _NARROWEST)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return weights / (2 * weights.sum() - weights[0])


def truncated_kernel(sigma, radius):
    """The kernel of scipy.ndimage.gaussian_filter: `kernel`, cut at `truncated_reach`.

    Returns:
      [radius + 1] float64, 0 beyond the cut.
    """
    weights = kernel(sigma, truncated_reach(sigma))
    return np.pad(weights, [0, radius + 1 - len(weights)])


def kernel_slope(sigma, radius):
    """Derivative of `kernel` in sigma: w_k (k^2 - sum_j w_j j^2) / sigma^3; 0 at sigma = 0.

    Returns:
      [radius + 1] float64; all 2 * radius + 1 of them sum to 0.
    """
    sigma = max(sigma, _NARROWEST)
    weights = kernel(sigma, radius)
    squares = np.arange(radius + 1) ** 2
    return weights * (squares - 2 * np.sum(weights * squares)) / sigma**3


def blur(x, weights):
    """Blurs along all spatial axes, with each of K kernels.

    Args:
      x: [K or 1, N, C, *spatial].
      weights: [K, radius + 1], kernels at the offsets 0 to radius.

    Returns:
      [K, N, C, *spatial].
    """
    for _ in range(x.shape.rank - 3):
        x = _convolve_next(x, weights)
    return x


def blur_and_change(x, narrow, change, wide=None):
    """Blurs, and says how the blur changes with its kernel, for each of K kernels.

    The change of a product over axes is a sum: of `change` along one axis, after blurs with
    `narrow` along those before it and with `wide` along those behind it. With the kernel's
    derivative for `change` it is the derivative of the blur. With `change` = `wide` - `narrow` it
    is the difference of two blurs, without the cancellation of subtracting two pictures.

    Args:
      x: [K or 1, N, C, *spatial].
      narrow, change, wide: [K, radius + 1], kernels at the offsets 0 to radius; None for `wide` is
        `narrow` again.

    Returns:
      (x blurred with `narrow`, the change), both [K, N, C, *spatial].
    """
    wide = narrow if wide is None else wide
    total = None
    for _ in range(x.shape.rank - 3):
        here = _convolve_next(x, change)
        total = here if total is None else here + _convolve_next(total, wide)
        x = _convolve_next(x, narrow)
    return x, total


def _convolve_next(x, weights):
    """Convolves the first spatial axis and puts it last: after all axes the order is as before."""
    rank, length = x.shape.rank, x.shape[3]
    x = tf.transpose(x, [0, 1, 2, *range(4, rank), 3])
    shape = tf.shape(x)
    flat = tf.reshape(x, [shape[0], -1, shape[-1]])
    radius = weights.shape[1] - 1
    if length is not None and length <= 3 * radius:
        flat = tf.matmul(flat, _band(weights, length, 0, length))
    else:
        flat = _convolve_long(flat, weights, radius)
    result = tf.reshape(flat, tf.concat([tf.shape(weights)[:1], shape[1:]], 0))
    return tf.ensure_shape(result, [None, *x.shape[1:]])


def _convolve_long(x, weights, radius):
    """Convolves [K or 1, M, length] block by block, each with its two neighbours.

    Work and memory grow with length times radius, and not with the square of the length.
    """
    rows, length = tf.shape(x)[1], tf.shape(x)[2]
    block = tf.clip_by_value(radius, 1, length)
    count = (length + block - 1) // block
    padded = tf.pad(x, [[0, 0], [0, 0], [block, (count + 1) * block - length]])
    blocks = tf.reshape(padded, [-1, rows, count + 2, block])
    frames = tf.concat([blocks[:, :, :-2], blocks[:, :, 1:-1], blocks[:, :, 2:]], axis=3)
    band = _band(weights, 3 * block, block, block)
    result = tf.matmul(tf.reshape(frames, [-1, rows * count, 3 * block]), band)
    return tf.reshape(result, [-1, rows, count * block])[:, :, :length]


def _band(weights, rows, offset, columns):
    """[K, rows, columns]: the weight at the distance of row i from column j + offset."""
    distance = tf.abs(tf.range(rows)[:, tf.newaxis] - tf.range(columns) - offset)
    weights = tf.pad(weights, [[0, 0], [0, 1]])
    return tf.gather(weights, tf.minimum(distance, tf.shape(weights)[1] - 1), axis=1)
