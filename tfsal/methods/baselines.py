"""Baselines: the inputs without what is to be explained, where the paths begin."""

import abc
import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.methods.array import Array
from tfsal.methods.by_text import built
from tfsal.ops import random


class Baseline(abc.ABC):
    """A rule for baselines; frozen dataclasses.

    Attributes:
      count: how many baselines it makes of one input; attributions are averaged over them.
      random: True when they depend on a seed.
    """

    count: int = 1
    random: ClassVar[bool] = False

    @abc.abstractmethod
    def of(self, x, info, seed, stream):
        """Makes the baselines, inside a trace.

        Args:
          x: [N, *shape] float32 or float64, the input.
          info: TensorInfo of the input.
          seed: [N] int32, or None where it is not random.
          stream: int, another one for each input.

        Returns:
          [N, count, *shape], in the dtype of x.
        """

    def check(self, info):
        """Raises a TfsalError when this is no baseline for an input.

        Args:
          info: TensorInfo of the input.
        """


@dataclasses.dataclass(frozen=True)
class Constant(Baseline):
    """One value everywhere; 0 by default, as in most papers.

    Attributes:
      value: in units of the model's input, so 0 is black only where the preprocessing has it so.
    """

    value: float = 0.0

    def __post_init__(self):
        """Checks the value."""
        _check_numbers("a constant baseline", self.value)

    def check(self, info):
        """See Baseline."""
        _check_range(info, self.value)

    def of(self, x, info, seed, stream):
        """See Baseline."""
        return tf.fill(tf.shape(x), tf.constant(self.value, x.dtype))[:, tf.newaxis]


@dataclasses.dataclass(frozen=True)
class BlackAndWhite(Baseline):
    """Two constants, averaged, so that neither black nor white parts count for nothing.

    Attributes:
      black, white: in units of the model's input.
    """

    black: float = 0.0
    white: float = 1.0

    count: ClassVar[int] = 2

    def __post_init__(self):
        """Checks the values."""
        _check_numbers("a black and white baseline", self.black, self.white)
        if self.black == self.white:
            raise MethodError(f"black and white are the same value, {self.black}.")

    def check(self, info):
        """See Baseline."""
        _check_range(info, self.black, self.white)

    def of(self, x, info, seed, stream):
        """See Baseline."""
        both = [tf.fill(tf.shape(x), tf.constant(v, x.dtype)) for v in (self.black, self.white)]
        return tf.stack(both, axis=1)


@dataclasses.dataclass(frozen=True)
class ImageRange(Baseline):
    """Two constants, each image's own minimum and maximum, averaged; XRAI's choice.

    Kapishnikov et al. 2019, https://arxiv.org/abs/1906.02825, section 3.1.
    """

    count: ClassVar[int] = 2

    def of(self, x, info, seed, stream):
        """See Baseline."""
        return tf.stack([tf.zeros_like(x) + end for end in value_range(x)], axis=1)


@dataclasses.dataclass(frozen=True)
class ChannelMean(Baseline):
    """The mean over the positions of each channel: a picture of one color, the image's own."""

    def of(self, x, info, seed, stream):
        """See Baseline."""
        mean = tf.reduce_mean(x, axis=info.spatial_axes, keepdims=True)
        return (tf.zeros_like(x) + mean)[:, tf.newaxis]

    def check(self, info):
        """See Baseline."""
        _check_positions(info, "average over")


