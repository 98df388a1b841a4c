"""Example sizes for the open axes of inputs, to learn from a trace what follows from them."""

import tensorflow as tf

BATCH = 100003  # A prime that no model contains.
_SIZE = 256  # Eight halvings leave it whole.


def with_batch(spec):
    """The spec with an open batch size set."""
    if not spec.shape.rank or spec.shape[0] is not None:
        return spec
    return tf.TensorSpec([BATCH, *spec.shape[1:]], spec.dtype, spec.name)


def with_sizes(spec):
    """The spec with its open sizes between batch and channels set."""
    if not spec.shape.rank:
        return spec
    batch, *inner = spec.shape
    channels = inner[-1:] if len(inner) > 1 else []
    sizes = [_SIZE if s is None else s for s in inner[: len(inner) - len(channels)]]
    return tf.TensorSpec([batch, *sizes, *channels], spec.dtype, spec.name)
