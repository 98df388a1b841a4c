"""A tolerance, with which each example ends when its explanation is good enough."""

import tensorflow as tf

from tfsal.errors import MethodError


def check_tolerance(tolerance):
    """Raises a MethodError unless this is None or a share between 0 and 1."""
    if tolerance is not None and not 0 < tolerance < 1:
        raise MethodError(f"tolerance is a share between 0 and 1, not {tolerance}.")


def missed_tolerance(method, extras, most, see):
    """What a method's `remark` says of examples that did not come within its tolerance, or None.

    Args:
      method: has a `tolerance`, or None there.
      extras: {name: tensor}; `tolerance_reached` where there is a tolerance.
      most: the limit that was in the way, in words.
      see: name of the output that says how far off they are.
    """
    if method.tolerance is None:
        return None
    reached = extras["tolerance_reached"]
    missed = int(tf.reduce_sum(tf.cast(~reached, tf.int32)))
    if not missed:
        return None
    return (
        f"{missed} of {tf.size(reached)} explanations did not come within "
        f"tolerance={method.tolerance} in {most}; see {see}. Raise one of them."
    )
