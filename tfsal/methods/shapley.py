"""Shapley values: the change of the score from the baseline, shared out fairly to features."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods.features import FeatureMethod
from tfsal.methods.least_squares import add_squares, no_squares, solve
from tfsal.methods.running_mean import RunningMean
from tfsal.methods.sampling import Sampling

_EFFICIENT = "score: the feature's share of its change from the baseline"


@dataclasses.dataclass(frozen=True)
class KernelSHAP(FeatureMethod, name="kernel_shap"):
    """KernelSHAP: Shapley values of the features, by weighted least squares.

    Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874, theorem 2. The values of the features
    add up to the score minus that of the baseline exactly (a constraint of the fit). Where
    `samples` are enough for all subsets of the features, 2^features - 2, each is taken once and the
    values are exact. Otherwise subsets are drawn, as often as the kernel weighs them, each with its
    complement (Covert and Lee 2021, https://arxiv.org/abs/2012.01536). Attribution [N, *positions],
    the value of the feature of each position.

    Attributes:
      samples: most subsets that are evaluated; at least four times the features,
        without which chance decides whether the fit is determined.
    """

    samples: int = 2048

    cost: ClassVar[str] = "1 forward, at most 1 + samples forward for each baseline"
    units: ClassVar[str] = _EFFICIENT
    random: ClassVar[bool] = True

    def check(self, net):
        """See Method; there must be enough samples."""
        super().check(net)
        for name in self.explained(net):
            count = self.feature_count(net.inputs[name])
            if not self._takes_all(count) and self.samples < 4 * count:
                raise MethodError(
                    f"{self.samples} samples are too few for {count} features. Take "
                    f"samples={4 * count} or more, or fewer segments."
                )

    def feature_values(self, features):
        """See FeatureMethod."""
        masked, count = features.masked, features.count
        start = masked.score_without()
        change = masked.request.score - start
        if count == 1:
            return change[:, tf.newaxis]
        # What no position has is worth 0 and is kept out of the fit, so that it takes no share.
        exist = features.exist
        subsets = self._all_subsets if self._takes_all(count) else self._drawn_subsets

        def add(masks, squares):
            present, weights = subsets(masked, masks.numbers, count)
            weights *= tf.cast(masks.weights, masked.dtype)
            values = masks.scores(features.at_positions(present)) - start[:, tf.newaxis]
            # Features as -1/2 and 1/2: with a given sum of the shares it is the same equation, and
            # a better conditioned one.
            rows = (present - 0.5) * tf.cast(exist, masked.dtype)[:, tf.newaxis]
            return add_squares(squares, rows, values - change[:, tf.newaxis] / 2, weights)

        number = 2**count - 2 if self._takes_all(count) else self.samples
        squares = masked.over_masks(number, add, no_squares(change, count))
        return tf.cast(solve(squares, total=change, of=exist), masked.dtype)

    def _takes_all(self, count):
        return 2**count - 2 <= self.samples

    def _all_subsets(self, masked, numbers, count):
        """([1, c, count] of 0 and 1, [1, c] their weights): the subsets of these numbers."""
        code = numbers[:, tf.newaxis] + 1
        present = tf.bitwise.bitwise_and(tf.bitwise.right_shift(code, tf.range(count)), 1)
        sizes = tf.reduce_sum(present, axis=1)
        # The chance of a size over the number of subsets of that size.
        each = [0] + [p / math.comb(count, k + 1) for k, p in enumerate(_chances(count))]
        weights = tf.gather(tf.constant(each, masked.dtype), sizes)
        return tf.cast(present, masked.dtype)[tf.newaxis], weights[tf.newaxis]

    def _drawn_subsets(self, masked, numbers, count):
        """As _all_subsets, drawn: [N, c, count], [1, 1]. An odd number is its even one's rest."""
        drawn = masked.uniform(numbers // 2, [count + 1])
        limits = tf.constant(np.cumsum(_chances(count))[:-1], tf.float32)
        size = 1 + tf.reduce_sum(tf.cast(drawn[..., -1:] >= limits, tf.int32), axis=2)
        present = tf.cast(_ranks(drawn[..., :-1]) < size[..., tf.newaxis], masked.dtype)
        odd = tf.cast(numbers % 2, masked.dtype)[:, tf.newaxis]
        return present + odd * (1 - 2 * present), tf.ones([1, 1], masked.dtype)


@dataclasses.dataclass(frozen=True)
class SampledShapley(Sampling, FeatureMethod, name="sampled_shapley"):
    """Sampled Shapley: what each feature adds when they come one after the other, in random orders.

    Castro, Gomez and Tejada 2009, https://doi.org/10.1016/j.cor.2008.04.004, as in Vertex
    Explainable AI; every second order is the one before it backwards (Mitchell et al. 2022,
    https://arxiv.org/abs/2104.12199, section 3.1), which halves the variance or better. Without
    bias, and the values of the features add up to the score minus that of the baseline exactly.
    Attribution [N, *positions], the value of the feature of each position.

    Attributes:
      samples: number of orders.
    """

    samples: int = 10

    cost: ClassVar[str] = "1 forward, 1 + samples * (features - 1) forward for each baseline"
    units: ClassVar[str] = _EFFICIENT
    random: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the number.

        Raises:
          MethodError: it has the wrong type or is below 1.
        """
        super().__post_init__()
        if self.samples < 1:
            raise MethodError(f"samples is 1 order or more, not {self.samples}.")

    def feature_values(self, features):
        """See FeatureMethod.

        With the first k features of an order the score counts for the k-th, the last that came, and
        against the next one. So every evaluation stands alone, and the order of them is free.
        """
        masked, count = features.masked, features.count
        score, start = masked.request.score[:, tf.newaxis], masked.score_without()[:, tf.newaxis]
        if count == 1:
            return self._one(features, score - start)
        each, number = 2 * (count - 1), self.samples * (count - 1)

        def add(masks, state):
            (mean,), rest = state
            order, many = masks.numbers // (count - 1), (1 + masks.numbers % (count - 1))
            place = _ranks(masked.uniform(order // 2, [count]))
            odd = (order % 2 == 1)[:, tf.newaxis]
            place = tf.where(odd, count - 1 - place, place)
            many = many[:, tf.newaxis]

            def where(condition):
                return tf.cast(condition, masked.dtype)

            scores = masks.scores(features.at_positions(where(place < many)))[..., tf.newaxis]
            gains = (where(place == many - 1) - where(place == many)) * scores
            # The ends of an order, all features and none, are known.
            gains += where((many == count - 1) & (place == count - 1)) * score[..., tf.newaxis]
            gains -= where((many == 1) & (place == 0)) * start[..., tf.newaxis]
            gains, whole, rest = masks.sums(gains, rest, each, number)
            if self.samples % 2 == 0:
                return [mean.add(gains / 2, whole)], rest
            orders = where(order < self.samples - 1) + 1  # The last has no partner.
            orders = tf.reshape(orders, [1, -1, 1])
            return [mean.add(gains / orders, whole, orders)], rest

        zeros = tf.zeros([masked.request.count, count], masked.dtype)
        weights = zeros[:, :1] if self.samples % 2 else None
        state = ([RunningMean.of_none(zeros, weights)], zeros)
        (mean,), _ = masked.over_masks(number, add, state, self.accumulate)
        features.note("standard_error", mean.standard_error())
        return mean.mean

    def _one(self, features, change):
        """The change [N, 1] is that of the only feature, for certain and without a sample."""
        features.note("standard_error", tf.zeros_like(change))
        if self.tolerance is not None:
            self.add_extras(features.masked.request, 0, True)
        return change


def _chances(count):
    """Chances of the sizes 1 to count - 1 of a subset, as the Shapley kernel weighs them."""
    sizes = np.arange(1, count)
    chances = 1 / (sizes * (count - sizes))
    return chances / chances.sum()


def _ranks(values):
    """[N, c, n] -> [N, c, n] int32: the place of each value among the last axis, from 0."""
    return tf.argsort(tf.argsort(values, axis=-1, stable=True), axis=-1, stable=True)
