"""The first principal component of feature maps."""

import math

import tensorflow as tf

from tfsal.ops.precision import at_least_float32


def first_component(maps):
    """Projects every position on the first principal component of its example.

    From the eigenvectors of the smaller of the two Gram matrices, because a singular value
    decomposition of all positions by all channels costs many times more.

    Args:
      maps: [N, *spatial, C] floating; NaN or infinity makes its example NaN.

    Returns:
      [N, *spatial], float32, or float64 for float64. The sign is such that the value of largest
      magnitude is positive.
    """
    maps = at_least_float32(maps)
    shape = tf.shape(maps)
    channels, positions = maps.shape[-1], maps.shape[1:-1]
    count = math.prod(positions) if positions.is_fully_defined() else None
    x = tf.reshape(maps, [shape[0], -1 if count is None else count, channels])
    x -= tf.reduce_mean(x, axis=1, keepdims=True)
    # Without it eigenvalues of small maps would underflow, and an eigensolver may not end on NaN.
    scale = tf.reduce_max(tf.abs(x), axis=[1, 2], keepdims=True)
    finite = tf.math.is_finite(scale)
    x = tf.where(finite, tf.math.divide_no_nan(x, scale), tf.zeros_like(x))
    if count is not None and count < channels:
        values, vectors = tf.linalg.eigh(tf.matmul(x, x, transpose_b=True))
        along = vectors[..., -1] * tf.sqrt(tf.nn.relu(values[..., -1:]))
    else:
        _, vectors = tf.linalg.eigh(tf.matmul(x, x, transpose_a=True))
        along = tf.linalg.matvec(x, vectors[..., -1])
    highest, lowest = (f(along, axis=1, keepdims=True) for f in (tf.reduce_max, tf.reduce_min))
    along = tf.where(-lowest > highest, -along, along)
    nan = tf.constant(float("nan"), along.dtype)
    along = tf.where(finite[:, 0], along * scale[:, 0], nan)
    return tf.ensure_shape(tf.reshape(along, shape[:-1]), maps.shape[:-1])
