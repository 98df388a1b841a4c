"""Half precision is for models; sums and scores are kept in float32 at least."""

import tensorflow as tf


def at_least_float32(tensor):
    """Casts float16 and bfloat16 to float32; float32 and float64 stay."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor


def at_one_dtype(tensors):
    """{name: tensor}, cast to the widest of their dtypes and at least float32."""
    wide = {name: at_least_float32(tensor) for name, tensor in tensors.items()}
    dtype = max((tensor.dtype for tensor in wide.values()), key=lambda dtype: dtype.size)
    return {name: tf.cast(tensor, dtype) for name, tensor in wide.items()}
