"""Path methods: the gradient gathered along a path from a baseline to the input."""

import dataclasses
from typing import ClassVar, Literal

import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.methods import rules
from tfsal.methods.adaptive import LEAST, Place, refine
from tfsal.methods.baselines import Baseline, Constant, baseline_of
from tfsal.methods.chunks import (
    accumulate,
    as_weights,
    join_copies,
    round_body,
    shares,
    split_copies,
    weighted_sum,
)
from tfsal.methods.gradient import InputGradientMethod, single
from tfsal.methods.request import repeat
from tfsal.methods.tolerance import check_tolerance, missed_tolerance
from tfsal.ops.precision import at_one_dtype


@dataclasses.dataclass(frozen=True)
class PathMethod(InputGradientMethod):
    """Base of the methods that share out the change of the score along a path.

    `completeness_gap` [N] is the sum of the attribution minus the change of the score from the
    baseline to the input; 0 for an exact integral.
    """

    loops: ClassVar[bool] = True
    units: ClassVar[str] = "score: the value's share of its change from the baseline"
    extras = {
        "completeness_gap": "score: sum of the attribution minus the score's change from the "
        "baseline"
    }

    def values(self, request):
        """{input name: [N, ...]} of the inputs to explain, all float32 or all float64."""
        return at_one_dtype({k: request.feeds[k] for k in self.explained(request.net)})

    def input_gradients(self, request):
        """See InputGradientMethod; in the dtype of `values`."""
        return at_one_dtype(super().input_gradients(request))

    def asked_at(self, request, points):
        """The Request at {input name: [N, c, ...]}."""
        feeds = {k: tf.cast(join_copies(v), request.feeds[k].dtype) for k, v in points.items()}
        copies = next(iter(points.values()))
        return request.at(feeds, copies.shape[1] or tf.shape(copies)[1])

    def add_gap(self, request, attributions, start):
        """Puts the completeness gap into the extras.

        Args:
          request: the Request.
          attributions: {input name: [N, ...]}.
          start: [N], the score where the path begins.
        """
        total = sum(
            tf.reduce_sum(a, axis=list(range(1, a.shape.rank))) for a in attributions.values()
        )
        change = tf.cast(request.score, total.dtype) - tf.cast(start, total.dtype)
        request.extras["completeness_gap"] = total - change


