"""The lasso path of normal equations: which unknowns explain most, the fewer the better."""

import typing

import tensorflow as tf

# Shares of the largest entry. Below it a column hangs on those that are in, or a slope on rounding.
_DEPENDENT = 1e-7
_LEVEL = 1e-10


def lasso_support(matrix, right, most):
    """Unknowns of the lasso path, at its last knot where there are at most so many.

    Efron et al. 2004, https://doi.org/10.1214/009053604000000067, section 3.1: the penalty falls
    from where all unknowns are 0, and between knots, where one comes in or leaves, they move in a
    straight line.

    Args:
      matrix: [N, size, size] float64, X^T X of columns that are centred.
      right: [N, size] float64, X^T y.
      most: how many unknowns, 1 or more; int.

    Returns:
      [N, size] bool. Of a path of more than 8 * size knots only these are looked at.
    """
    size = right.shape[1]
    largest = tf.reduce_max(tf.abs(right), axis=1)
    scale = tf.reduce_max(tf.linalg.diag_part(matrix), axis=1)[:, tf.newaxis, tf.newaxis]
    zeros = tf.zeros_like(right)
    state = _Path(
        running=largest > 0,  # Not what is NaN either.
        swept=tf.math.divide_no_nan(matrix, scale),
        left=tf.math.divide_no_nan(right, largest[:, tf.newaxis]),
        level=tf.ones_like(largest),
        found=zeros,
        signs=zeros,
        chosen=tf.zeros_like(right, tf.bool),
    )
    state = tf.while_loop(
        lambda path: tf.reduce_any(path.running),
        lambda path: (_to_next_knot(path, most),),
        (state,),
        maximum_iterations=8 * size,
        parallel_iterations=1,
    )[0]
    return state.chosen


class _Path(typing.NamedTuple):
    """Where the paths of the rows are.

    Attributes:
      running: [N] bool, False at the end.
      swept: [N, size, size], the matrix swept by the unknowns that are in: minus the inverse of
        their block, that inverse times the block beside it, and the Schur complement of the rest.
      left: [N, size], right - matrix * found.
      level: [N], the penalty: the absolute value of `left` at what is in, and the largest there is.
      found: [N, size], the unknowns.
      signs: [N, size], the sign of what is in, 0 for the others.
      chosen: [N, size] bool, the answer so far.
    """

    running: tf.Tensor
    swept: tf.Tensor
    left: tf.Tensor
    level: tf.Tensor
    found: tf.Tensor
    signs: tf.Tensor
    chosen: tf.Tensor


def _to_next_knot(path, most):
    size = path.left.shape[1]
    inside = path.signs != 0
    # By a fall of the level by 1, what is in moves by -moved, and `left` of the others falls by it.
    moved = tf.linalg.matvec(path.swept, path.signs)
    level = path.level[:, tf.newaxis]
    leaves = _where(inside & (path.found * moved > 0), path.found, moved)
    free = ~inside & (tf.linalg.diag_part(path.swept) > _DEPENDENT)
    comes = [
        # Not what falls faster than the level, as one does that has just left.
        _where(free & (slope > _LEVEL), tf.maximum(level - sign * path.left, 0), slope)
        for sign, slope in ((1, 1 - moved), (-1, 1 + moved))
    ]
    events = tf.concat([level, leaves, *comes], axis=1)
    event = tf.argmin(events, axis=1, output_type=tf.int32)
    length = tf.reduce_min(events, axis=1, keepdims=True)
    running = path.running & (event > 0)
    one = tf.one_hot(event - 1, 3 * size, dtype=path.left.dtype)
    one *= tf.cast(running, one.dtype)[:, tf.newaxis]
    leaves, rises, falls = tf.split(one, 3, axis=1)
    found = (path.found - length * tf.where(inside, moved, 0)) * (1 - leaves)
    there = found != 0
    few = path.running & (tf.math.count_nonzero(there, axis=1) <= most)
    return _Path(
        running,
        _sweep(path.swept, rises + falls, leaves),
        path.left - length * tf.where(inside, path.signs, moved),
        path.level - length[:, 0],
        found,
        path.signs * (1 - leaves) + rises - falls,
        tf.where(few[:, tf.newaxis], there, path.chosen),
    )


def _where(condition, values, over):
    """The quotient of values and over where the condition holds, elsewhere infinity."""
    infinity = tf.constant(float("inf"), values.dtype)
    return tf.where(condition, values / tf.where(condition, over, 1), infinity)


def _sweep(matrix, comes, leaves):
    """Sweeps a symmetric matrix by one unknown, or undoes it.

    Args:
      matrix: [N, size, size].
      comes, leaves: [N, size], 1 in one of them at the unknown; without a 1 nothing changes.
    """
    sign, one = comes - leaves, comes + leaves
    column = tf.linalg.matvec(matrix, one)
    pivot = tf.reduce_sum(column * one, axis=1)
    pivot = tf.where(tf.reduce_any(one > 0, axis=1), pivot, 1)[:, tf.newaxis, tf.newaxis]
    edge = column - sign
    outer = edge[:, :, tf.newaxis] * edge[:, tf.newaxis] / pivot
    return matrix - outer - 2 * tf.linalg.diag(sign)
