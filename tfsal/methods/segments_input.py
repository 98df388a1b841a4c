"""Segments that the caller gives: label maps as a further input of an explanation."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError
from tfsal.ops import regions

SEGMENTS = "segments"  # Name of the input.


@dataclasses.dataclass(frozen=True)
class SegmentsInput:
    """The input `segments` of a method: [N, K, *positions] int32, each one's segment at K scales.

    Attributes:
      explained: name of the input of the model that they are segments of.
      limits: K ints, how many segments there may be at each scale; labels are 0 and up.
      positions: sizes of the positions of that input, (H, W) of an image; None for what is open.
      option: the hyperparameter that says the limits, with {limits} and {most} in their place.
      axes: the axes of these positions, ints.
    """

    explained: str
    limits: tuple
    positions: tuple
    option: str
    axes: tuple

    @property
    def spec(self):
        """tf.TensorSpec of the input."""
        return tf.TensorSpec([None, len(self.limits), *self.positions], tf.int32, SEGMENTS)

    def check(self, segments, feeds, count):
        """Fits values to the input.

        Args:
          segments: array or tensor [N, K, *positions], or [1, K, *positions] for all examples;
            where K is 1, [N, *positions] too.
          feeds: {input name: tensor} of the model.
          count: N, None where it is open.

        Returns:
          int32 tensor.

        Raises:
          InputError: there are none, or shape, dtype or values do not fit; says what does.
        """
        if segments is None:
            raise InputError(
                "This method takes the segments from you: segments=labels, "
                f"{self._shape(len(self.limits))} ints from 0, one map of labels for each scale."
            )
        segments = segments if tf.is_tensor(segments) else np.asarray(segments)
        if len(self.limits) == 1 and len(segments.shape) == len(self.positions) + 1:
            segments = segments[:, np.newaxis]
        if tf.is_tensor(segments) and not tf.executing_eagerly():
            return tf.ensure_shape(tf.cast(segments, tf.int32), self.spec.shape)
        labels = np.asarray(segments)
        if labels.dtype.kind not in "iu" or labels.ndim != len(self.positions) + 2:
            raise InputError(
                f"segments is {self._shape('K')} ints, a map of labels for each of K scales, not "
                f"{labels.dtype} {list(labels.shape)}."
            )
        if labels.size and labels.min() < 0:
            raise InputError(
                f"segments holds {labels.min()}; labels go from 0. Give what belongs to no segment "
                "a label of its own."
            )
        axes = (0, *range(2, labels.ndim))
        found = tuple(int(most) + 1 for most in labels.astype("int64").max(axis=axes, initial=-1))
        if len(found) != len(self.limits):
            raise InputError(
                f"segments has {len(found)} scales, and the method {len(self.limits)}. "
                f"{self._cure(found)}"
            )
        if any(most > limit for most, limit in zip(found, self.limits, strict=True)):
            raise InputError(
                f"segments has up to {found} segments at its scales, and the method takes "
                f"{self.limits}. {self._cure(found)}"
            )
        shape = feeds[self.explained].shape
        size = tf.TensorShape([shape[axis] for axis in self.axes])
        if not size.is_compatible_with(labels.shape[2:]):
            raise InputError(
                f"segments has {' x '.join(map(str, labels.shape[2:]))} positions, and the input "
                f"'{self.explained}' {' x '.join(map(str, size))}."
            )
        if count is not None and len(labels) not in (1, count):
            raise InputError(f"segments has {len(labels)} entries for {count} examples.")
        return tf.constant(labels, tf.int32)

    def good_rows(self, segments):
        """[N or 1] bool: the labels of a row are in range."""
        return regions.labels_in_range(segments, self.limits)

    def _shape(self, scales):
        return f"[N, {scales}, {'H, W' if len(self.positions) == 2 else '*positions'}]"

    def _cure(self, found):
        option = self.option.format(limits=tuple(max(n, 1) for n in found), most=max(found))
        return f"Make it with {option}, or more."
