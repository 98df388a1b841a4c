"""LIME: a linear model of the score around the input."""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods.features import FeatureMethod
from tfsal.methods.lasso import lasso_support
from tfsal.methods.least_squares import add_squares, no_squares, solve


@dataclasses.dataclass(frozen=True)
class LIME(FeatureMethod, name="lime"):
    """LIME: the slopes of a linear model that is fitted to the score near the input.

    Ribeiro, Singh and Guestrin 2016, https://arxiv.org/abs/1602.04938, equation 1 and section 3.4,
    with the choices of the authors' package for images: each feature is there with a chance of a
    half, a sample counts exp(-(d / width)^2)^0.5 with the cosine distance d to the input, and the
    fit is a ridge regression with an intercept, in closed form. Attribution [N, *positions], the
    slope of the feature of each position; a linear model's are weight times value, but for
    `alpha`.

    Attributes:
      samples: number of masks.
      width: of the kernel; the smaller, the nearer to the input.
      alpha: weight of the squared slopes, 0 or more, which draws them to 0.
      features: fit at most this many, those of the lasso path (Efron et al. 2004), as section 3.4
        has it (K-LASSO), and give the others 0: the features of the last knot of the path, from the
        greatest penalty to none, that has no more of them. None: all features.
    """

    samples: int = 1000
    width: float = 0.25
    alpha: float = 1.0
    features: int | None = None

    cost: ClassVar[str] = "1 forward, samples forward for each baseline"
    units: ClassVar[str] = "score: the feature's slope, from absent to there"
    random: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the numbers.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        super().__post_init__()
        if self.samples < 1:
            raise MethodError(f"samples is 1 or more, not {self.samples}.")
        if not 0 < self.width < math.inf:
            raise MethodError(f"width is above 0, not {self.width}.")
        if not 0 <= self.alpha < math.inf:
            raise MethodError(f"alpha is 0 or more, not {self.alpha}.")
        if self.features is not None and self.features < 1:
            raise MethodError(f"features is 1 or more to keep, or None, not {self.features}.")

    def check(self, net):
        """See Method; a fit without a penalty needs more samples than features."""
        super().check(net)
        for name in self.explained(net):
            count = min(self.feature_count(net.inputs[name]), self.features or math.inf)
            if not self.alpha and self.samples <= count:
                raise MethodError(
                    f"{self.samples} samples do not determine {count} features and an intercept. "
                    f"Take samples={4 * count} or more, fewer features, or alpha above 0."
                )

    def feature_values(self, features):
        """See FeatureMethod."""
        masked, count = features.masked, features.count
        score, exist = masked.request.score[:, tf.newaxis], features.exist[:, tf.newaxis]
        # What no position has is no feature: it is 0 in all rows, and so is its slope.
        share = exist / tf.reduce_sum(exist, axis=2, keepdims=True)

        def add(masks, squares):
            drawn = masked.uniform(masks.numbers, [count])
            present = tf.cast(drawn < 0.5, masked.dtype)
            # In float64, where a narrow kernel does not make all of them 0.
            similarity = tf.sqrt(tf.reduce_sum(tf.cast(present, tf.float64) * share, axis=2))
            weights = tf.exp(-(((1 - similarity) / self.width) ** 2) / 2) * masks.weights
            # Centred, features and intercept are nearly independent; from the input's score,
            # scores are small. The slopes stay what they are.
            centred = (present - 0.5) * tf.cast(exist, masked.dtype)
            rows = tf.concat([centred, tf.ones_like(present[..., :1])], axis=2)
            return add_squares(
                squares, rows, masks.scores(features.at_positions(present)) - score, weights
            )

        squares = masked.over_masks(self.samples, add, no_squares(score, count + 1))
        if self.features is not None and self.features < count:
            squares = _of(_kept(squares, self.features), squares)
        penalty = tf.constant([self.alpha] * count + [0.0], tf.float64)
        return tf.cast(solve(squares, penalty)[:, :count], masked.dtype)


def _kept(squares, most):
    """[N, size] float64: 1 for the features of the lasso path and for the intercept, else 0.

    Args:
      squares: normal equations, the intercept last.
      most: how many features; int.
    """
    matrix, right = squares
    mean = tf.math.divide_no_nan(matrix[:, :-1, -1], matrix[:, -1:, -1])
    centred = matrix[:, :-1, :-1] - mean[:, :, tf.newaxis] * matrix[:, -1:, :-1]
    kept = lasso_support(centred, right[:, :-1] - mean * right[:, -1:], most)
    return tf.cast(tf.pad(kept, [[0, 0], [0, 1]], constant_values=True), right.dtype)


def _of(kept, squares):
    """The normal equations in which all but some unknowns, [N, size] of 1 and 0, are 0."""
    matrix, right = squares
    return matrix * kept[:, :, tf.newaxis] * kept[:, tf.newaxis], right * kept
