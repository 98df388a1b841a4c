"""RISE: random masks, each weighted by the score of what it leaves."""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import MethodError
from tfsal.methods.perturbation import PerturbationMethod, for_each_axis, positions_of
from tfsal.methods.running_mean import RunningMean
from tfsal.methods.sampling import Sampling


@dataclasses.dataclass(frozen=True)
class RISE(Sampling, PerturbationMethod, name="rise"):
    """RISE: the mean score of what random masks leave, at each position over those that leave it.

    Petsiuk, Das and Saenko 2018, https://arxiv.org/abs/1806.07421, equation 6 and section 3.2.
    Each mask is a grid of zeros and ones, enlarged linearly to more than the input's size and
    shifted at random by up to a cell, for each mask another shift. The paper's score is a
    probability: target=ClassScore(logits=False). The heatmap goes from the lowest value, 0, to the
    highest, 1.

    Attributes:
      masks: how many.
      grid: cells of a mask, an int or one for each axis.
      probability: that a cell is left, above 0 and below 1.
      normalize: False divides by the expected number of masks that leave a position, as the paper
        does; True by what the masks that were drawn left of it, so that a constant score gives a
        constant map.
    """

    masks: int = 4000
    grid: int | tuple[int, ...] = 7
    probability: float = 0.5
    normalize: bool = False

    cost: ClassVar[str] = "1 forward, masks forward for each baseline"
    units: ClassVar[str] = "score: its mean where the position is left"
    random: ClassVar[bool] = True
    limit: ClassVar[str] = "masks"

    def __post_init__(self):
        """Checks the numbers.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        super().__post_init__()
        if self.masks < 1:
            raise MethodError(f"masks is 1 or more, not {self.masks}.")
        if min(self.grid if isinstance(self.grid, tuple) else (self.grid,), default=1) < 1:
            raise MethodError(f"grid is 1 cell or more, not {self.grid}.")
        if not 0 < self.probability < 1:
            raise MethodError(f"probability is above 0 and below 1, not {self.probability}.")

    def check(self, net):
        """See Method; the grid must have the axes of the inputs."""
        super().check(net)
        for name in self.explained(net):
            for_each_axis("grid", self.grid, positions_of(net.inputs[name]))

    def explain_input(self, masked):
        """See PerturbationMethod."""
        grid = for_each_axis("grid", self.grid, masked.positions)

        def add(masks, state):
            (mean,), rest = state
            keep = self._masks(masked, masks.numbers, grid)
            scores, whole, rest = masks.sums(masks.scores(keep), rest)
            keep = tf.cast(keep, masked.dtype)
            scores = tf.reshape(scores, tf.concat([tf.shape(scores), [1] * len(grid)], 0))
            if self.normalize:
                return [mean.add(scores, whole, keep)], rest
            return [mean.add(keep * (scores / self.probability), whole)], rest

        nothing = masked.zero_map()
        mean = RunningMean.of_none(nothing, nothing if self.normalize else None)
        state = ([mean], tf.zeros([masked.request.count], masked.dtype))
        (mean,), _ = masked.over_masks(self.masks, add, state, self.accumulate)
        masked.extras["standard_error"] = mean.standard_error()
        return mean.mean

    def scale(self, attribution):
        """See Sampling. The range: all values are near the mean score."""
        axes = list(range(1, attribution.shape.rank))
        highest, lowest = (
            f(attribution, axes, keepdims=True) for f in (tf.reduce_max, tf.reduce_min)
        )
        return highest - lowest

    def heatmap(self, request, attribution):
        """See Method. All values are near the mean score, so the lowest is 0 and the highest 1."""
        return tf.nest.map_structure(visualize.min_max, attribution)

    def _masks(self, masked, numbers, grid):
        """[N, c, *positions] float32 in [0, 1]: the masks of these numbers [c]."""
        cells = math.prod(grid)
        drawn = masked.uniform(numbers, [cells + len(grid)])
        left = tf.cast(drawn[..., :cells] < self.probability, tf.float32)
        mask = tf.reshape(left, tf.concat([tf.shape(left)[:2], grid], 0))
        for axis, (count, size) in enumerate(zip(grid, masked.positions, strict=True)):
            along = _enlarged(count, size, drawn[..., cells + axis])
            # Contracts the first axis of the grid and puts it last: in the end all are in order.
            mask = tf.transpose(mask, [0, 1, *range(3, 2 + len(grid)), 2])
            shape = tf.shape(mask)
            flat = tf.reshape(mask, tf.concat([shape[:2], [-1, count]], 0))
            mask = tf.reshape(tf.matmul(flat, along), tf.concat([shape[:-1], [size]], 0))
        return mask


def _enlarged(count, size, shift):
    """Weights of the cells at each position along an axis.

    The cells are enlarged linearly (half-pixel centres) to count + 1 cells of ceil(size / count)
    positions, of which `size` are taken, `shift` of a cell after the first.

    Args:
      count: number of cells.
      size: number of positions, an int or a scalar tensor.
      shift: [N, c] in [0, 1).

    Returns:
      [N, c, count, size] float32.
    """
    cell = (size + count - 1) // count
    offset = tf.floor(shift * tf.cast(cell, tf.float32))[..., tf.newaxis]
    place = tf.cast(tf.range(size), tf.float32) + offset + 0.5
    place = place * (count / tf.cast((count + 1) * cell, tf.float32)) - 0.5
    place = tf.clip_by_value(place, 0.0, count - 1.0)[:, :, tf.newaxis]
    cells = tf.cast(tf.range(count), tf.float32)[:, tf.newaxis]
    return tf.nn.relu(1 - tf.abs(place - cells))
