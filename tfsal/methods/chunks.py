"""Many evaluations of a model in a loop, a few at once, so that memory does not grow with them."""

import tensorflow as tf


def accumulate(request, count, update, state, loops=False, *, every=None, going=None):
    """Goes through the numbers 0 to count - 1 (steps, samples), as many at once as fit.

    Fit means that the rows of the model, N for each number, are at most
    `request.internal_batch_size`; one number goes always.

    Args:
      request: a Request of N rows.
      count: how many numbers; int, or scalar int32 tensor.
      update: function of (numbers [c] int32, real [c] bool, state) -> the new state. Where c does
        not divide the count, the last numbers repeat and are not real.
      state: nest of tensors.
      loops: True where `update` has such a loop inside.
      every: int; no chunk goes across a multiple of it. None: nothing is in their way.
      going: function of the state -> scalar bool, whether there is more to do.

    Returns:
      The last state.
    """
    size = chunk_size(request, count if every is None else min(every, count))
    # Made outside: in a loop inside a loop XLA does not know the value of `size`, but shapes.
    offsets = tf.range(size)
    if not loops:
        update = loop_body(request, update)

    def body(first, state):
        numbers = first + offsets
        end = count if every is None else tf.minimum((first // every + 1) * every, count)
        real = numbers < end
        state = update(tf.minimum(numbers, end - 1), real, state)
        if request.progress is not None:
            request.progress.advance(tf.reduce_sum(tf.cast(real, tf.int32)), state)
        return tf.minimum(first + size, end), state

    if request.progress is not None:
        request.progress.expect(count if going is None else None)

    _, state = tf.while_loop(
        lambda first, state: (first < count) & (True if going is None else going(state)),
        body,
        (tf.constant(0), state),
        parallel_iterations=1,  # More would hold the activations of several at once.
        maximum_iterations=count,
    )
    return state


def accumulate_until(request, count, update, state, every, unfinished, loops=False):
    """As `accumulate`, but each example for as long as it needs, whatever its neighbours do.

    Args:
      request, count, update, loops: see there; count is an int.
      state: nest of tensors [N, ...]; that of an example which is done stays as it is.
      every: int; the examples are looked at after each so many numbers, and at the end, whatever
        the size of the chunks.
      unfinished: function of the state -> [N] bool, which examples go on.

    Returns:
      (the last state, [N] bool: which examples would have gone on, [N] int32: how many numbers each
      went through).
    """

    def updated(numbers, real, state):
        old, going, used = state
        new = update(numbers, real, old)
        new = tf.nest.map_structure(lambda new, old: where_rows(going, new, old), new, old)
        used += tf.where(going, tf.reduce_sum(tf.cast(real, tf.int32)), 0)
        done = numbers[-1] + 1
        between = (done % every != 0) & (done != count)
        return new, going & (between | unfinished(new)), used

    rows = request.count
    start = (state, tf.fill([rows], True), tf.zeros([rows], tf.int32))
    return accumulate(
        *(request, count, updated, start, loops),
        every=every,
        going=lambda state: tf.reduce_any(state[1]),
    )


def where_rows(rows, new, old):
    """[N, ...]: `new` in the rows where `rows` [N] is true, `old` in the others."""
    shape = tf.concat([tf.shape(rows), tf.ones([new.shape.rank - 1], tf.int32)], 0)
    return tf.where(tf.reshape(rows, shape), new, old)


def scores(request, count, ask):
    """The score at each of many changes of the inputs.

    Args:
      request: a Request of N rows.
      count: how many changes, as `accumulate` takes it.
      ask: function of numbers [c] int32 -> the Request of N * c rows that has these changes.

    Returns:
      [N, count], in the dtype of the score.
    """

    def update(numbers, real, found):
        score = tf.transpose(split_copies(ask(numbers).score, tf.size(numbers)))
        score = tf.where(real[:, tf.newaxis], score, tf.zeros_like(score))
        return tf.tensor_scatter_nd_add(found, numbers[:, tf.newaxis], score)

    found = tf.zeros([count, request.count], request.score.dtype)
    return tf.transpose(accumulate(request, count, update, found))


def loop_body(request, function):
    """The function, compiled with XLA on its own where `request.compile_bodies` says so."""
    if not request.compile_bodies:
        return function
    return tf.function(function, jit_compile=True, autograph=False)


def round_body(request, function, rounds=None):
    """As `loop_body`, for the body of a loop of its own, each call of which is one round.

    Args:
      request: a Request, whose progress is told.
      function: function of tensors -> nest of tensors.
      rounds: how many there are; None: not known beforehand.
    """
    function = loop_body(request, function)
    if request.progress is None:
        return function
    request.progress.expect(rounds)

    def told(*arguments):
        results = function(*arguments)
        request.progress.advance(tf.constant(1), results)
        return results

    return told


def weighted_sum(values, weights):
    """Sums over the copies of each example.

    Args:
      values: [N, c, ...] floating.
      weights: [c].

    Returns:
      [N, ...].
    """
    return tf.reduce_sum(values * as_weights(weights, values), axis=1)


def shares(real, count):
    """[c] float64: 1 / count for what is real, 0 for what is not."""
    return tf.where(real, tf.constant(1.0 / count, tf.float64), tf.constant(0.0, tf.float64))


def as_weights(weights, values):
    """[c] or [N, c] -> what multiplies values [N, c, ...], in their dtype."""
    ones = tf.ones([values.shape.rank - 2], tf.int32)
    shape = tf.concat([tf.shape(weights), ones], 0)
    return tf.reshape(tf.cast(weights, values.dtype), shape)


def split_copies(values, copies):
    """[N * c, ...], the copies of one example together -> [N, c, ...]."""
    shape = tf.shape(values)
    return tf.reshape(values, tf.concat([[shape[0] // copies, copies], shape[1:]], 0))


def join_copies(values):
    """[N, c, ...] -> [N * c, ...]."""
    shape = tf.shape(values)
    joined = tf.reshape(values, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
    return tf.ensure_shape(joined, [None, *values.shape[2:]])


def chunk_size(request, count):
    """How many of `count` numbers go at once, a scalar int32 tensor."""
    if not request.repeatable:
        return tf.constant(1)
    if tf.is_tensor(count):
        return tf.clip_by_value(request.internal_batch_size // request.count, 1, count)
    most = min(request.internal_batch_size, count)
    best = [_least_idle(count, limit) for limit in range(1, most + 1)]
    limit = tf.clip_by_value(request.internal_batch_size // request.count, 1, most)
    return tf.gather(tf.constant(best), limit - 1)


def _least_idle(count, limit):
    """The chunk size, from half the limit up, that leaves the fewest rows of the last one idle."""
    return min(range((limit + 1) // 2, limit + 1), key=lambda size: (-count % size, -size))
