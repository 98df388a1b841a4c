"""PAIR's `saliency` package, asked with the gradient of the same model."""

from unittest import mock

import numpy as np
import tensorflow as tf

import tfsal


def model_function(net, class_index, batch=1):
    """What PAIR's methods call for gradients: one compiled function, `batch` rows at a time."""
    gradient, sizes = tfsal.VanillaGradient(), set()

    def call(x, call_model_args=None, expected_keys=None):
        sizes.add(len(x))
        assert sizes == {batch} and expected_keys == ["INPUT_OUTPUT_GRADIENTS"]
        return {"INPUT_OUTPUT_GRADIENTS": gradient(net, x, class_index).numpy()}

    return call


_quantile = np.quantile


def _with_interpolation(a, q, interpolation):
    return _quantile(a, q, method=interpolation)


def numpy_1(quantile=_with_interpolation):
    """np.quantile as the package knows it: NumPy 2 took away the old name of `method`."""
    return mock.patch.object(np, "quantile", quantile)


def relative(found, expected):
    """max|a - b| / max|b|."""
    expected = np.asarray(expected)
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


# ---------------------------------------------------------------- three architectures, in float64


def _draw(rng, *shape):
    return tf.constant(rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape))


def _plain(activation, seed):
    """Two convolutions, a pooling, a dense layer."""
    rng = np.random.default_rng(seed)
    first, second = _draw(rng, 3, 3, 3, 8), _draw(rng, 3, 3, 8, 8)
    bias, dense = _draw(rng, 8), _draw(rng, 8 * 36, 5)

    def model(x):
        h = activation(tf.nn.conv2d(x, first, 1, "SAME") + bias)
        h = tf.nn.avg_pool2d(h, 2, 2, "SAME")
        h = activation(tf.nn.conv2d(h, second, 1, "SAME") + bias)
        return tf.matmul(tf.reshape(h, [-1, 8 * 36]), dense)

    return model


def _residual(seed):
    """Convolution, batch norm and ReLU in two residual blocks, global average pooling."""
    rng = np.random.default_rng(seed)
    stem, kernels = _draw(rng, 3, 3, 3, 8), [_draw(rng, 3, 3, 8, 8) for _ in range(2)]
    scales = [tf.constant(rng.uniform(0.5, 1.5, [4, 8])) for _ in range(3)]
    dense = _draw(rng, 8, 5)

    def norm(h, scale):
        return tf.nn.batch_normalization(h, scale[0] - 1, scale[1], scale[2] - 1, scale[3], 1e-3)

    def model(x):
        h = tf.nn.relu(norm(tf.nn.conv2d(x, stem, 1, "SAME"), scales[0]))
        for kernel, scale in zip(kernels, scales[1:], strict=True):
            h = tf.nn.relu(h + norm(tf.nn.conv2d(h, kernel, 1, "SAME"), scale))
        return tf.matmul(tf.reduce_mean(tf.nn.max_pool2d(h, 3, 2, "SAME") ** 2, [1, 2]), dense)

    return model


SHAPE = (12, 11, 3)
ARCHITECTURES = {
    "smooth": lambda: _plain(tf.nn.softplus, 0),
    "relu": lambda: _plain(tf.nn.relu, 1),
    "residual": lambda: _residual(2),
}


def load(name):
    """A ModelGraph of one of the architectures, [N, 12, 11, 3] float64 in."""
    spec = tf.TensorSpec([None, *SHAPE], tf.float64, "image")
    return tfsal.load(ARCHITECTURES[name](), specs=spec)


def images(count=2, seed=4):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, 0.3, (count, *SHAPE)), axis=1) + rng.normal(0, 0.3, (1, *SHAPE))
