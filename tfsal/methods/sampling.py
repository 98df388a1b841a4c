"""Methods that average random samples: how sure the mean is, and ending where that is enough."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal.methods.chunks import accumulate, accumulate_until
from tfsal.methods.tolerance import check_tolerance, missed_tolerance

# Samples between two looks at the standard error, and before the first: of 32 the standard error is
# itself known to an eighth (1 / sqrt(2 * 31)), of fewer luck would end too many examples too early.
# Even, as SampledShapley's orders come in pairs.
EVERY = 32

_ALWAYS = {"standard_error": "standard error of the attribution, in its units"}
_ADAPTIVE = {
    "samples_used": "number of samples",
    "tolerance_reached": "whether the standard error came within the tolerance",
}


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Mixed into the methods whose attribution is a mean over independent samples; stands first.

    `standard_error`, shaped as the attribution, is by how much each value differs, in the root mean
    square, from what endless samples would give; NaN where there are fewer than 2.

    Attributes:
      tolerance: None takes all samples. Otherwise an example is done when no standard error of its
        map is above this share of the map's largest absolute value (of RISE, whose values lie
        around the mean score, of the largest minus the smallest), and takes all at most. Looked at
        after every 32 samples. Take 0.1 or less: a map of noise alone comes within a quarter. Where
        the samples do not do, Python warns, and `tolerance_reached` is False.
    """

    tolerance: float | None = dataclasses.field(default=None, kw_only=True)

    limit: ClassVar[str] = "samples"  # Field that holds the number of samples.

    def __post_init__(self):
        """Checks the tolerance.

        Raises:
          MethodError: a hyperparameter has the wrong type or is out of range.
        """
        super().__post_init__()
        check_tolerance(self.tolerance)

    @property
    def extras(self):
        """The standard error, and with a tolerance what it took and whether it was reached."""
        adaptive = {} if self.tolerance is None else _ADAPTIVE
        return {**super().extras, **_ALWAYS, **adaptive}

    def remark(self, extras):
        """See Method."""
        most = f"{self.limit}={getattr(self, self.limit)}"
        return missed_tolerance(self, extras, most, "standard_error")

    def scale(self, attribution):
        """[N, 1, ...]: what the tolerance is a share of, of maps [N, ...]."""
        return tf.reduce_max(tf.abs(attribution), _own_axes(attribution), keepdims=True)

    def accumulate(self, request, count, update, state, loops=False):
        """As `chunks.accumulate`; with a tolerance, each example until it is within it.

        Args:
          request, update, loops: as there.
          count: int, the numbers of all samples together, as many of each sample.
          state: (list of RunningMean, what must come within the tolerance; nest of [N, ...]).
        """
        if self.tolerance is None:
            return accumulate(request, count, update, state, loops)
        numbers_each = count // getattr(self, self.limit)

        def unfinished(state):
            return ~self._within(state[0]) & _all_finite(state[0])

        state, going, numbers = accumulate_until(
            request, count, update, state, EVERY * numbers_each, unfinished, loops
        )
        self.add_extras(request, numbers // numbers_each, ~going & _all_finite(state[0]))
        return state

    def add_extras(self, request, used, reached):
        """Adds to what a tolerance says of the inputs that were explained before.

        Args:
          request: the Request.
          used: [N] or scalar int32, the number of samples.
          reached: [N] or scalar bool, whether the standard error came within the tolerance.
        """
        extras, rows = request.extras, [request.count]
        before = extras.get("samples_used", tf.zeros(rows, tf.int32))
        extras["samples_used"] = before + used
        before = extras.get("tolerance_reached", tf.fill(rows, True))
        extras["tolerance_reached"] = before & reached

    def _within(self, means):
        """[N] bool."""
        return tf.reduce_all([self._is_within(mean) for mean in means], axis=0)

    def _is_within(self, mean):
        error = mean.standard_error()
        within = error <= self.tolerance * self.scale(mean.mean)
        return tf.reduce_all(within, _own_axes(within))


def _all_finite(means):
    """[N] bool. What is no number will not become one, and would hold up its neighbours."""
    finite = [tf.math.is_finite(mean.mean) for mean in means]
    return tf.reduce_all([tf.reduce_all(f, _own_axes(f)) for f in finite], axis=0)


def _own_axes(maps):
    return list(range(1, maps.shape.rank))
