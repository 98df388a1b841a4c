"""Made-up maps and images, and the ways a function of them can be run."""

import numpy as np
import tensorflow as tf


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def run_everywhere(function, *arrays):
    """[eager, graph with unknown sizes, XLA with unknown sizes] results, as NumPy."""
    specs = [tf.TensorSpec([None] * a.ndim, a.dtype) for a in arrays]
    graph = tf.function(function, input_signature=specs)
    xla = tf.function(function, jit_compile=True)
    return [np.asarray(f(*arrays)) for f in (function, graph, xla)]


def images(*shape):
    return np.random.default_rng(1).uniform(size=shape).astype("float32")


def as_pixels(image):
    return np.round(image * 255).astype("uint8")