@dataclasses.dataclass(frozen=True)
class Blurred(Baseline):
    """The input blurred by a Gaussian along its spatial axes.

    Sturmfels et al. 2020, https://doi.org/10.23915/distill.00022. At the borders the kernel is
    scaled up, so that a constant stays what it is.

    Attributes:
      sigma: standard deviation in pixels.
    """

    sigma: float = 20.0

    def __post_init__(self):
        """Checks sigma."""
        _check_numbers("a blurred baseline", self.sigma)
        if self.sigma <= 0:
            raise MethodError(f"sigma of a blurred baseline is above 0, not {self.sigma}.")

    def of(self, x, info, seed, stream):
        """See Baseline."""
        for axis in info.spatial_axes:
            places = tf.cast(tf.range(tf.shape(x)[axis]), x.dtype)
            kernel = tf.exp(-(((places - places[:, tf.newaxis]) / self.sigma) ** 2) / 2)
            kernel /= tf.reduce_sum(kernel, axis=1, keepdims=True)
            order = [i for i in range(x.shape.rank) if i != axis] + [axis]
            back = [order.index(i) for i in range(x.shape.rank)]
            along = tf.tensordot(tf.transpose(x, order), kernel, [[-1], [1]])
            x = tf.transpose(along, back)
        return x[:, tf.newaxis]

    def check(self, info):
        """See Baseline."""
        _check_positions(info, "blur")


