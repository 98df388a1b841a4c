"""Segments: which positions of an input make one feature, and who says so."""

import abc
import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.methods.array import Array
from tfsal.methods.by_text import built
from tfsal.methods.chunks import loop_body
from tfsal.methods.perturbation import fixed_positions, for_each_axis, position_axes, positions_of
from tfsal.methods.segments_input import SegmentsInput
from tfsal.ops import segmentation

# How many segments there are where nothing says so.
_SEGMENTS = 64
# That an example may have: there is an evaluation or more of the model for each.
_MOST = 65536

EXTRAS = {"segments": "label of each position, from 0; [N, 1, *positions]"}


class Segments(abc.ABC):
    """A rule for segments; frozen dataclasses.

    Attributes:
      own: True when each example has its own, so that there may be fewer than `limit` of them.
    """

    own: ClassVar[bool] = False

    @abc.abstractmethod
    def limit(self, info):
        """How many segments there may be; int.

        Args:
          info: TensorInfo of the input.

        Raises:
          InputError: the segments do not fit it.
        """

    @abc.abstractmethod
    def labels(self, request, info, positions):
        """Makes the segments, inside a trace.

        Args:
          request: a Request.
          info: TensorInfo of the input.
          positions: sizes of its positions; ints or scalar tensors.

        Returns:
          [N or 1, *positions] int32, from 0 to below `limit`.
        """

    def input(self, info):
        """The SegmentsInput where the caller gives them, else None; `info` of the explained one."""


@dataclasses.dataclass(frozen=True)
class Grid(Segments):
    """The cells of a grid, the same for all examples.

    Attributes:
      cells: how many along each axis, an int or one for each axis. None: each entry of a vector,
        and for other inputs 64 cells (8x8 of an image), or as many as there are positions.
    """

    cells: tuple[int, ...] | int | None = None

    def __post_init__(self):
        """Checks the cells."""
        cells = self.cells if isinstance(self.cells, tuple) else (self.cells,)
        if self.cells is not None and not all(_is_number(n) for n in cells):
            raise MethodError(
                "A grid of segments has 1 cell or more along each axis, an int or a tuple of them, "
                f"not {self.cells!r}."
            )

    def limit(self, info):
        """See Segments."""
        return int(np.prod(self._along_axes(info)))

    def labels(self, request, info, positions):
        """See Segments."""
        return segmentation.grid_labels(self._along_axes(info), positions)[tf.newaxis]

    def _along_axes(self, info):
        positions = positions_of(info)
        most = _SEGMENTS if info.shape.rank > 2 else max(positions[0] or 1, _SEGMENTS)
        even = round(most ** (1 / len(positions)))
        default = [min(n or even, even) for n in positions]
        cells = for_each_axis("segments", self.cells, positions, default)
        for size, count in zip(positions, cells, strict=True):
            if size is not None and count > size:
                raise InputError(
                    f"segments={self.cells} asks for {count} cells along an axis of the input "
                    f"'{info.name}' that has {size} positions. Take {size} there, or less."
                )
        return cells


@dataclasses.dataclass(frozen=True)
class Labels(Segments):
    """A label for each position, the same for all examples.

    Attributes:
      array: [*positions] whole numbers from 0 on. Numbers that no position has make no segment.
    """

    array: Array

    def __post_init__(self):
        """Wraps the array and checks its values."""
        if not isinstance(self.array, Array):
            object.__setattr__(self, "array", Array(self.array))
        labels = self.array.value
        if labels.dtype.kind not in "iu" or not labels.size:
            raise MethodError(
                "segments as an array are whole numbers [*positions], a label for each, not "
                f"{labels.dtype} {list(labels.shape)}. labels.astype(int) may be what you need."
            )
        if labels.min() < 0:
            raise MethodError(
                f"segments holds the label {labels.min()}; labels are 0 or more. Give what belongs "
                "to no segment a label of its own."
            )

    def limit(self, info):
        """See Segments."""
        labels, positions = self.array.value, fixed_positions(info, "an array of labels")
        if list(labels.shape) != positions:
            cure = ""
            if list(labels.shape[1:]) == positions:
                cure = ' Those of each example are given to a call: segments="input".'
            raise InputError(
                f"segments has the shape {list(labels.shape)}; the positions of the input "
                f"'{info.name}' are {positions}.{cure}"
            )
        return len(np.unique(labels))

    def labels(self, request, info, positions):
        """See Segments."""
        _, labels = np.unique(self.array.value, return_inverse=True)
        return tf.constant(labels.reshape(1, *self.array.value.shape), tf.int32)


@dataclasses.dataclass(frozen=True)
class Slic(Segments):
    """Superpixels of each image: connected, of similar colour (tfsal.ops.segmentation.slic).

    Attributes:
      count: how many there are at most, and nearly.
      compactness: how much the way from one superpixel to the next counts, beside the whole range
        of a channel.
    """

    count: int = _SEGMENTS
    compactness: float = 0.1

    own: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the numbers."""
        _check_count(self.count)
        number = isinstance(self.compactness, int | float)
        if not number or not 0 < self.compactness < math.inf:
            raise MethodError(f"compactness is above 0, not {self.compactness!r}.")

    def limit(self, info):
        """See Segments."""
        if info.shape.rank != 4:
            raise InputError(
                f"segments={self} are superpixels of images [N, H, W, C]; the input '{info.name}' "
                f"is {info.shape}. Take a grid, an array of labels, or inputs= of the images only."
            )
        return self.count

    def labels(self, request, info, positions):
        """See Segments."""
        image = request.feeds[info.name]
        if info.channels_first:
            image = tf.transpose(image, [0, 2, 3, 1])

        def segment(image):
            return segmentation.slic(image, [self.count], self.compactness)

        return loop_body(request, segment)(image)[:, 0]


@dataclasses.dataclass(frozen=True)
class FromCaller(Segments):
    """Those that the caller gives, `segments=` of a call and an input of the signature.

    Attributes:
      count: how many there are at most; labels are from 0 to below it.
    """

    count: int = _SEGMENTS

    own: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the number."""
        _check_count(self.count)

    def limit(self, info):
        """See Segments."""
        return self.count

    def labels(self, request, info, positions):
        """See Segments. A row whose labels are out of range has no answer (see explain)."""
        labels = tf.clip_by_value(request.segments[:, 0], 0, self.count - 1)
        labels = tf.broadcast_to(labels, tf.stack([request.count, *positions]))
        return tf.ensure_shape(labels, [None, *positions_of(info)])

    def input(self, info):
        """See Segments."""
        return SegmentsInput(
            info.name,
            (self.count,),
            tuple(positions_of(info)),
            'segments="input(count={most})"',
            tuple(position_axes(info)),
        )


NAMES = {"grid": Grid, "slic": Slic, "input": FromCaller}


def segments_of(value):
    """Makes Segments of what a user may give for them.

    Args:
      value: Segments; the cells of a grid, None, an int or a tuple; an array of labels; a name, as
        'slic' or 'slic(count=40)'.

    Raises:
      MethodError: it is none of these, or its numbers make no segments.
    """
    if isinstance(value, Segments):
        return value
    if isinstance(value, str):
        return built(value, NAMES, "kind of segments")
    if hasattr(value, "__array__"):
        return Labels(value)
    return Grid(tuple(value) if isinstance(value, list) else value)


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_count(count):
    if not _is_number(count) or count > _MOST:
        raise MethodError(f"The count of segments is 1 to {_MOST}, not {count!r}.")
