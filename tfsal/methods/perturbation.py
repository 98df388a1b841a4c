"""Perturbation methods: parts of an input give way to a baseline, and the score tells of it.

The engine is four things that do not know one another: masks, made from their number inside the
loop, so that they are never held all at once; a baseline, what stands where the input is masked;
the score; and an estimator, which adds up scores. A method is masks and an estimator.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import InputError
from tfsal.methods.base import Method
from tfsal.methods.baselines import Baseline, Constant, baseline_of
from tfsal.methods.chunks import (
    accumulate,
    as_weights,
    join_copies,
    scores,
    shares,
    split_copies,
)
from tfsal.methods.gradient import single
from tfsal.methods.request import repeat
from tfsal.ops import random
from tfsal.ops.precision import back_to, floating


@dataclasses.dataclass(frozen=True)
class PerturbationMethod(Method):
    """Base of the methods that mask parts of an input and look at the score.

    They need no gradient. Attribution [N, *positions of the input], the same for all channels of a
    position; the entries of a vector are its positions. Of several inputs one is masked at a time,
    and the others stay as they are.

    Attributes:
      inputs: names of the inputs to explain; None for every input of floats or uint8 that the score
        depends on, and where there is none for every input of integers.
      baseline: what stands where the input is masked: a number, an array, a name ("constant",
        "black_and_white", "image_range", "channel_mean", "blurred", "local_mean", "uniform",
        "gaussian", with settings as in "blurred(sigma=5)"), or one of the classes of
        `tfsal.methods.baselines`. Of several baselines the scores are averaged, and each mask costs
        as many times more.
    """

    inputs: tuple[str, ...] | None = None
    baseline: Baseline = Constant()

    loops: ClassVar[bool] = True

    def __post_init__(self):
        """Takes one name for a tuple of one, and makes a Baseline of what was given.

        Raises:
          MethodError: a hyperparameter has the wrong type or is out of range.
        """
        if isinstance(self.inputs, str):
            object.__setattr__(self, "inputs", (self.inputs,))
        object.__setattr__(self, "baseline", baseline_of(self.baseline))
        super().__post_init__()

    @property
    def random(self):
        """True when the baseline is; methods whose masks are random say so themselves."""
        return self.baseline.random

    @abc.abstractmethod
    def explain_input(self, masked):
        """Computes the attribution of one input.

        Args:
          masked: a MaskedInput.

        Returns:
          [N, *positions], in the dtype of the score.
        """

    def explained(self, net):
        """Returns the names of the inputs to explain.

        Raises:
          InputError: a name is no input that can be masked, or there is none.
        """
        reached = net.flow(self.target.tensors(net)).sources
        numbers = [
            name
            for name, info in net.inputs.items()
            if (info.dtype.is_floating or info.dtype.is_integer)
            and info.tensor in reached
            and info.batched
            and info.shape.rank is not None
            and info.shape.rank > 1
        ]
        for name in self.inputs or ():
            if name not in numbers:
                raise InputError(
                    f"'{name}' is no input that can be masked: those are the inputs of numbers "
                    f"[N, ...] that the score depends on, {', '.join(numbers) or 'here none'}."
                )
        if not numbers:
            raise InputError(
                "The score depends on no input of numbers [N, ...], so there is nothing to mask."
            )
        quantities = [name for name in numbers if net.inputs[name].is_quantity]
        return self.inputs or tuple(quantities or numbers)

    def check(self, net):
        """See Method; the baseline must fit every input."""
        self.check_sizes(net, net.inputs)

    def check_sizes(self, net, inputs):
        """See Method."""
        for name in self.explained(net):
            self.baseline.check(inputs[name])

    def attribute(self, request):
        """See Method."""
        inputs = {
            name: MaskedInput(request, name, self.baseline) for name in self.explained(request.net)
        }
        attributions = {name: self.explain_input(masked) for name, masked in inputs.items()}
        for extra in next(iter(inputs.values())).extras:
            values = {name: masked.extras[extra] for name, masked in inputs.items()}
            request.extras[extra] = single(values)
        return single(attributions)

    def heatmap(self, request, attribution):
        """See Method. What speaks for the score, its highest value 1."""
        return tf.nest.map_structure(visualize.positive, attribution)


def positions_of(info):
    """Sizes of the positions of an input, None where unknown; the entries of a vector are its."""
    return list(info.shape[1:] if info.shape.rank == 2 else info.spatial)


def position_axes(info):
    """The axes of `positions_of`, ints."""
    return [1] if info.shape.rank == 2 else info.spatial_axes


def fixed_positions(info, what):
    """`positions_of`, where none may be unknown.

    Raises:
      InputError: one is.
    """
    positions = positions_of(info)
    if None in positions:
        raise InputError(
            f"The input '{info.name}' takes {list(info.shape)}, any size, and {what} needs one. "
            "Load the model with specs=tf.TensorSpec(...) of the size to explain."
        )
    return positions


def for_each_axis(name, value, positions, default=None):
    """The value of a hyperparameter for each axis of positions.

    Args:
      name: of the hyperparameter, for the error.
      value: an int, a tuple, or None for the default.
      positions: sizes of the axes.
      default: list of ints.

    Raises:
      InputError: there are not as many as axes.
    """
    if value is None:
        return default
    values = value if isinstance(value, tuple) else (value,) * len(positions)
    if len(values) != len(positions):
        raise InputError(
            f"{name}={value} is for {len(values)} axes; the positions of the input are {positions}."
        )
    return list(values)


class Masks(NamedTuple):
    """Some masks at a time.

    Attributes:
      numbers: [c] int32, the numbers of the masks.
      weights: [c] float64, what each counts: all that are made with one number add up to 1.
      complete: [c] bool, the last that is made with its number.
      scores: function from the shares of the input that stay, [N or 1, c, *positions], to the
        scores [N, c].
    """

    numbers: tf.Tensor
    weights: tf.Tensor
    complete: tf.Tensor
    scores: Callable

    def sums(self, values, rest, each=1, count=None):
        """Adds up what several masks in a row say of one sample, chunk after chunk.

        Args:
          values: [N, c, ...], what each says.
          rest: [N, ...], what those before say of the sample that is under way; at first zeros.
          each: number of masks of a sample; int.
          count: number of all masks, of which the last may have fewer; int, or None.

        Returns:
          ([N, c, ...], [c] bool, the new rest): the sum of a whole sample where that is true.
        """
        sample = self.numbers // each
        last = self.numbers % each == each - 1
        whole = self.complete & (last if count is None else last | (self.numbers == count - 1))
        values *= as_weights(self.weights, values)
        values = tf.concat([values[:, :1] + rest[:, tf.newaxis], values[:, 1:]], axis=1)
        axes = [1, 0, *range(2, values.shape.rank)]
        place = sample - sample[0]
        sums = tf.math.unsorted_segment_sum(tf.transpose(values, axes), place, tf.size(place))
        sums = tf.transpose(tf.gather(sums, place), axes)
        over = tf.reduce_any(whole & (sample == sample[-1]))
        return sums, whole, tf.where(over, tf.zeros_like(rest), sums[:, -1])


class MaskedInput:
    """One input of a request, with what stands where it is masked.

    Attributes:
      request: the Request.
      name: name of the input.
      positions: [rank] sizes of its positions; ints, or scalar tensors where unknown before.
      dtype: of the score, float32 or float64.
      extras: {name: tensor [N, ...]}: further outputs that are shaped as the attribution.
    """

    def __init__(self, request, name, baseline):
        """Makes the baselines.

        Args:
          request, name: see the class.
          baseline: a Baseline.
        """
        self.request, self.name = request, name
        info, feed = request.net.inputs[name], request.feeds[name]
        x = floating(feed)
        stream = list(request.net.inputs).index(name)
        self._baselines = baseline.of(x, info, request.seed, stream)
        self._differences = x[:, tf.newaxis] - self._baselines
        self._axes = position_axes(info)
        sizes = tf.shape(feed)
        self.positions = [feed.shape[axis] or sizes[axis] for axis in self._axes]
        self.dtype = request.score.dtype
        self.extras = {}

    def zero_map(self):
        """[N, *positions] of zeros, in the dtype of the score."""
        return tf.zeros([self.request.count, *self.positions], self.dtype)

    def uniform(self, numbers, shape):
        """Random numbers for masks: each example's own, of its seed and the number of the mask.

        Args:
          numbers: [c] int32.
          shape: list of ints.

        Returns:
          [N, c, *shape] float32 in [0, 1).
        """
        copies = tf.size(numbers)
        seeds = repeat(self.request.seed, copies)
        samples = tf.tile(numbers, [self.request.count])
        return split_copies(random.uniform(seeds, samples, shape, self._stream()), copies)

    def random_bits(self, shape):
        """[N, *shape] uint32, the same for all masks: each example's own, of its seed."""
        return random.bits(self.request.seed, 0, shape, self._stream())

    def _stream(self):
        """Another stream than those of the baselines, which may be random too."""
        inputs = list(self.request.net.inputs)
        return len(inputs) + inputs.index(self.name)

    def over_masks(self, count, add, state, loop=accumulate):
        """Goes through the masks 0 to count - 1, each with every baseline.

        Args:
          count: how many masks; int.
          add: function of (Masks, state) -> the new state.
          state: nest of tensors.
          loop: `accumulate`, or what takes its place.

        Returns:
          The last state.
        """
        baselines = self._baselines.shape[1]

        def update(numbers, real, state):
            def scores(keep):
                return self._scores(keep, numbers % baselines)

            complete = real & (numbers % baselines == baselines - 1)
            masks = Masks(numbers // baselines, shares(real, baselines), complete, scores)
            return add(masks, state)

        return loop(self.request, count * baselines, update, state)

    def all_scores(self, count, keep_of):
        """Returns the scores under all masks, [N, count]: for estimators that need pairs of them.

        Args:
          count: how many masks; int.
          keep_of: function from the numbers [c] to the shares that stay, [N or 1, c, *positions].
        """
        baselines = self._baselines.shape[1]

        def ask(numbers):
            return self._asked(keep_of(numbers // baselines), numbers % baselines)

        found = scores(self.request, count * baselines, ask)
        return tf.reduce_mean(tf.reshape(found, [-1, count, baselines]), axis=2)

    def score_without(self):
        """[N]: the score where all of the input is masked."""
        ones = [1] * len(self.positions)
        return self.all_scores(1, lambda numbers: tf.zeros([1, tf.size(numbers), *ones]))[:, 0]

    def _scores(self, keep, which):
        """[N, c] with the baselines of the numbers `which` [c]."""
        return split_copies(self._asked(keep, which).score, tf.size(which))

    def _asked(self, keep, which):
        """The Request at these masks, with the baselines of the numbers `which` [c]."""
        start, difference = self._baselines, self._differences
        if start.shape[1] > 1:
            start, difference = (tf.gather(v, which, axis=1) for v in (start, difference))
        for axis in range(1, start.shape.rank - 1):
            if axis not in self._axes:  # That of the channels.
                keep = tf.expand_dims(keep, axis + 1)
        points = start + tf.cast(keep, start.dtype) * difference
        points = back_to(self.request.feeds[self.name].dtype, join_copies(points))
        return self.request.at({self.name: points}, tf.size(which))


def add_to_map(total, where, values):
    """Adds to maps what some masks say, where they say it.

    Args:
      total: [N, *positions].
      where: [N or 1, c, *positions], factors of the positions.
      values: [N, c].

    Returns:
      [N, *positions].
    """
    ones = [1] * (total.shape.rank - 1)
    values = tf.reshape(values, tf.concat([tf.shape(values), ones], 0))
    return total + tf.reduce_sum(tf.cast(where, total.dtype) * values, axis=1)


def drop_units(measure, what):
    """Units of a drop of the score, or of its fraction; `what` it is, in words."""
    return f"score: {what}" if measure == "drop" else f"share of the score: {what}"


def share_of(measure, drops, score):
    """Drops of the score as they are, or as fractions of its absolute value, 0 where it is 0.

    Args:
      measure: "drop" or "fraction".
      drops: [N, ...].
      score: [N].
    """
    if measure == "drop":
        return drops
    return tf.math.divide_no_nan(drops, as_rows(tf.abs(score), drops))


def as_rows(values, like):
    """[N] -> [N, 1, ...] of the rank of `like`."""
    return tf.reshape(values, [-1] + [1] * (like.shape.rank - 1))