@dataclasses.dataclass(frozen=True)
class BaselineMethod(PathMethod):
    """Base of the path methods that begin at a baseline, or at several, and average.

    Attributes:
      baseline: a number, an array, a name ("constant", "black_and_white", "image_range",
        "channel_mean", "blurred", "local_mean", "uniform", "gaussian", with settings as in
        "blurred(sigma=5)"), one of the classes of `tfsal.methods.baselines`, or {input name: one of
        these}. Several baselines are averaged.
    """

    baseline: Baseline | tuple[tuple[str, Baseline], ...] = Constant()

    def __post_init__(self):
        """Makes Baselines of what was given, and checks them.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        given = self.baseline
        if isinstance(given, dict):
            given = tuple(given.items())
        if isinstance(given, tuple):
            if not all(isinstance(part, tuple) and len(part) == 2 for part in given):
                raise MethodError(
                    "baseline= is one baseline, or {input name: baseline}. An array of numbers is "
                    "np.array(...)."
                )
            given = tuple((name, baseline_of(value)) for name, value in given)
        else:
            given = baseline_of(given)
        object.__setattr__(self, "baseline", given)
        super().__post_init__()
        if len({b.count for b in self._all_baselines()} - {1}) > 1:
            raise MethodError("Baselines of several inputs need the same count, or 1.")

    @property
    def random(self):
        """True when a baseline is."""
        return any(baseline.random for baseline in self._all_baselines())

    @property
    def count(self):
        """Number of baselines."""
        return max(baseline.count for baseline in self._all_baselines())

    def check(self, net):
        """See Method; a baseline must fit its input."""
        super().check(net)
        self.check_sizes(net, net.inputs)
        for name, _ in self.baseline if isinstance(self.baseline, tuple) else ():
            if name not in self.explained(net):
                raise InputError(
                    f"There is a baseline for '{name}'; the inputs that are explained: "
                    f"{', '.join(self.explained(net))}."
                )

    def check_sizes(self, net, inputs):
        """See Method."""
        for name in self.explained(net):
            self._baseline_of(net, name).check(inputs[name])

    def check_repeatable(self, net, what):
        """Raises a MethodError when a model of fixed batches is to take several baselines at once.

        Args:
          net: the ModelGraph.
          what: what asks for it, for the message.
        """
        fixed = [i.shape[0] for i in net.inputs.values() if i.batched and i.shape.rank]
        if self.count > 1 and None not in fixed:
            raise MethodError(
                f"This model takes batches of {fixed[0]} only, so {what} takes one baseline, "
                f"not {self.count}."
            )

    def begin(self, request, x):
        """{input name: [N, B, ...]} of the B baselines of `x`, the values."""
        begin = {}
        for name, value in x.items():
            info = request.net.inputs[name]
            stream = list(request.net.inputs).index(name)
            made = self._baseline_of(request.net, name).of(value, info, request.seed, stream)
            begin[name] = tf.repeat(made, self.count // made.shape[1], axis=1)
        return begin

    def _all_baselines(self):
        if isinstance(self.baseline, tuple):
            return [baseline for _, baseline in self.baseline]
        return [self.baseline]

    def _baseline_of(self, net, name):
        if not isinstance(self.baseline, tuple):
            return self.baseline
        return dict(self.baseline).get(name, Constant())


_ADAPTIVE = {
    "evaluations": "number of gradients",
    "tolerance_reached": "whether the completeness gap came within the tolerance",
}


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(BaselineMethod, name="integrated_gradients"):
    """Integrated Gradients: the gradient averaged on the straight line from a baseline.

    Sundararajan, Taly and Yan 2017, https://arxiv.org/abs/1703.01365, equation 1. Attribution in
    the input's shape: (x - baseline) times the integral of the gradient, which sums to the score
    minus that of the baseline. Several inputs are moved together.

    Attributes:
      steps: gradients that a fixed rule takes; of each baseline where there are several.
      rule: quadrature rule, see `tfsal.methods.rules.nodes`. "midpoint" had the smallest gap on
        trained networks; "pair" is what PAIR's saliency library computes.
      tolerance: None for a fixed rule. Otherwise the intervals of largest error are divided, for
        each example on its own, until the completeness gap is within this share of the score's
        change (or of a thousandth of the score, where the change is smaller than that). All
        evaluations are kept. Then `steps` and `rule` have no part in it.
      max_steps: with tolerance, the most gradients that an example may take of each baseline.
        Where they do not do, Python warns, and `tolerance_reached` is False.
    """

    steps: int = 50
    rule: Literal["midpoint", "gauss_legendre", "trapezoid", "left", "right", "pair"] = "midpoint"
    tolerance: float | None = dataclasses.field(default=None, kw_only=True)
    max_steps: int = dataclasses.field(default=256, kw_only=True)

    cost: ClassVar[str] = "steps forward and backward, 2 forward"

    def __post_init__(self):
        """Checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        super().__post_init__()
        rules.nodes(self.rule, self.steps)
        check_tolerance(self.tolerance)
        if self.max_steps < LEAST:
            raise MethodError(f"max_steps is {LEAST} or more, not {self.max_steps}.")

    @property
    def extras(self):
        """The gap, and with a tolerance what it took and whether it was reached."""
        return super().extras if self.tolerance is None else {**super().extras, **_ADAPTIVE}

    def check(self, net):
        """See Method; rows are repeated only where the model takes more of them."""
        super().check(net)
        if self.tolerance is not None:
            self.check_repeatable(net, "tolerance=")

    def attribute(self, request):
        """See Method."""
        x = self.values(request)
        begin = self.begin(request, x)
        integrate = self._by_rule if self.tolerance is None else self._adaptively
        attributions, start = integrate(request, x, begin)
        self.add_gap(request, attributions, start)
        return single(attributions)

    def _by_rule(self, request, x, begin):
        """({input name: attribution [N, ...]}, [N] mean score of the baselines)."""
        places, weights = (tf.constant(v) for v in rules.nodes(self.rule, self.steps))

        def add_step(numbers, real, sums):
            place = tf.gather(places, numbers % self.steps)
            weight = tf.gather(weights / self.count, numbers % self.steps)
            points, change = {}, {}
            for name, value in x.items():
                start = tf.gather(begin[name], numbers // self.steps, axis=1)
                change[name] = value[:, tf.newaxis] - start
                points[name] = start + as_weights(place, change[name]) * change[name]
            gradients = self.input_gradients(self.asked_at(request, points))
            weight = tf.where(real, weight, tf.zeros_like(weight))
            return {
                name: sums[name]
                + weighted_sum(split_copies(g, tf.size(numbers)) * change[name], weight)
                for name, g in gradients.items()
            }

        def add_start(numbers, real, total):
            points = {name: tf.gather(v, numbers, axis=1) for name, v in begin.items()}
            scores = split_copies(self.asked_at(request, points).score, tf.size(numbers))
            return total + weighted_sum(scores, shares(real, self.count))

        zeros = {name: tf.zeros_like(value) for name, value in x.items()}
        sums = accumulate(request, self.steps * self.count, add_step, zeros)
        return sums, accumulate(request, self.count, add_start, tf.zeros_like(request.score))

    def _adaptively(self, request, x, begin):
        """As _by_rule; each baseline of an example is a path of its own."""
        count = self.count
        change = {name: value[:, tf.newaxis] - begin[name] for name, value in x.items()}

        def place(asked, gradients):
            slope = sum(
                tf.reduce_sum(g * join_copies(change[name]), axis=list(range(1, g.shape.rank)))
                for name, g in gradients.items()
            )
            return Place(gradients, slope, tf.cast(asked, slope.dtype))

        def at(points):
            asked = self.asked_at(request, points)
            return place(asked.score, self.input_gradients(asked))

        def evaluate(places):
            return at(
                {
                    name: start + as_weights(tf.reshape(places, [-1, count]), start) * change[name]
                    for name, start in begin.items()
                }
            )

        first = at(begin)
        own = {name: repeat(g, count) for name, g in self.input_gradients(request).items()}
        last = place(repeat(request.score, count), own)
        evaluate = round_body(request, evaluate)
        means, used, reached = refine(evaluate, first, last, self.tolerance, self.max_steps)
        request.extras["evaluations"] = tf.reduce_sum(tf.reshape(used, [-1, count]), axis=1)
        request.extras["tolerance_reached"] = tf.reduce_all(tf.reshape(reached, [-1, count]), 1)
        attributions = {
            name: tf.reduce_mean(split_copies(mean, count) * change[name], axis=1)
            for name, mean in means.items()
        }
        return attributions, tf.reduce_mean(tf.reshape(first.score, [-1, count]), axis=1)

    def remark(self, extras):
        """See Method."""
        most = f"max_steps={self.max_steps} gradients"
        return missed_tolerance(self, extras, most, "completeness_gap")
