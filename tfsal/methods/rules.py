"""Quadrature rules on [0, 1]: where a path is looked at, and what each place counts."""

import numpy as np

from tfsal.errors import MethodError


def nodes(rule, steps):
    """Returns the places and weights of a rule.

    Args:
      rule: "midpoint": the middles of `steps` equal intervals. "gauss_legendre": exact for
        polynomials of degree 2 * steps - 1. "trapezoid": `steps` places with both ends, which
        count half. "left", "right": the left or right ends of equal intervals. "pair": `steps`
        places with both ends that count the same, as PAIR's saliency library has it; it converges
        like 1 / steps.
      steps: number of places.

    Returns:
      Two float64 arrays [steps].

    Raises:
      MethodError: the rule needs more steps.
    """
    if steps < 1:
        raise MethodError(f"steps is 1 or more, not {steps}.")
    if rule == "trapezoid" and steps < 2:
        raise MethodError("The trapezoid rule looks at both ends: steps is 2 or more.")
    number = np.arange(steps, dtype=np.float64)
    equal = np.full(steps, 1.0 / steps)
    if rule == "midpoint":
        return (number + 0.5) / steps, equal
    if rule == "left":
        return number / steps, equal
    if rule == "right":
        return (number + 1) / steps, equal
    if rule == "gauss_legendre":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return (places + 1) / 2, weights / 2
    ends = np.linspace(0.0, 1.0, steps)
    if rule == "pair":
        return ends, equal
    weights = np.full(steps, 1.0 / (steps - 1))
    weights[[0, -1]] /= 2
    return ends, weights
