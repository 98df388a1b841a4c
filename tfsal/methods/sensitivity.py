"""Global sensitivity analysis: how the score depends on each feature when all of them vary."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods.chunks import accumulate
from tfsal.methods.features import FeatureMethod

# Of tf.math.sobol_sample.
_MOST_DIMENSIONS = 21200


@dataclasses.dataclass(frozen=True)
class SensitivityMethod(FeatureMethod):
    """Base of the methods whose masks are Sobol points.

    The points are moved by a random digital shift, of each example's own seed, which keeps their
    even spread.

    Attributes:
      samples: number of points; powers of two are spread most evenly.
    """

    samples: int = 32

    random: ClassVar[bool] = True
    dimensions: ClassVar[int] = 1  # Of a point, for each feature.

    def __post_init__(self):
        """Checks the number.

        Raises:
          MethodError: it has the wrong type or is below 2.
        """
        super().__post_init__()
        if self.samples < 2:
            raise MethodError(f"A variance needs samples=2 or more, not {self.samples}.")

    def check(self, net):
        """See Method; Sobol points have so many dimensions."""
        super().check(net)
        for name in self.explained(net):
            count = self.feature_count(net.inputs[name])
            if count * self.dimensions > _MOST_DIMENSIONS:
                most = _MOST_DIMENSIONS // self.dimensions
                raise MethodError(
                    f"{count} features are more than the {most} that Sobol points are known for. "
                    "Take fewer segments."
                )

    def points(self, features, numbers):
        """The points of these numbers [c]: [N, c, dimensions * features] float32 in [0, 1)."""
        words = tf.constant(_sobol_words(self.samples, self.dimensions * features.count))
        shift = features.masked.random_bits(words.shape[1:])
        words = tf.bitwise.bitwise_xor(tf.gather(words, numbers), shift[:, tf.newaxis])
        # As ops/random.py does it: multiples of 2**-24, which float32 holds.
        return tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.float32) / 2**24


@dataclasses.dataclass(frozen=True)
class SobolIndices(SensitivityMethod, name="sobol"):
    """Sobol's total indices: the share of the score's variance that a feature has a part in.

    Fel et al. 2021, https://arxiv.org/abs/2111.04138, section 3, by Jansen's estimator (1999,
    https://doi.org/10.1016/S0010-4655(98)00154-4). Each feature stays by a share from 0 to 1,
    uniform and independent. Attribution [N, *positions], 0 or more; the index of the feature of
    each position. Interactions count for each feature in them, so the indices add up to 1 or more.
    0 where the score does not vary.

    Attributes:
      samples: number of points, each of which is evaluated with every feature changed in turn;
        powers of two are spread most evenly.
    """

    cost: ClassVar[str] = "1 forward, samples * (features + 1) forward for each baseline"
    units: ClassVar[str] = "share of the score's variance, interactions of the feature included"
    dimensions: ClassVar[int] = 2

    def feature_values(self, features):
        """See FeatureMethod."""
        count = features.count

        def keep(numbers):
            # The points as they are; then, feature by feature, with that one of another point.
            points = self.points(features, numbers % self.samples)
            changed = tf.one_hot(numbers // self.samples - 1, count, True, False)
            return features.at_positions(
                tf.where(changed, points[..., count:], points[..., :count])
            )

        scores = features.masked.all_scores(self.samples * (count + 1), keep)
        scores = tf.reshape(scores, [-1, count + 1, self.samples])
        own, changed = scores[:, :1], scores[:, 1:]
        change = tf.reduce_sum((own - changed) ** 2, axis=2) / (2 * self.samples)
        apart = own - tf.reduce_mean(own, axis=2, keepdims=True)
        variance = tf.reduce_sum(apart**2, axis=2) / (self.samples - 1)
        return tf.math.divide_no_nan(change, variance)


@dataclasses.dataclass(frozen=True)
class HSIC(SensitivityMethod, name="hsic"):
    """HSIC: how strongly the score depends on whether a feature is there.

    Novello, Fel and Vigouroux 2022, https://arxiv.org/abs/2206.06219, section 3, as in the authors'
    library xplique: features are there or not, with a chance of a half; the kernel of a feature is
    1/2 - (z - z')^2, that of the score a Gaussian, and the attribution trace(K H L H) / samples,
    H = I - 1 / samples. Attribution [N, *positions], 0 or more.

    Attributes:
      samples: number of masks; powers of two are spread most evenly.
      width: of the Gaussian, in units of the score; None is the absolute median of the scores,
        xplique's choice.
    """

    samples: int = 500
    width: float | None = None

    cost: ClassVar[str] = "1 forward, samples forward for each baseline"
    units: ClassVar[str] = "dependence of the score on the feature; to be compared in one map only"

    def __post_init__(self):
        """Checks the width.

        Raises:
          MethodError: it has the wrong type or is not above 0.
        """
        super().__post_init__()
        if self.width is not None and not 0 < self.width < math.inf:
            raise MethodError(f"width is above 0, not {self.width}.")

    def feature_values(self, features):
        """See FeatureMethod.

        With z as -1/2 and 1/2 the kernel of a feature is 2 z z' and K = 2 z z^T, so that the trace
        is 2 (H z)^T L (H z): no matrix of a feature is made, and L a few rows at a time.
        """
        masked = features.masked

        def keep(numbers):
            return features.at_positions(self._there(features, numbers))

        scores = masked.all_scores(self.samples, keep)
        there = tf.cast(self._there(features, tf.range(self.samples)), scores.dtype)
        there -= tf.reduce_mean(there, axis=1, keepdims=True)
        width = self._width(scores)

        def add(numbers, real, total):
            apart = tf.gather(scores, numbers, axis=1)[..., tf.newaxis] - scores[:, tf.newaxis]
            rows = tf.exp(-(tf.math.divide_no_nan(apart, width) ** 2) / 2)
            of_rows = tf.gather(there, numbers, axis=1) * tf.cast(real, scores.dtype)[:, tf.newaxis]
            return total + tf.reduce_sum(of_rows * tf.matmul(rows, there), axis=1)

        nothing = tf.zeros([masked.request.count, features.count], scores.dtype)
        return accumulate(masked.request, self.samples, add, nothing) * (2 / self.samples)

    def _there(self, features, numbers):
        """[N, c, features] float32 of 0 and 1: the first digits of the points."""
        return tf.cast(self.points(features, numbers) >= 0.5, tf.float32)

    def _width(self, scores):
        """[N, 1, 1], or a number."""
        if self.width is not None:
            return tf.constant(self.width, scores.dtype)
        ordered, half = tf.sort(scores, axis=1), self.samples // 2
        median = (ordered[:, half] + ordered[:, -half - 1]) / 2
        return tf.abs(median)[:, tf.newaxis, tf.newaxis]


def _sobol_words(count, dimensions):
    """[count, dimensions] uint32: the first Sobol points, as 32 binary digits."""
    # Numbers and not an operation: XLA and tflite have none for it.
    with tf.init_scope():
        points = tf.math.sobol_sample(dimensions, count, dtype=tf.float64).numpy()
    return (points * 2.0**32).astype(np.uint32)
