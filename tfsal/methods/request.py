"""Request: what is asked of a method, inside the trace that answers it."""

import copy
import functools

import tensorflow as tf

from tfsal.errors import GradientError
from tfsal.graph.functions import op_name
from tfsal.graph.gates import gradient_of_gates
from tfsal.graph.normalize import has_gradient
from tfsal.ops.precision import at_least_float32

# Gradients in float16 underflow below 6e-8 and overflow above 65504, so they are scaled up, and
# where that was too much, down. A power of two changes no digit of the result.
_SCALE_UP = 2.0**12
_SCALE_DOWN = 2.0**-6


def repeat(value, copies):
    """[N, ...] -> [N * copies, ...], the copies of a row together; copies: int or scalar tensor."""
    return value if _is_one(copies) else tf.repeat(value, copies, axis=0)


def _is_one(copies):
    return isinstance(copies, int) and copies == 1


class Request:
    """One model, one batch of inputs and the score to explain, inside a trace.

    Attributes:
      net: the ModelGraph.
      target: the target.
      feeds: {input name: tensor}.
      fed: {tensor name: tensor} of the model that stand in place of what it computes.
      region: [N, *spatial] weights for a RegionScore, else None.
      segments: [N or 1, K, *positions] int32 labels, for a method that takes them, else None.
      seed: [N] int32, what the noise of each example is drawn from; None for a method that is not
        random.
      internal_batch_size: rows that a method of many evaluations should evaluate at once.
      compile_bodies: compile the bodies of loops with XLA, where the function as a whole is not.
      progress: a Progress that the loops tell how far they are, or None; not that of other inputs
        (`at`), whose loops are inside.
      classes: [N] int32, the explained class of each example; [N, K] in a request for K classes,
        of which `about` takes one.
      extras: {name: tensor [N, ...]}; a method puts its further outputs here.
    """

    def __init__(
        self,
        net,
        target,
        feeds,
        wanted,
        region=None,
        seed=None,
        *,
        segments=None,
        internal_batch_size=8,
        compile_bodies=False,
        progress=None,
        classes=None,
        fed=None,
    ):
        """Evaluates the model once at `feeds`.

        Args:
          net, target, feeds, region, segments: see the class.
          internal_batch_size, compile_bodies, progress: see the class.
          wanted: class indices as asked for, [N] or [1] int32; or [N, K] or [1, K].
          seed: [N] or [1] int32, or None.
          classes: resolved class indices [N], when they are known already.
          fed: see the class; None: no tensors.
        """
        self.net = net
        self.target = target
        self.feeds = feeds
        self.region = region
        self.segments = segments
        self.fed = fed or {}
        self.evaluation = net.evaluate({**feeds, **self.fed})
        if classes is None:
            classes = target.classes(net, self.evaluation, wanted, region)
        self.classes = classes
        self.seed = None if seed is None else tf.broadcast_to(seed, tf.shape(classes)[:1])
        self.internal_batch_size = internal_batch_size
        self.compile_bodies = compile_bodies
        self.progress = progress
        self.extras = {}

    @property
    def count(self):
        """N, a scalar int32 tensor."""
        return tf.shape(self.classes)[0]

    @property
    def repeatable(self):
        """False for a model whose batch size is fixed: there are no copies of a row then."""
        return all(
            value.shape[0] is None
            for name, value in self.feeds.items()
            if self.net.inputs[name].batched and value.shape.rank
        )

    def at(self, changed, copies=1, rows=None, seed=None):
        """Asks the same question at other inputs: classes, region and seed stay the original's.

        It works inside the body of a tf.while_loop.

        Args:
          changed: {input or tensor name: tensor [R, ...]} of what is another; the rest stays as
            it is. What computes a tensor given here is not evaluated, but where a path goes around
            it, from the inputs.
          copies: how many rows there are of each example, R = N * copies, those of one example
            together; int or scalar tensor.
          rows: instead of copies, [R] int32: the example that each row is of.
          seed: [R] int32 where a method inside is to draw other noise than this one.

        Returns:
          A Request of R rows.
        """

        def of_rows(value):
            return repeat(value, copies) if rows is None else tf.gather(value, rows)

        feeds = dict(self.feeds)
        for name, value in self.feeds.items():
            if name in changed:
                feeds[name] = changed[name]
            elif self.net.inputs[name].batched and value.shape.rank:
                feeds[name] = of_rows(value)

        def of_each(value):
            if value is None or (rows is None and _is_one(copies)):
                return value
            each = tf.concat([[self.count], tf.shape(value)[1:]], 0)
            return of_rows(tf.broadcast_to(value, each))

        if seed is None and self.seed is not None:
            seed = of_rows(self.seed)
        fed = {name: of_rows(value) for name, value in self.fed.items()}
        fed |= {name: value for name, value in changed.items() if name not in self.feeds}
        classes = of_rows(self.classes)
        return Request(
            self.net,
            self.target,
            feeds,
            classes,
            of_each(self.region),
            seed,
            segments=of_each(self.segments),
            internal_batch_size=self.internal_batch_size,
            compile_bodies=self.compile_bodies,
            classes=classes,
            fed=fed,
        )

    def about(self, classes):
        """Returns the question of other classes [N] of the same inputs, once evaluated."""
        other = copy.copy(self)
        other.__dict__.pop("score", None)
        other.extras = {}
        other.classes = classes
        return other

    @functools.cached_property
    def score(self):
        """[N] float32 or float64: the score of each example."""
        return self.target.score(self.net, self.evaluation, self.classes, self.region)

    def outputs(self):
        """{output name: tensor} of the model."""
        return {name: self.evaluation[info.tensor] for name, info in self.net.outputs.items()}

    def gradients(self, tensors, rule=None):
        """Gradients of each example's score.

        The graph is differentiated from the score to these tensors and no further.

        Args:
          tensors: tensor names of the model.
          rule: what the activations of a gated `net` do to a gradient, as in
            methods/backward_rules.py; None: they have their own derivative.

        Returns:
          A list of tensors, shaped as what they are gradients of; float32, or float64 in a
          float64 model.

        Raises:
          GradientError: the score does not depend on a tensor in a differentiable way.
        """
        way = self._way(tensors)
        lost = [t for t in way if op_name(t) in self.net.lost_gradients]
        if lost:
            raise GradientError(
                f"The model replaces the gradient of '{op_name(lost[0])}' by a function of its own "
                "(tf.custom_gradient), which was lost on the way here, and the op has no usable "
                "gradient without it. Explain a layer after it, or use a method that needs no "
                "gradient."
            )
        if any(self.net.tensor(t).op == "Exit" for t in way):  # A loop of TF1.
            raise GradientError(self._no_gradient(way))
        if not any(self.net.tensor(t).dtype == tf.float16 for t in way):
            return self._differentiate(tensors, way, 1.0, rule)
        found = self._differentiate(tensors, way, _SCALE_UP, rule)
        overflowed = self._overflowed(found)

        def mended():
            smaller = self.at({})._differentiate(tensors, way, _SCALE_DOWN, rule)
            # Row by row: what one example needs must not change its neighbours.
            return [
                tf.where(tf.reshape(overflowed, [-1] + [1] * (new.shape.rank - 1)), new, old)
                for new, old in zip(smaller, found, strict=True)
            ]

        return tf.cond(tf.reduce_any(overflowed), mended, lambda: found)

    def _differentiate(self, tensors, way, scale, rule):
        seed = tf.fill(tf.shape(self.score), tf.constant(scale, self.score.dtype))
        at = [self.evaluation[t] for t in tensors]
        gates = self.evaluation.operations(self.net.gates)
        try:
            with gradient_of_gates(gates, rule or _own_derivative):
                found = tf.gradients(self.score, at, grad_ys=seed)
        except LookupError as error:
            raise GradientError(self._no_gradient(way)) from error
        if any(g is None for g in found):
            raise GradientError(self._no_gradient(way))
        found = [at_least_float32(tf.convert_to_tensor(g)) for g in found]
        return found if scale == 1 else [g / scale for g in found]

    def _overflowed(self, gradients):
        """[N] bool: the rows with a finite score and a gradient that is not."""
        finite = [
            tf.reduce_all(tf.math.is_finite(g), axis=list(range(1, g.shape.rank)))
            for g in gradients
        ]
        return tf.math.is_finite(self.score) & ~tf.reduce_all(finite, axis=0)

    def _way(self, tensors):
        return self.net.flow(self.target.tensors(self.net), tensors).order

    def _no_gradient(self, way):
        stops = [t for t in way if not has_gradient(self.net.tensor(t).op)]
        integers = [t for t in way[1:] if not self.net.tensor(t).dtype.is_floating]
        if not stops and not integers:
            return "The score does not depend on this tensor, so it has no gradient there."
        last = (stops or integers)[-1]
        return (
            f"The score has no gradient there: the op '{op_name(last)}' "
            f"({self.net.tensor(last).op}) on the way to it is not differentiable. Explain a layer "
            "after it, or use a method that needs no gradient."
        )


def _own_derivative(gradient):
    return gradient, None
