"""Segments that the caller gives: label maps as a further input of an explanation."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError
from tfsal.ops import regions

SEGMENTS = "segments"  # Name of the input.


@dataclasses.dataclass(frozen=True)
class SegmentsInput:
    """The input `segments` of a method: [N, K, H, W] int32, each pixel's segment at K scales.

    Attributes:
      image: name of the input that they are segments of.
      limits: K ints, how many segments there may be at each scale; labels are 0 and up.
      size: (H, W) of the image, None for what is open.
      channels_first: as that input has them.
    """

    image: str
    limits: tuple
    size: tuple
    channels_first: bool = False

    @property
    def spec(self):
        """tf.TensorSpec of the input."""
        return tf.TensorSpec([None, len(self.limits), *self.size], tf.int32, SEGMENTS)

    def check(self, segments, feeds, count):
        """Fits values to the input.

        Args:
          segments: array or tensor [N, K, H, W], or [1, K, H, W] for all examples.
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
                f"[N, {len(self.limits)}, H, W] ints from 0, one map of labels for each scale."
            )
        if tf.is_tensor(segments) and not tf.executing_eagerly():
            return tf.ensure_shape(tf.cast(segments, tf.int32), self.spec.shape)
        labels = np.asarray(segments)
        if labels.dtype.kind not in "iu" or labels.ndim != 4:
            raise InputError(
                "segments is [N, K, H, W] ints, a map of labels for each of K scales, not "
                f"{labels.dtype} {list(labels.shape)}."
            )
        if labels.size and labels.min() < 0:
            raise InputError(
                f"segments holds {labels.min()}; labels go from 0. Give what belongs to no segment "
                "a label of its own."
            )
        largest = labels.astype("int64").max(axis=(0, 2, 3), initial=-1)
        found = tuple(int(most) + 1 for most in largest)
        if len(found) != len(self.limits):
            raise InputError(
                f"segments has {len(found)} scales, and the method {len(self.limits)}. "
                f"{_cure(found)}"
            )
        if any(most > limit for most, limit in zip(found, self.limits, strict=True)):
            raise InputError(
                f"segments has up to {found} segments at its scales, and the method takes "
                f"{self.limits}. {_cure(found)}"
            )
        first = 2 if self.channels_first else 1
        size = feeds[self.image].shape[first : first + 2]
        if not size.is_compatible_with(labels.shape[2:]):
            raise InputError(
                f"segments has {' x '.join(map(str, labels.shape[2:]))} pixels, and the image "
                f"{' x '.join(map(str, size))}."
            )
        if count is not None and len(labels) not in (1, count):
            raise InputError(f"segments has {len(labels)} entries for {count} examples.")
        return tf.constant(labels, tf.int32)

    def good_rows(self, segments):
        """[N or 1] bool: the labels of a row are in range."""
        return regions.labels_in_range(segments, self.limits)


def _cure(found):
    return f"Make it with scales={tuple(max(most, 1) for most in found)}, or more."
