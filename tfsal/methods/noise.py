"""SmoothGrad and its kin: any method, over noisy copies of the input."""

import abc
import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods.base import Method, settle_base
from tfsal.methods.baselines import value_range
from tfsal.methods.chunks import accumulate, as_weights, split_copies
from tfsal.methods.gradient import VanillaGradient
from tfsal.methods.request import repeat
from tfsal.methods.target import Target
from tfsal.ops import random
from tfsal.ops.precision import at_least_float32


@dataclasses.dataclass(frozen=True)
class NoisyMethod(Method):
    """Base of the wrappers that explain noisy copies of the input and keep a moment of the maps.

    The classes stay those of the input without noise. The noise is normal, of each example's own
    seed.

    Attributes:
      target: the score to explain, also by the base; None is the base's.
      base: the method to wrap, as an object or by name: "gradcam(layer='conv1')".
      samples: number of noisy copies.
      stdev: standard deviation of the noise as a share of each example's range, maximum minus
        minimum; of every input that the base explains, or all floating-point ones for a map.
    """

    base: Method = VanillaGradient()
    samples: int = 25
    stdev: float = 0.15
    target: Target | None = dataclasses.field(default=None, kw_only=True)

    cost: ClassVar[str] = "samples times that of the base"
    random: ClassVar[bool] = True
    loops: ClassVar[bool] = True

    def __post_init__(self):
        """Makes a method of a name, gives it and the wrapper one target, checks the numbers.

        Raises:
          MethodError: a hyperparameter has the wrong type or is out of range.
        """
        settle_base(self)
        super().__post_init__()
        if "tolerance_reached" in self.base.extras:
            raise MethodError(
                f"{type(self).__name__} cannot tell which of its samples came within a tolerance: "
                "give its base steps= instead of tolerance=."
            )
        if self.samples < 1:
            raise MethodError(f"samples is 1 or more, not {self.samples}.")
        if not 0 <= self.stdev < math.inf:
            raise MethodError(f"stdev is 0 or more, not {self.stdev}.")

    @property
    def units(self):
        """Those of the base; the wrappers that square say so."""
        return self.base.units

    @abc.abstractmethod
    def begin(self, zero):
        """The state of the running moment, a tensor, from zeros shaped as the maps."""

    @abc.abstractmethod
    def add(self, state, maps, weights, before):
        """Adds some samples to the moment.

        Args:
          state: as `begin` returns it.
          maps: [N, c, ...].
          weights: [c], 1 for a sample and 0 for what is none.
          before: scalar, the number of samples that are in the state.
        """

    @abc.abstractmethod
    def end(self, state):
        """[N, ...] of the state with all samples in it."""

    def check(self, net):
        """See Method."""
        self.base.check(net)

    def attribute(self, request):
        """See Method."""

        def update(numbers, real, states):
            copies = tf.size(numbers)
            weights = tf.cast(real, tf.float32)
            maps = self.base.attribute(self._noisy(request, numbers))
            return tf.nest.map_structure(
                lambda state, m: self.add(state, split_copies(m, copies), weights, numbers[0]),
                states,
                maps,
            )

        states = tf.nest.map_structure(self.begin, self._zero_maps(request))
        states = accumulate(request, self.samples, update, states, self.base.loops)
        return tf.nest.map_structure(self.end, states)

    def heatmap(self, request, attribution):
        """See Method; as the base draws it."""
        return self.base.heatmap(request, attribution)

    def _noisy(self, request, numbers):
        """The Request at the samples of these numbers [c]."""
        copies = tf.size(numbers)
        seeds = repeat(request.seed, copies)
        samples = tf.tile(numbers, [request.count])
        changed = {}
        for stream, name in enumerate(request.net.inputs):
            if name in self._inputs(request.net):
                x = at_least_float32(request.feeds[name])
                low, high = value_range(x)
                noise = tf.cast(random.normal(seeds, samples, tf.shape(x)[1:], stream), x.dtype)
                noisy = repeat(x, copies) + noise * repeat(self.stdev * (high - low), copies)
                changed[name] = tf.cast(noisy, request.feeds[name].dtype)
        return request.at(changed, copies, seed=random.fold(seeds, samples))

    def _inputs(self, net):
        """Names of the inputs that get noise."""
        if hasattr(self.base, "explained"):
            return self.base.explained(net)
        if isinstance(self.base, NoisyMethod):
            return self.base._inputs(net)
        reached = net.flow(self.target.tensors(net)).sources
        return [
            name
            for name, info in net.inputs.items()
            if info.dtype.is_floating
            and info.batched
            and (info.shape.rank or 0) > 1
            and info.tensor in reached
        ]

    def _zero_maps(self, request):
        """Zeros shaped as the base's maps, which are computed only where their shape is open."""
        shapes = []

        def trace():
            maps = self.base.attribute(request.at({}))
            shapes.append(tf.nest.map_structure(lambda m: tf.TensorSpec(m.shape, m.dtype), maps))

        tf.function(trace, autograph=False).get_concrete_function()
        (specs,) = shapes
        if all(spec.shape[1:].is_fully_defined() for spec in tf.nest.flatten(specs)):
            return tf.nest.map_structure(
                lambda s: tf.zeros([request.count, *s.shape[1:]], s.dtype), specs
            )
        # Maps of open size: one evaluation more.
        return tf.nest.map_structure(tf.zeros_like, self.base.attribute(request))