@dataclasses.dataclass(frozen=True)
class LocalMean(Baseline):
    """The mean over a box around each position, along the spatial axes.

    At the borders over the positions that there are, so that a constant stays what it is.

    Attributes:
      size: positions of the box along each axis, odd.
    """

    size: int = 31

    def __post_init__(self):
        """Checks the size."""
        number = isinstance(self.size, int) and not isinstance(self.size, bool)
        if not number or self.size < 1 or self.size % 2 == 0:
            raise MethodError(
                f"size of a local mean is 1, 3, 5, ... positions, half of them on each side, not "
                f"{self.size!r}."
            )

    def of(self, x, info, seed, stream):
        """See Baseline."""
        mean = tf.cast(x, tf.float64)  # Of sums over whole axes differences are taken.
        for axis in info.spatial_axes:
            length = tf.shape(x)[axis]
            places, half = tf.range(length), min(self.size // 2, 2**30)
            first = tf.maximum(places - half, 0)
            after = tf.minimum(places + 1 + half, length)
            sums = tf.cumsum(mean, axis)
            sums = tf.concat([tf.zeros_like(tf.gather(mean, [0], axis=axis)), sums], axis)
            within = tf.gather(sums, after, axis=axis) - tf.gather(sums, first, axis=axis)
            shape = [-1] + [1] * (x.shape.rank - 1 - axis)
            mean = within / tf.reshape(tf.cast(after - first, tf.float64), shape)
        return tf.ensure_shape(tf.cast(mean, x.dtype), x.shape)[:, tf.newaxis]

    def check(self, info):
        """See Baseline."""
        _check_positions(info, "average over")


@dataclasses.dataclass(frozen=True)
class Uniform(Baseline):
    """Uniform noise; its mean over several draws.

    Sturmfels et al. 2020, https://doi.org/10.23915/distill.00022.

    Attributes:
      count: number of draws.
      low, high: the range in units of the model's input; None is each image's own.
    """

    count: int = 5
    low: float | None = None
    high: float | None = None

    random: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the numbers."""
        _check_count(self.count)
        if (self.low is None) != (self.high is None):
            raise MethodError("A uniform baseline has both low= and high=, or neither.")
        if self.low is not None:
            _check_numbers("a uniform baseline", self.low, self.high)
            if self.low >= self.high:
                raise MethodError(f"low={self.low} is not below high={self.high}.")

    def check(self, info):
        """See Baseline."""
        if self.low is not None:
            _check_range(info, self.low, self.high)

    def of(self, x, info, seed, stream):
        """See Baseline."""
        low, high = value_range(x) if self.low is None else (self.low, self.high)
        noise = [random.uniform(seed, i, tf.shape(x)[1:], stream) for i in range(self.count)]
        return tf.stack([low + tf.cast(n, x.dtype) * (high - low) for n in noise], axis=1)


@dataclasses.dataclass(frozen=True)
class Gaussian(Baseline):
    """The input with Gaussian noise; its mean over several draws.

    Sturmfels et al. 2020, https://doi.org/10.23915/distill.00022.

    Attributes:
      count: number of draws.
      stdev: standard deviation as a share of each image's range.
    """

    count: int = 5
    stdev: float = 0.5

    random: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the numbers."""
        _check_count(self.count)
        _check_numbers("a Gaussian baseline", self.stdev)
        if self.stdev <= 0:
            raise MethodError(f"stdev of a Gaussian baseline is above 0, not {self.stdev}.")

    def of(self, x, info, seed, stream):
        """See Baseline."""
        low, high = value_range(x)
        noise = [random.normal(seed, i, tf.shape(x)[1:], stream) for i in range(self.count)]
        spread = self.stdev * (high - low)
        return tf.stack([x + tf.cast(n, x.dtype) * spread for n in noise], axis=1)


@dataclasses.dataclass(frozen=True)
class Given(Baseline):
    """An array: the same baseline for every example.

    Attributes:
      array: [*shape of the input], or [1, *shape].
    """

    array: Array

    def __post_init__(self):
        """Wraps the array and checks its values."""
        if not isinstance(self.array, Array):
            object.__setattr__(self, "array", Array(self.array))
        if self.array.value.dtype.kind not in "fiu":
            raise MethodError(f"A baseline is numbers, not {self.array.value.dtype}.")
        if not np.isfinite(self.array.value).all():
            raise MethodError("The baseline holds a NaN or an infinity.")

    def of(self, x, info, seed, stream):
        """See Baseline."""
        value = tf.cast(tf.constant(self._value(info)), x.dtype)
        return tf.broadcast_to(value, tf.shape(x))[:, tf.newaxis]

    def check(self, info):
        """See Baseline."""
        if not info.shape[1:].is_compatible_with(self._value(info).shape):
            raise InputError(
                f"The baseline has the shape {list(self.array.value.shape)}; the input "
                f"'{info.name}' takes {list(info.shape[1:])}."
            )
        value = self.array.value
        _check_range(info, *((value.min(), value.max()) if value.size else ()))

    def _value(self, info):
        value = self.array.value
        return value[0] if value.ndim == info.shape.rank and len(value) == 1 else value


NAMES = {
    "constant": Constant,
    "black_and_white": BlackAndWhite,
    "image_range": ImageRange,
    "channel_mean": ChannelMean,
    "blurred": Blurred,
    "local_mean": LocalMean,
    "uniform": Uniform,
    "gaussian": Gaussian,
}


def baseline_of(value):
    """Makes a Baseline of what a user may give for one.

    Args:
      value: a Baseline; a number; a name, as 'blurred' or 'blurred(sigma=5)'; an array.

    Raises:
      MethodError: it is none of these, or its numbers make no baseline.
    """
    if isinstance(value, Baseline):
        return value
    if isinstance(value, str):
        return built(value, NAMES, "baseline")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Constant(float(value))
    if hasattr(value, "__array__"):
        return Given(value)
    raise MethodError(
        f"{value!r} is no baseline: give a number, an array, or one of {', '.join(NAMES)}."
    )


def value_range(x):
    """Returns the minimum and maximum of each example: two tensors [N, 1, ...]."""
    axes = list(range(1, x.shape.rank))
    return [reduce(x, axis=axes, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max)]


def _check_positions(info, what):
    if not info.spatial_axes:
        raise InputError(
            f"The input '{info.name}' has no positions to {what}; take another baseline."
        )


def _check_numbers(what, *values):
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise MethodError(f"{what} is made of finite numbers, not {value!r}.")


def _check_range(info, *values):
    low, high = float(info.dtype.min), float(info.dtype.max)
    if values and not low <= min(values) <= max(values) <= high:
        raise InputError(
            f"The baseline goes from {min(values):g} to {max(values):g}, beyond the "
            f"{info.dtype.name} of the input '{info.name}'."
        )


def _check_count(count):
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise MethodError(f"The count of baselines is 1 or more, not {count!r}.")
