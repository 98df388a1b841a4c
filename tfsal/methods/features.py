"""Segments of an input as features that are there or not, and what the score loses with each."""

import abc
import dataclasses
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.methods.array import Array
from tfsal.methods.perturbation import (
    PerturbationMethod,
    drop_units,
    fixed_positions,
    for_each_axis,
    positions_of,
    share_of,
)

# Cells of the default grid, over all axes.
_CELLS = 64


@dataclasses.dataclass(frozen=True)
class FeatureMethod(PerturbationMethod):
    """Base of the methods that attribute to segments of the positions, the features.

    Every position gets the value of its segment.

    Attributes:
      segments: which positions make one feature: an array of labels [*positions], whole numbers
        from 0 on, the same for all examples; or the cells of a grid along each axis, an int or one
        for each axis. None: each entry of a vector, and for other inputs a grid of 64 cells (8x8 of
        an image), or as many as there are positions.
    """

    segments: Array | tuple[int, ...] | int | None = None

    def __post_init__(self):
        """Wraps labels, and checks them.

        Raises:
          MethodError: a hyperparameter has the wrong type or is out of range.
        """
        given = self.segments
        if hasattr(given, "__array__"):
            given = Array(given)
            object.__setattr__(self, "segments", given)
        super().__post_init__()
        if isinstance(given, Array):
            _check_labels(given.value)
        elif given is not None:
            cells = self.segments if isinstance(self.segments, tuple) else (self.segments,)
            if min(cells, default=1) < 1:
                raise MethodError(f"segments is 1 cell or more along each axis, not {given}.")

    @abc.abstractmethod
    def feature_values(self, features):
        """Computes the value of each feature.

        Args:
          features: Features of one input.

        Returns:
          [N, count], in the dtype of the score.
        """

    def check(self, net):
        """See Method; segments must fit the inputs."""
        super().check(net)
        for name in self.explained(net):
            self.feature_count(net.inputs[name])

    def feature_count(self, info):
        """Number of features of an input.

        Args:
          info: TensorInfo of the input.

        Raises:
          InputError: the segments do not fit it.
        """
        if not isinstance(self.segments, Array):
            return int(np.prod(self._cells(info)))
        labels, positions = self.segments.value, fixed_positions(info, "an array of labels")
        if list(labels.shape) != positions:
            raise InputError(
                f"segments has the shape {list(labels.shape)}; the positions of the input "
                f"'{info.name}' are {positions}."
            )
        return len(np.unique(labels))

    def explain_input(self, masked):
        """See PerturbationMethod."""
        info = masked.request.net.inputs[masked.name]
        if isinstance(self.segments, Array):
            # Numbers that no position has would be features of nothing.
            _, labels = np.unique(self.segments.value, return_inverse=True)
            labels = tf.constant(labels.reshape(self.segments.value.shape), tf.int32)
        else:
            labels = grid_labels(self._cells(info), masked.positions)
        values = self.feature_values(Features(masked, labels, self.feature_count(info)))
        return tf.gather(values, labels, axis=1)

    def _cells(self, info):
        """Cells of the grid along each axis."""
        positions = positions_of(info)
        most = _CELLS if info.shape.rank > 2 else max(positions[0] or 1, _CELLS)
        even = round(most ** (1 / len(positions)))
        cells = for_each_axis(
            "segments", self.segments, positions, [min(n or even, even) for n in positions]
        )
        for size, count in zip(positions, cells, strict=True):
            if size is not None and count > size:
                raise InputError(
                    f"segments={self.segments} asks for {count} cells along an axis of the input "
                    f"'{info.name}' that has {size} positions. Take {size} there, or less."
                )
        return cells


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of one masked input.

    Attributes:
      masked: the MaskedInput.
      labels: [*positions] int32, the feature of each position.
      count: number of features; int.
    """

    masked: object
    labels: tf.Tensor
    count: int

    def keep(self, present):
        """Shares of the positions that stay, from those of the features.

        Args:
          present: [N or 1, c, count] floating.

        Returns:
          [N or 1, c, *positions].
        """
        return tf.gather(present, self.labels, axis=2)

    def note(self, extra, values):
        """Puts values of the features, [N, count], into the extras of the masked input."""
        self.masked.extras[extra] = tf.gather(values, self.labels, axis=1)


def grid_labels(cells, positions):
    """Numbers the cells of a grid, the last axis first.

    Args:
      cells: cells along each axis; ints.
      positions: sizes of the axes; ints or scalar tensors.

    Returns:
      [*positions] int32.
    """
    labels = tf.zeros([1] * len(cells), tf.int64)  # Products of sizes leave int32.
    for axis, (count, size) in enumerate(zip(cells, positions, strict=True)):
        places = tf.range(tf.cast(size, tf.int64))
        along = (2 * places + 1) * count // (2 * tf.cast(size, tf.int64))
        shape = [size if i == axis else 1 for i in range(len(cells))]
        labels = labels * count + tf.reshape(along, shape)
    return tf.cast(labels, tf.int32)


@dataclasses.dataclass(frozen=True)
class FeatureAblation(FeatureMethod, name="feature_ablation"):
    """Feature ablation: by how much the score falls without each segment, column or time step.

    One at a time, as captum does it (Kokhlikyan et al. 2020, https://arxiv.org/abs/2009.07896).
    Attribution [N, *positions].

    Attributes:
      measure: "drop", the score minus that without the feature; "fraction", the drop over the
        absolute score.
    """

    measure: Literal["drop", "fraction"] = "drop"

    cost: ClassVar[str] = "1 forward, 1 forward a feature and baseline"

    @property
    def units(self):
        """Of the drop, or its share of the score."""
        return drop_units(self.measure, "its drop without the feature")

    def feature_values(self, features):
        """See FeatureMethod."""
        masked = features.masked

        def keep(numbers):
            return features.keep(1 - tf.one_hot(numbers, features.count)[tf.newaxis])

        drops = masked.request.score[:, tf.newaxis] - masked.all_scores(features.count, keep)
        return share_of(self.measure, drops, masked.request.score)


def _check_labels(labels):
    if labels.dtype.kind not in "iu" or not labels.size:
        raise MethodError(
            "segments is an array of whole numbers [*positions], a label for each, not "
            f"{labels.dtype} {list(labels.shape)}. labels.astype(int) may be what you need."
        )
    if labels.min() < 0:
        raise MethodError(
            f"segments holds the label {labels.min()}; labels are 0 or more. Give what belongs to "
            "no segment a label of its own."
        )