class _Mean(NoisyMethod):
    """The mean over samples of a power of the maps."""

    def power(self, maps):
        """What is averaged."""
        return maps

    def begin(self, zero):
        """See NoisyMethod."""
        return zero

    def add(self, state, maps, weights, before):
        """See NoisyMethod."""
        return state + tf.reduce_sum(self.power(maps) * as_weights(weights, maps), axis=1)

    def end(self, state):
        """See NoisyMethod."""
        return state / self.samples


@dataclasses.dataclass(frozen=True)
class SmoothGrad(_Mean, name="smoothgrad"):
    """SmoothGrad: the mean of a method's maps over noisy copies of the input.

    Smilkov et al. 2017, https://arxiv.org/abs/1706.03825, section 3. Attribution as the base's.
    """


@dataclasses.dataclass(frozen=True)
class SquareGrad(_Mean, name="squaregrad"):
    """SmoothGrad of squares: the mean of the squared maps, without sign.

    Hooker et al. 2019, https://arxiv.org/abs/1806.10758, section 4.2 (SmoothGrad-Squared); the
    default of PAIR's saliency library. Attribution shaped as the base's.
    """

    @property
    def units(self):
        """Those of the base, squared."""
        return f"square of: {self.base.units}"

    def power(self, maps):
        """See _Mean."""
        return maps**2


@dataclasses.dataclass(frozen=True)
class VarGrad(NoisyMethod, name="vargrad"):
    """VarGrad: the variance of a method's maps over noisy copies of the input, without sign.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03292, appendix. The sum of squared deviations
    over `samples`, not samples - 1. Attribution shaped as the base's.
    """

    def __post_init__(self):
        """See NoisyMethod."""
        super().__post_init__()
        if self.samples < 2:
            raise MethodError(f"A variance needs samples=2 or more, not {self.samples}.")

    @property
    def units(self):
        """Those of the base, squared."""
        return f"square of: {self.base.units}"

    def begin(self, zero):
        """See NoisyMethod. (mean, sum of squared deviations from it)."""
        return tf.stack([zero, zero], axis=1)

    def add(self, state, maps, weights, before):
        """See NoisyMethod. Chan, Golub and LeVeque 1979, equation 2.1: no difference of squares."""
        mean, deviations = tf.unstack(state, axis=1)
        weights = as_weights(weights, maps)
        before = tf.cast(before, maps.dtype)
        count = tf.reduce_sum(weights)
        own = tf.reduce_sum(maps * weights, axis=1) / count
        apart = own - mean
        deviations += tf.reduce_sum((maps - own[:, tf.newaxis]) ** 2 * weights, axis=1)
        deviations += apart**2 * before * count / (before + count)
        mean += apart * count / (before + count)
        return tf.stack([mean, deviations], axis=1)

    def end(self, state):
        """See NoisyMethod."""
        return state[:, 1] / self.samples
