"""The mean of samples that are seen once, a few at a time, and its standard error."""

from typing import Any, NamedTuple

import tensorflow as tf


class RunningMean(NamedTuple):
    """The mean of the samples so far; memory does not grow with them.

    Deviations are summed from the mean at hand (Chan, Golub and LeVeque 1983, section 4: shifted
    data), so a mean far from 0 costs no digits of them. A loop may carry it.

    Attributes:
      mean: [N, ...], sum(w x) / sum(w) over the samples x of weights w; 0 before the first.
      spread: as the mean: sum(w² (x - mean)²).
      lean: as the mean: sum(w² (x - mean)); () where all weights are 1, and it is 0.
      weight, squares: [N, ...] that broadcast to the mean: sum(w), sum(w²).
      count: as the weight without weights of its own: number of samples.
    """

    mean: Any
    spread: Any
    lean: Any
    weight: Any
    squares: Any
    count: Any

    @classmethod
    def of_none(cls, zeros, weights=None):
        """Before the first sample.

        Args:
          zeros: as the mean will be.
          weights: zeros as the sum of the weights will be, where samples have weights.
        """
        ones = [1] * (zeros.shape.rank - 1)
        none = tf.zeros([tf.shape(zeros)[0], *ones], zeros.dtype)
        if weights is None:
            return cls(zeros, tf.zeros_like(zeros), (), none, none, none)
        return cls(zeros, tf.zeros_like(zeros), tf.zeros_like(zeros), weights, weights, none)

    def add(self, values, real, weights=None):
        """The mean with some samples more.

        Args:
          values: [N, c, ...].
          real: [c] bool, which of them are samples.
          weights: [N or 1, c, ...], not negative, where samples have weights.
        """
        ones = [1] * (self.mean.shape.rank - 1)
        real = tf.reshape(tf.cast(real, self.mean.dtype), [1, -1, *ones])
        # Near all samples: the mean at hand, of the first ones the first.
        near = tf.where(self.weight > 0, self.mean, values[:, 0])
        away = values - near[:, tf.newaxis]
        if tf.is_tensor(self.lean):
            weights = real * weights
            away *= weights
            change = tf.reduce_sum(away, axis=1)
            lean = self.lean + tf.reduce_sum(weights * away, axis=1)
        else:
            weights = real
            away *= weights
            lean = change = tf.reduce_sum(away, axis=1)
        weight = self.weight + tf.reduce_sum(weights, axis=1)
        squares = self.squares + tf.reduce_sum(weights**2, axis=1)
        step = tf.math.divide_no_nan(change, weight)
        spread = self.spread + tf.reduce_sum(away**2, axis=1) - step * (2 * lean - step * squares)
        return RunningMean(
            mean=tf.where(weight > 0, near + step, 0),
            spread=spread,
            lean=lean - step * squares if tf.is_tensor(self.lean) else (),
            weight=weight,
            squares=squares,
            count=self.count + tf.reduce_sum(real, axis=1),
        )

    def standard_error(self):
        """[N, ...]: the standard error of the mean; NaN of fewer than 2 samples.

        With weights, which may be drawn too, that of a ratio of two means by the delta method
        (Cochran 1977, Sampling techniques, equation 6.13), right for many samples.
        """
        spread = tf.maximum(self.spread, 0) * (self.count / (self.count - 1))
        return tf.where(self.count > 1, tf.sqrt(spread) / self.weight, float("nan"))
