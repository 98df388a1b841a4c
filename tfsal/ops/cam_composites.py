"""The CAM reductions in plain TensorFlow ops: specification and fallback of the fused ops.

A and G are [N, *spatial, C] of any spatial rank. Each returns (map [N, *spatial], weights [N, C]),
with None for the weights of a reduction that has none. Half-precision inputs are summed in float32;
float64 stays float64. NaN flows through.
"""

import tensorflow as tf

from tfsal.ops.precision import at_least_float32


def grad_cam(activations, gradients, relu=False):
    """See cam_ops.grad_cam."""
    gradients = at_least_float32(gradients)
    weights = tf.reduce_mean(gradients, axis=_positions(gradients))
    return weighted_cam(activations, weights, relu)[0], weights


def grad_cam_plus_plus(activations, gradients, relu=False, alpha="paper"):
    """See cam_ops.grad_cam_plus_plus."""
    a, g = at_least_float32(activations), at_least_float32(gradients)
    positions = _positions(a)
    reduce = tf.reduce_mean if alpha == "mean" else tf.reduce_sum
    below = 2 + reduce(a, axis=positions, keepdims=True) * g
    none = (g <= 0) | (below == 0)  # False for NaN, which stays.
    zero = tf.zeros_like(g)
    share = tf.where(none, zero, 1 / tf.where(none, tf.ones_like(g), below))
    weights = tf.reduce_sum(tf.where(none, zero, share * g), axis=positions)
    if alpha == "normalized":
        total = tf.reduce_sum(share, axis=positions)
        weights /= tf.where(total == 0, tf.ones_like(total), total)
    return weighted_cam(activations, weights, relu)[0], weights


def x_grad_cam(activations, gradients, relu=False, epsilon=1e-7):
    """See cam_ops.x_grad_cam."""
    a, g = at_least_float32(activations), at_least_float32(gradients)
    positions = _positions(a)
    weights = tf.reduce_sum(a * g, axis=positions) / (tf.reduce_sum(a, axis=positions) + epsilon)
    return weighted_cam(activations, weights, relu)[0], weights


def hires_cam(activations, gradients, relu=False):
    """See cam_ops.hires_cam."""
    cam = tf.reduce_sum(at_least_float32(activations) * at_least_float32(gradients), axis=-1)
    return tf.nn.relu(cam) if relu else cam, None


def layer_cam(activations, gradients, relu=False):
    """See cam_ops.layer_cam."""
    return hires_cam(activations, tf.nn.relu(at_least_float32(gradients)), relu)


def weighted_cam(activations, weights, relu=False):
    """See cam_ops.weighted_cam."""
    activations = at_least_float32(activations)
    shape = tf.shape(activations)
    flat = tf.stack([shape[0], tf.reduce_prod(shape[1:-1]), shape[-1]])
    # As a matrix product: the product A * w is never written to memory.
    cam = tf.linalg.matvec(tf.reshape(activations, flat), weights)
    cam = tf.ensure_shape(tf.reshape(cam, shape[:-1]), activations.shape[:-1])
    return tf.nn.relu(cam) if relu else cam, None


def _positions(tensor):
    return list(range(1, tensor.shape.rank - 1))
