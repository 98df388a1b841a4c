"""Adaptive quadrature of many paths at once, each refined on its own."""

from typing import Any, NamedTuple

import tensorflow as tf

from tfsal.methods.chunks import where_rows

# Gradients that are kept of each path, so that memory does not grow with max_steps.
SLOTS = 32
# Places at least, so that no path ends because a first guess happens to add up.
LEAST = 4
# An interval this narrow is not divided: its middle would soon be one of its ends.
NARROWEST = 2.0**-20


class Place(NamedTuple):
    """What was found at one place of each of P paths.

    gradients: {name: [P, ...]}; slope: [P], their product with the whole step; score: [P].
    """

    gradients: dict
    slope: Any
    score: Any


class _State(NamedTuple):
    """Trapezoids over the places that are kept, in slots in no order; an empty slot is at infinity.

    at, weight, slope, score, left, right: [P, SLOTS]; left and right are the errors of the
    intervals beside a place, -1 where there is none that may be divided. gradients: {name: [P,
    SLOTS, ...]}. settled: {name: [P, ...]} weighted gradients of places that gave up their slot,
    and settled_total [P] of their slopes. count: [P].
    """

    at: Any
    weight: Any
    slope: Any
    score: Any
    left: Any
    right: Any
    gradients: dict
    settled: dict
    settled_total: Any
    count: Any


def refine(evaluate, first, last, tolerance, most):
    """Integrates the gradient over [0, 1], dividing the interval of largest error again and again.

    The integral of the slope over an interval is the difference of the scores at its ends, so the
    error of every trapezoid is known, not estimated. Each place is evaluated once and kept. Where
    more than SLOTS are needed, those between the smallest errors give theirs up: their weight stays
    as it is, and the intervals beside them are not divided any more.

    Args:
      evaluate: function of places [P] in (0, 1), inside the body of a loop -> Place.
      first, last: Place at 0 and at 1.
      tolerance: a path is done when the sum of its errors is within this share of the change of
        its score (of a thousandth of its last score, where the change is smaller).
      most: places that a path may have, at least LEAST.

    Returns:
      ({name: [P, ...]} integral of the gradients, [P] int32 number of places, [P] bool whether
      the tolerance was reached).
    """
    change = last.score - first.score
    limit = tolerance * tf.maximum(tf.abs(change), 1e-3 * tf.abs(last.score))

    def gap(state):
        return state.settled_total + tf.reduce_sum(state.weight * state.slope, 1) - change

    def unfinished(state):
        divisible = tf.reduce_max(state.right, axis=1) > 0
        early = state.count < LEAST
        return (early | (tf.abs(gap(state)) > limit)) & (state.count < most) & divisible

    def divide(state):
        going = unfinished(state)
        begin = tf.argmax(state.right, axis=1, output_type=tf.int32)
        low = tf.gather(state.at, begin, batch_dims=1)
        high = tf.reduce_min(_beyond(state.at, low), axis=1)
        middle = high - (high - low) / 2
        return _inserted(state, going, begin, high, evaluate(middle))

    (state,) = tf.while_loop(
        lambda state: tf.reduce_any(unfinished(state)),
        lambda state: (divide(state),),
        (_start(first, last, min(SLOTS, most)),),
        parallel_iterations=1,
        maximum_iterations=most,
    )
    total = {
        name: state.settled[name] + tf.reduce_sum(kept * _like(state.weight, kept), axis=1)
        for name, kept in state.gradients.items()
    }
    return total, state.count, tf.abs(gap(state)) <= limit


def _start(first, last, slots):
    """One trapezoid over all of the path."""
    dtype, paths = first.slope.dtype, tf.shape(first.slope)[0]

    def filled(a, b, rest):
        empty = tf.fill([paths, slots - 2], tf.constant(rest, dtype))
        return tf.concat([tf.stack([a, b], axis=1), empty], axis=1)

    zero, one = tf.zeros([paths], dtype), tf.ones([paths], dtype)
    error = _error(one, first.slope, last.slope, last.score - first.score)
    gradients = {
        name: tf.concat(
            [
                tf.stack([g, last.gradients[name]], axis=1),
                tf.zeros(tf.concat([[paths, slots - 2], tf.shape(g)[1:]], 0), g.dtype),
            ],
            axis=1,
        )
        for name, g in first.gradients.items()
    }
    return _State(
        at=filled(zero, one, float("inf")),
        weight=filled(one / 2, one / 2, 0.0),
        slope=filled(first.slope, last.slope, 0.0),
        score=filled(first.score, last.score, 0.0),
        left=filled(-one, error, -2.0),
        right=filled(error, -one, -2.0),
        gradients=gradients,
        settled={name: tf.zeros_like(g) for name, g in first.gradients.items()},
        settled_total=zero,
        count=tf.fill([paths], 2),
    )


