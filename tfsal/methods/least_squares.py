"""Weighted least squares whose rows come a few at a time: only sums over them are kept."""

import tensorflow as tf


def no_squares(like, size):
    """The sums before any row.

    Args:
      like: [N, ...] tensor, for N.
      size: number of unknowns; int.

    Returns:
      (A [N, size, size], b [N, size]) of the normal equations A v = b, in float64: they square
      what is small, and GPUs and TPUs multiply matrices of float32 with fewer digits.
    """
    count = tf.shape(like)[0]
    return tf.zeros([count, size, size], tf.float64), tf.zeros([count, size], tf.float64)


def add_squares(squares, rows, values, weights):
    """Adds rows to the normal equations.

    Args:
      squares: as `no_squares` returns them.
      rows: [N or 1, c, size].
      values: [N, c], what rows times the unknowns should be.
      weights: [N or 1, c].
    """
    matrix, right = squares
    rows, values, weights = (tf.cast(t, tf.float64) for t in (rows, values, weights))
    weighted = rows * weights[..., tf.newaxis]
    right += tf.reduce_sum(weighted * values[..., tf.newaxis], axis=1)
    return matrix + tf.matmul(weighted, rows, transpose_a=True), right


def solve(squares, penalty=0.0, total=None, of=1.0):
    """Solves the normal equations.

    Args:
      squares: as `no_squares` returns them.
      penalty: scalar or [size], added to the diagonal.
      total: [N], what the unknowns must add up to, or None.
      of: [N or 1, size] of 1 and 0, the unknowns that `total` is shared out to; 1: to all.

    Returns:
      [N, size] float64.
    """
    matrix, right = squares
    diagonal = tf.linalg.diag_part(matrix) + penalty
    # Enough for Cholesky where rows leave an unknown open, and next to nothing elsewhere.
    diagonal += 1e-14 * tf.reduce_mean(diagonal, axis=1, keepdims=True)
    root = tf.linalg.cholesky(tf.linalg.set_diag(matrix, diagonal))
    ones = tf.ones_like(right) * of
    both = tf.linalg.cholesky_solve(root, tf.stack([right, ones], axis=2))
    if total is None:
        return both[..., 0]
    # The Lagrange multiplier of the sum.
    free, even = both[..., 0], both[..., 1]
    total = tf.cast(total, tf.float64)
    short = total[:, tf.newaxis] - tf.reduce_sum(free, axis=1, keepdims=True)
    found = free + even * short / tf.reduce_sum(even, axis=1, keepdims=True)
    # Rounding too may not take anything of the sum away.
    short = total[:, tf.newaxis] - tf.reduce_sum(found, axis=1, keepdims=True)
    return found + short * ones / tf.reduce_sum(ones, axis=1, keepdims=True)
