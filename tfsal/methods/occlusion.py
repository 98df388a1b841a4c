"""Occlusion: a patch slides over the input, and the score says what it hid."""

import dataclasses
import math
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.methods.perturbation import (
    PerturbationMethod,
    add_to_map,
    drop_units,
    fixed_positions,
    for_each_axis,
    share_of,
)


@dataclasses.dataclass(frozen=True)
class Occlusion(PerturbationMethod, name="occlusion"):
    """Occlusion: by how much the score falls when a sliding patch hides a place.

    Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 4.2. Every position gets the
    mean over the patches that covered it, on 1-D, 2-D and 3-D inputs and vectors alike. Patches
    begin at the multiples of `stride`; the last of an axis ends at its end. PAIR's saliency library
    computes Occlusion(patch=15, stride=1, normalize=False).

    Attributes:
      patch: size of the patch in positions, an int or one for each axis; None is an eighth of each
        axis, rounded up.
      stride: positions from one patch to the next, an int or one for each axis; None is half the
        patch, rounded up.
      measure: "drop", the score minus that with the patch; "fraction", the drop over the absolute
        score.
      normalize: True divides the sum at each position by the number of patches that covered it,
        of which there are fewer at the borders.
    """

    patch: int | tuple[int, ...] | None = None
    stride: int | tuple[int, ...] | None = None
    measure: Literal["drop", "fraction"] = "drop"
    normalize: bool = True

    cost: ClassVar[str] = "1 forward, 1 forward a patch and baseline"

    def __post_init__(self):
        """Checks the numbers.

        Raises:
          MethodError: one has the wrong type or is below 1.
        """
        super().__post_init__()
        for name in ("patch", "stride"):
            value = getattr(self, name)
            for size in value if isinstance(value, tuple) else (value,):
                if size is not None and size < 1:
                    raise MethodError(f"{name} is 1 position or more, not {value}.")

    @property
    def units(self):
        """Of the drop, or its share of the score."""
        return drop_units(self.measure, "its drop where the place is hidden")

    def check(self, net):
        """See Method; patches must fit into the inputs and leave no gaps."""
        super().check(net)
        for name in self.explained(net):
            self._patches(net.inputs[name])

    def explain_input(self, masked):
        """See PerturbationMethod."""
        score = masked.request.score[:, tf.newaxis]
        patches = self._patches(masked.request.net.inputs[masked.name])

        def add(masks, total):
            hidden = _hidden(masks.numbers, patches, masked.positions)
            drops = (score - masks.scores(1 - hidden)) * tf.cast(masks.weights, score.dtype)
            return add_to_map(total, hidden, drops)

        count = math.prod(len(begins) for begins, _ in patches)
        total = masked.over_masks(count, add, masked.zero_map())
        if self.normalize:
            total /= tf.constant(_coverage(patches, masked.positions), total.dtype)
        return share_of(self.measure, total, masked.request.score)

    def _patches(self, info):
        """[(begins [k] int32, size)] of the patches along each axis."""
        positions = fixed_positions(info, "a sliding patch")
        sizes = for_each_axis("patch", self.patch, positions, [-(-n // 8) for n in positions])
        steps = for_each_axis("stride", self.stride, positions, [-(-n // 2) for n in sizes])
        patches = []
        for axis, (length, size, step) in enumerate(zip(positions, sizes, steps, strict=True)):
            if size > length:
                raise InputError(
                    f"patch={self.patch} is larger than the input '{info.name}', whose axis {axis} "
                    f"of positions has {length}. Take patch={length} there, or less."
                )
            if step > size:
                raise InputError(
                    f"With stride={self.stride} and a patch of {size} the positions between "
                    f"patches of '{info.name}' would never be hidden. Take stride={size} or less."
                )
            last = length - size
            begins = np.minimum(np.arange(-(-last // step) + 1) * step, last)
            patches.append((begins.astype("int32"), size))
        return patches


def _hidden(numbers, patches, positions):
    """[1, c, *positions] float32: 1 where the patches of these numbers are.

    Args:
      numbers: [c] int32; those of the last axis follow one another.
      patches: as Occlusion._patches returns them.
      positions: sizes of the axes.
    """
    hidden = tf.ones([1] * (2 + len(patches)))
    for axis in reversed(range(len(patches))):
        begins, size = patches[axis]
        begin = tf.gather(tf.constant(begins), numbers % len(begins))[:, tf.newaxis]
        numbers //= len(begins)
        place = tf.range(positions[axis])
        inside = tf.cast((place >= begin) & (place < begin + size), tf.float32)
        shape = [1, -1] + [1] * len(patches)
        shape[2 + axis] = positions[axis]
        hidden *= tf.reshape(inside, shape)
    return hidden


def _coverage(patches, positions):
    """[*positions] int: how many patches cover each position."""
    coverage = np.ones([1] * len(patches), int)
    for axis, (begins, size) in enumerate(patches):
        place = np.arange(positions[axis])[:, np.newaxis]
        along = ((place >= begins) & (place < begins + size)).sum(axis=1)
        coverage = coverage * along.reshape([-1 if i == axis else 1 for i in range(len(patches))])
    return coverage
