"""Activation maximization: an input made to score high, instead of an input explained."""

import dataclasses
import math
from typing import ClassVar, Literal

import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods.chunks import round_body
from tfsal.methods.gradient import InputGradientMethod, absolute_heatmap, single
from tfsal.ops import random
from tfsal.ops.precision import at_least_float32

_JITTER, _NOISE = 0, 1  # Streams of random numbers; each input has its own noise.


@dataclasses.dataclass(frozen=True)
class ActivationMaximization(InputGradientMethod, name="activation_maximization"):
    """Activation maximization: the input changed, step by step, so that its class scores higher.

    Simonyan, Vedaldi and Zisserman 2014, https://arxiv.org/abs/1312.6034, section 2: gradient
    ascent on score - l2 * sum(x^2) - total_variation * sum |x_i - x_j| over neighbours i, j (the
    second regulariser as in Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035, with
    beta = 1). Jitter and the Fourier parametrisation are those of Olah et al. 2017,
    https://distill.pub/2017/feature-visualization. Class -1 is the top one of the given input, and
    stays it. Attribution: the input that was made, in the input's shape; the heatmap shows where it
    differs from the start.

    `maximized_score` is the score of the result, without the regularisers.

    Attributes:
      steps: number of steps.
      step_size: size of a step: with `normalize` its root mean square, in units of the input (0.05
        is for inputs from 0 or -1 to 1; for pixels from 0 to 255 take 5); without, the factor of
        the gradient.
      normalize: divide the gradient of each example by its root mean square.
      l2: weight of the sum of squares, in units of the score per squared unit of the input: what
        keeps inputs in -1 to 1 near 0 wipes out pixels from 0 to 255.
      total_variation: weight of the sum of absolute differences of neighbours, in units of the
        score per unit of the input.
      jitter: the input is moved, around its edges, by up to so many positions along each axis
        before each step, drawn anew for each example and step from its seed.
      parametrization: what the steps go along: "pixel", the values, or "fourier", the amplitudes of
        waves over the positions, each scaled by its wavelength, so that low frequencies, which
        natural images have most of, go first.
      start: "input", what is given, or a number that every value starts at.
      noise: standard deviation of what is added to the start, drawn from the seed.
      clip: (lowest, highest) value, of the start and after every step; None: no limit.
    """

    steps: int = dataclasses.field(default=128, kw_only=True)
    step_size: float = dataclasses.field(default=0.05, kw_only=True)
    normalize: bool = dataclasses.field(default=True, kw_only=True)
    l2: float = dataclasses.field(default=0.0, kw_only=True)
    total_variation: float = dataclasses.field(default=0.0, kw_only=True)
    jitter: int = dataclasses.field(default=0, kw_only=True)
    parametrization: Literal["pixel", "fourier"] = dataclasses.field(default="pixel", kw_only=True)
    start: Literal["input"] | float = dataclasses.field(default="input", kw_only=True)
    noise: float = dataclasses.field(default=0.0, kw_only=True)
    clip: tuple[float, float] | None = dataclasses.field(default=None, kw_only=True)

    loops: ClassVar[bool] = True
    cost: ClassVar[str] = "steps + 2 forward, steps backward"
    units: ClassVar[str] = "unit of the input: it is an input, not an attribution"
    extras: ClassVar[dict[str, str]] = {"maximized_score": "score of the input that was made"}

    @property
    def random(self):
        """See Method."""
        return self.jitter > 0 or self.noise > 0

    def __post_init__(self):
        """Checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        super().__post_init__()
        if self.steps < 1:
            raise MethodError(f"steps is 1 or more, not {self.steps}.")
        if not 0 < self.step_size < math.inf:
            raise MethodError(f"step_size is more than 0, not {self.step_size}.")
        for name in ("l2", "total_variation", "jitter", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise MethodError(f"{name} is 0 or more, not {getattr(self, name)}.")
        if self.start != "input" and not math.isfinite(self.start):
            raise MethodError(f"start is 'input' or a number, not {self.start}.")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise MethodError(f"clip is (lowest, highest), not {self.clip}.")

    def check(self, net):
        """See Method."""
        ranks = [len(net.inputs[name].spatial) for name in self.explained(net)]
        along = [n for n in ("jitter", "total_variation") if getattr(self, n)]
        along += ["parametrization='fourier'"] * (self.parametrization == "fourier")
        if along and not any(ranks):
            raise MethodError(f"{along[0]} is over positions, and the explained inputs have none.")
        if self.parametrization == "fourier" and max(ranks) > 3:
            raise MethodError("parametrization='fourier' is for 1 to 3 axes of positions.")

    def attribute(self, request):
        """See Method."""

        def body(step, values):
            gradients = self._gradients(request, step, values)
            return step + 1, {name: self._step(values[name], g) for name, g in gradients.items()}

        _, values = tf.while_loop(
            lambda step, _: step < self.steps,
            round_body(request, body, self.steps),
            (tf.constant(0), self._start(request)),
            parallel_iterations=1,
            maximum_iterations=self.steps,
        )
        request.extras["maximized_score"] = request.at(_as_inputs(request, values)).score
        return single(values)

    def _start(self, request):
        """{input name: tensor} that the ascent starts from."""
        values = {}
        for i, name in enumerate(self.explained(request.net)):
            value = at_least_float32(request.feeds[name])
            if self.start != "input":
                value = tf.fill(tf.shape(value), tf.constant(self.start, value.dtype))
            if self.noise:
                shape = tf.shape(value)[1:]
                drawn = random.normal(request.seed, 0, shape, stream=_NOISE + i)
                value += self.noise * tf.cast(drawn, value.dtype)
            value = tf.ensure_shape(value, request.feeds[name].shape)
            values[name] = self._clipped(value)
        return values

    def _clipped(self, value):
        return value if self.clip is None else tf.clip_by_value(value, *self.clip)

    def _gradients(self, request, step, values):
        """{input name: ascent direction} of the score and the regularisers."""
        net = request.net
        axes = {name: net.inputs[name].spatial_axes for name in values}
        moves, moved = {}, values
        if self.jitter:
            moves = {name: self._moves(request, step, len(axes[name])) for name in values}
            moved = {name: _rolled(v, axes[name], moves[name]) for name, v in values.items()}
        tensors = [net.inputs[name].tensor for name in values]
        found = request.at(_as_inputs(request, moved)).gradients(tensors)
        gradients = {}
        for (name, value), g in zip(values.items(), found, strict=True):
            if self.jitter:
                g = _rolled(g, axes[name], -moves[name])
            g = tf.cast(g, value.dtype) - 2.0 * self.l2 * value
            if self.total_variation:
                g -= self.total_variation * _total_variation_gradient(value, axes[name])
            if self.parametrization == "fourier" and axes[name]:
                g = _through_fourier(g, axes[name])
            gradients[name] = g
        return gradients

    def _moves(self, request, step, rank):
        """[N, rank] int32 in -jitter to jitter."""
        drawn = random.uniform(request.seed, step, [rank], stream=_JITTER)
        return tf.cast(tf.floor(drawn * (2 * self.jitter + 1)), tf.int32) - self.jitter

    def _step(self, value, gradient):
        if self.normalize:
            axes = list(range(1, gradient.shape.rank))
            size = tf.sqrt(tf.reduce_mean(gradient**2, axis=axes, keepdims=True))
            gradient = tf.math.divide_no_nan(gradient, size)
        value = self._clipped(value + self.step_size * gradient)
        return tf.ensure_shape(value, gradient.shape)

    def heatmap(self, request, attribution):
        """See Method. Absolute differences from the start, clipped at the 99th percentile."""
        start = self._start(request)
        made = attribution if isinstance(attribution, dict) else {next(iter(start)): attribution}
        inputs = request.net.inputs
        return single({k: absolute_heatmap(v - start[k], inputs[k]) for k, v in made.items()})


def _as_inputs(request, values):
    return {name: tf.cast(v, request.feeds[name].dtype) for name, v in values.items()}


def _rolled(value, axes, moves):
    """Each example moved around its edges; moves: [N, number of axes] int32."""
    shape = value.shape
    for i, axis in enumerate(axes):
        size = tf.shape(value)[axis]
        places = (tf.range(size)[tf.newaxis] - moves[:, i : i + 1]) % size
        value = tf.gather(value, places, axis=axis, batch_dims=1)
    return tf.ensure_shape(value, shape)


def _total_variation_gradient(value, axes):
    """Gradient of the sum of absolute differences of neighbours; 0 where they are equal."""
    total = tf.zeros_like(value)
    for axis in axes:
        size = tf.shape(value)[axis]
        following = tf.gather(value, tf.range(1, size), axis=axis)
        sign = tf.sign(following - tf.gather(value, tf.range(size - 1), axis=axis))
        before, after = [[0, 0]] * value.shape.rank, [[0, 0]] * value.shape.rank
        before[axis], after[axis] = [1, 0], [0, 1]
        total += tf.pad(sign, before) - tf.pad(sign, after)
    return tf.ensure_shape(total, value.shape)


def _through_fourier(gradient, axes):
    """What a step along scaled amplitudes p is in values: F^-1 s^2 F of the gradient.

    With x = F^-1(s p), F unitary, the gradient with respect to p is s F(g), and a step along it
    moves x by F^-1(s s F(g)). s is 1 / frequency, at most that of the longest wave, which is 1.
    """
    rank, shape = len(axes), gradient.shape
    channels_last = axes[0] == 1
    if channels_last and shape.rank > rank + 1:
        gradient = tf.transpose(gradient, [0, rank + 1, *axes])
    sizes = tf.shape(gradient)[-rank:]
    forward = (tf.signal.rfft, tf.signal.rfft2d, tf.signal.rfft3d)[rank - 1]
    backward = (tf.signal.irfft, tf.signal.irfft2d, tf.signal.irfft3d)[rank - 1]
    spectrum = forward(gradient, sizes)
    power = tf.cast(_wave_scale(sizes, rank, gradient.dtype) ** 2, spectrum.dtype)
    gradient = tf.cast(backward(spectrum * power, sizes), gradient.dtype)
    if channels_last and shape.rank > rank + 1:
        gradient = tf.transpose(gradient, [0, *range(2, rank + 2), 1])
    return tf.ensure_shape(gradient, shape)


def _wave_scale(sizes, rank, dtype):
    """[*sizes, the last one halved]: 1 / max(frequency, 1 / longest), over the longest size."""
    squared = tf.zeros([], dtype)
    for i in range(rank):
        size = sizes[i]
        waves = tf.range(size // 2 + 1) if i == rank - 1 else tf.range(size)
        waves = tf.cast(tf.minimum(waves, size - waves), dtype) / tf.cast(size, dtype)
        squared += tf.reshape(waves**2, [-1] + [1] * (rank - 1 - i))
    longest = tf.cast(tf.reduce_max(sizes), dtype)
    return 1.0 / (tf.maximum(tf.sqrt(squared), 1.0 / longest) * longest)