def _inserted(state, going, begin, high, place):
    """The state of the paths that go on with one place more.

    Args:
      state: a _State.
      going: [P] bool; the other paths stay as they are.
      begin: [P] int32, slot where the interval to be divided begins.
      high: [P], where it ends.
      place: the Place in its middle.
    """
    slots = state.at.shape[1]
    is_begin = tf.one_hot(begin, slots, True, False)
    is_end = state.at == high[:, tf.newaxis]
    half = (high - _chosen(state.at, is_begin)) / 2
    middle = high - half
    before = _error(
        half,
        _chosen(state.slope, is_begin),
        place.slope,
        place.score - _chosen(state.score, is_begin),
    )
    after = _error(
        half, place.slope, _chosen(state.slope, is_end), _chosen(state.score, is_end) - place.score
    )
    infinity = tf.constant(float("inf"), state.at.dtype)
    # What would not be divided any more; a slot that is empty, or between closed ones, is first.
    worth = tf.where(is_begin | is_end, infinity, tf.nn.relu(state.left) + tf.nn.relu(state.right))
    worth = tf.where(tf.math.is_finite(state.at), worth, -tf.ones_like(worth))
    slot = tf.argmin(worth, axis=1, output_type=tf.int32)
    settled = _settled(state, going, slot)
    is_slot = tf.one_hot(slot, slots, True, False)
    share = tf.where(is_begin | is_end, half[:, tf.newaxis] / 2, tf.zeros_like(state.weight))
    rows = tf.stack([tf.range(tf.size(slot)), slot], axis=1)

    def updated(field, *changes):
        """A field with [(mask, value), ...] written, of the paths that go on."""
        values = getattr(settled, field)
        if field == "weight":
            values -= share
        for mask, value in changes:
            values = tf.where(mask, value[:, tf.newaxis], values)
        return tf.where(going[:, tf.newaxis], values, getattr(state, field))

    gradients = {}
    for name, kept in state.gradients.items():  # Where it is, without a copy of all slots.
        value = where_rows(going, place.gradients[name], tf.gather(kept, slot, batch_dims=1))
        gradients[name] = tf.tensor_scatter_nd_update(kept, rows, value)
    return settled._replace(
        at=updated("at", (is_slot, middle)),
        weight=updated("weight", (is_slot, half)),
        slope=updated("slope", (is_slot, place.slope)),
        score=updated("score", (is_slot, place.score)),
        left=updated("left", (is_end, after), (is_slot, before)),
        right=updated("right", (is_begin, before), (is_slot, after)),
        gradients=gradients,
        count=state.count + tf.cast(going, tf.int32),
    )


def _settled(state, going, slot):
    """The state after what is in a slot of each path, if anything, was added up for good."""
    weight = tf.gather(state.weight, slot, batch_dims=1)
    weight = tf.where(going, weight, tf.zeros_like(weight))
    slope = tf.gather(state.slope, slot, batch_dims=1)
    at = tf.gather(state.at, slot, batch_dims=1)
    above = tf.reduce_min(_beyond(state.at, at), axis=1, keepdims=True)
    below = -tf.reduce_min(_beyond(-state.at, -at), axis=1, keepdims=True)
    used = tf.math.is_finite(at)[:, tf.newaxis]
    closed = -tf.ones_like(state.at)
    sums = {}
    for name, kept in state.gradients.items():
        gradient = tf.gather(kept, slot, batch_dims=1)
        sums[name] = state.settled[name] + gradient * _like(weight, gradient)
    return state._replace(
        left=tf.where(used & (state.at == above), closed, state.left),
        right=tf.where(used & (state.at == below), closed, state.right),
        settled=sums,
        settled_total=state.settled_total + weight * slope,
    )


def _chosen(values, mask):
    """[P]: the value of each row where the mask, true once a row, is."""
    return tf.reduce_sum(tf.where(mask, values, tf.zeros_like(values)), axis=1)


def _beyond(values, than):
    """[P, SLOTS]: infinity for the values that are not above `than` [P]."""
    infinity = tf.constant(float("inf"), values.dtype)
    return tf.where(values > than[:, tf.newaxis], values, infinity)


def _error(width, slope, other, difference):
    error = tf.abs(width * (slope + other) / 2 - difference)
    return tf.where(width < NARROWEST, -tf.ones_like(error), error)


def _like(weight, values):
    """Adds axes to `weight` until it multiplies `values`."""
    shape = tf.concat(
        [tf.shape(weight), tf.ones([values.shape.rank - weight.shape.rank], tf.int32)], 0
    )
    return tf.reshape(tf.cast(weight, values.dtype), shape)
