"""Half precision is for models; sums and scores are kept in float32 at least."""

import tensorflow as tf


def at_least_float32(tensor):
    """Casts float16 and bfloat16 to float32; float32 and float64 stay."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor


def floating(tensor):
    """At least float32, and integers as what holds them: float64 for those of 32 bits and more."""
    if tensor.dtype.is_floating:
        return at_least_float32(tensor)
    return tf.cast(tensor, tf.float32 if tensor.dtype.size < 4 else tf.float64)


def back_to(dtype, tensor):
    """Casts floats to the dtype of an input: to integers rounded, and no further than they go."""
    if dtype.is_floating:
        return tf.cast(tensor, dtype)
    return tf.saturate_cast(tf.round(tensor), dtype)


def at_one_dtype(tensors):
    """{name: tensor}, cast to the widest of their dtypes and at least float32."""
    wide = {name: at_least_float32(tensor) for name, tensor in tensors.items()}
    dtype = max((tensor.dtype for tensor in wide.values()), key=lambda dtype: dtype.size)
    return {name: tf.cast(tensor, dtype) for name, tensor in wide.items()}
