"""Recipro-CAM: each position's score when the head sees nothing else of the layer."""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from tfsal import visualize
from tfsal.methods.cam import CamMethod
from tfsal.methods.chunks import join_copies, scores


@dataclasses.dataclass(frozen=True)
class ReciproCAM(CamMethod, name="reciprocam"):
    """Recipro-CAM: the score of each position of a layer alone.

    Byun and Lee 2022, https://arxiv.org/abs/2209.14074: the layer is multiplied by a mask around
    one position after the other, and what follows the layer says what it sees. Activations are
    computed once. Attribution [N, *spatial of the layer]: the scores themselves, a constant such as
    the bias of the head included; the heatmap goes from their minimum to their maximum. (The
    authors take probabilities: ClassScore(logits=False).) With token_grid the tokens at the front
    are in every mask, as Byun and Lee 2023, https://arxiv.org/abs/2310.02588, keep the class token.

    Attributes:
      gaussian: the mask is 1/4, 1/2, 1/4 along each axis, 3 x 3 positions of a picture; False: 1
        at the position alone.
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)
    gaussian: bool = dataclasses.field(default=True, kw_only=True)

    cost: ClassVar[str] = "1 forward; from the layer to the score, 1 forward for each position"
    units: ClassVar[str] = "score of the position alone"
    loops: ClassVar[bool] = True

    def maps(self, request, tensors):
        """See CamMethod."""
        return [self._map(request, tensor) for tensor in tensors]

    def scaled(self, maps):
        """See CamMethod; a minimum of 0 is the ReLU's."""
        return super().scaled(maps) if self.relu else visualize.min_max(maps)

    def _map(self, request, tensor):
        activations = request.evaluation[tensor]
        skip = self.skip_tokens if self.token_grid else 0
        known, sizes = activations.shape[1:-1].as_list(), tf.unstack(tf.shape(activations)[1:-1])
        grid = self.token_grid or [a or b for a, b in zip(known, sizes, strict=True)]
        count = math.prod(grid)

        def alone(numbers):
            mask = tf.reshape(self._masks(numbers, grid), [tf.size(numbers), -1])
            mask = tf.pad(mask, [[0, 0], [skip, 0]], constant_values=1.0)
            mask = tf.reshape(mask, [1, -1, *sizes, 1])
            left = activations[:, tf.newaxis] * tf.cast(mask, activations.dtype)
            left = tf.ensure_shape(left, [None, None, *activations.shape[1:]])
            return request.at({tensor: join_copies(left)}, tf.size(numbers))

        found = tf.pad(scores(request, count, alone), [[0, 0], [skip, 0]])
        shape = tf.shape(activations)[:-1]
        return tf.ensure_shape(tf.reshape(found, shape), activations.shape[:-1])

    def _masks(self, numbers, grid):
        """[c, *grid] float32, the mask around each position; positions are numbered row by row."""
        masks = tf.ones([tf.size(numbers)] + [1] * len(grid))
        left = numbers
        for axis in reversed(range(len(grid))):
            place, left = left % grid[axis], left // grid[axis]
            distance = tf.cast(tf.abs(tf.range(grid[axis]) - place[:, tf.newaxis]), tf.float32)
            along = (2 - distance) / 4 if self.gaussian else 1 - distance
            shape = [1] * len(grid)
            shape[axis] = -1
            masks *= tf.reshape(tf.nn.relu(along), [tf.size(numbers), *shape])
        return masks
