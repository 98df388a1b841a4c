"""Half precision is for models; sums and scores are kept in float32 at least."""

import tensorflow as tf


def at_least_float32(tensor):
    """Casts float16 and bfloat16 to float32; float32 and float64 stay."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor
