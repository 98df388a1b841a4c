"""The reductions of activations A and gradients G at a layer to a class activation map.

Shapes: A and G are [N, *spatial, C] of any spatial rank; a map is [N, *spatial]. Half-precision
inputs are summed in float32; float64 stays float64.
"""

import tensorflow as tf

from tfsal.ops.precision import at_least_float32


def grad_cam(activations, gradients):
    """Grad-CAM: sum_k w_k A_k with w_k the mean of G_k over positions.

    Selvaraju et al. 2017 (arXiv:1610.02391), equations 1 and 2, before the ReLU.

    Args:
      activations: [N, *spatial, C] floating.
      gradients: as activations.

    Returns:
      [N, *spatial], float32, or float64 for float64 inputs.
    """
    activations, gradients = at_least_float32(activations), at_least_float32(gradients)
    shape = tf.shape(activations)
    flat = tf.stack([shape[0], tf.reduce_prod(shape[1:-1]), shape[-1]])
    weights = tf.reduce_mean(tf.reshape(gradients, flat), axis=1)
    # As a matrix product: the product A * w is never written to memory.
    cam = tf.linalg.matvec(tf.reshape(activations, flat), weights)
    return tf.ensure_shape(tf.reshape(cam, shape[:-1]), activations.shape[:-1])


def hires_cam(activations, gradients):
    """HiResCAM: sum_k G_k * A_k, elementwise.

    Draelos and Carin 2020 (arXiv:2011.08891), equation 4. Args and result as `grad_cam`.
    """
    return tf.reduce_sum(at_least_float32(activations) * at_least_float32(gradients), axis=-1)


def layer_cam(activations, gradients):
    """LayerCAM: sum_k ReLU(G_k) * A_k, elementwise.

    Jiang et al. 2021 (doi:10.1109/TIP.2021.3089943), equations 5 and 6, before the ReLU. Args and
    result as `grad_cam`.
    """
    gradients = tf.nn.relu(at_least_float32(gradients))
    return tf.reduce_sum(gradients * at_least_float32(activations), axis=-1)
