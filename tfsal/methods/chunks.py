"""Many evaluations of a model in a loop, a few at once, so that memory does not grow with them."""

import tensorflow as tf


def accumulate(request, count, update, state):
    """Goes through the numbers 0 to count - 1 (steps, samples), as many at once as fit.

    Fit means that the rows of the model, N for each number, are at most
    `request.internal_batch_size`; one number goes always.

    Args:
      request: a Request of N rows.
      count: how many numbers; int.
      update: function of (numbers [c] int32, real [c] bool, state) -> the new state. Where c does
        not divide the count, the last numbers repeat and are not real.
      state: nest of tensors.

    Returns:
      The last state.
    """
    size = chunk_size(request, count)

    def body(first, state):
        numbers = first + tf.range(size)
        return first + size, update(tf.minimum(numbers, count - 1), numbers < count, state)

    _, state = tf.while_loop(
        lambda first, state: first < count,
        body,
        (tf.constant(0), state),
        parallel_iterations=1,  # More would hold the activations of several at once.
        maximum_iterations=count,
    )
    return state


def weighted_sum(values, weights):
    """Sums over the copies of each example.

    Args:
      values: [N * c, ...] floating, the copies of one example together.
      weights: [c].

    Returns:
      [N, ...].
    """
    values = split_copies(values, tf.size(weights))
    weights = tf.reshape(tf.cast(weights, values.dtype), [-1] + [1] * (values.shape.rank - 2))
    return tf.reduce_sum(values * weights, axis=1)


def split_copies(values, copies):
    """[N * c, ...] -> [N, c, ...]."""
    shape = tf.shape(values)
    return tf.reshape(values, tf.concat([[shape[0] // copies, copies], shape[1:]], 0))


def chunk_size(request, count):
    """How many of `count` numbers go at once, a scalar int32 tensor."""
    if not request.repeatable:
        return tf.constant(1)
    most = min(request.internal_batch_size, count)
    best = [_least_idle(count, limit) for limit in range(1, most + 1)]
    limit = tf.clip_by_value(request.internal_batch_size // request.count, 1, most)
    return tf.gather(tf.constant(best), limit - 1)


def _least_idle(count, limit):
    """The chunk size, from half the limit up, that leaves the fewest rows of the last one idle."""
    return min(range((limit + 1) // 2, limit + 1), key=lambda size: (-count % size, -size))
