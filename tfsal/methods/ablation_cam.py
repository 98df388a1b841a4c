"""Ablation-CAM: channels weighted by how much the score falls without them."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal.methods.channel_cam import ChannelCam
from tfsal.methods.chunks import join_copies, scores


@dataclasses.dataclass(frozen=True)
class AblationCAM(ChannelCam, name="ablationcam"):
    """Ablation-CAM: channels weighted by the share of the score that is lost without them.

    Desai and Ramaswamy 2020, https://doi.org/10.1109/WACV45572.2020.9093360: the weight of channel
    k is (y - y_k) / y, where y_k is the score with the channel set to 0 at the layer. It is divided
    by |y| here, so that a channel that speaks for the class has a positive weight where the score
    is negative too; where the score is 0, by 1. Activations are computed once, and only what
    follows the layer is evaluated again. Attribution [N, *spatial of the layer].
    """

    cost: ClassVar[str] = "1 forward; from the layer to the score, 1 forward for each channel"
    units: ClassVar[str] = "share of the score times activation"

    def weights(self, request, tensor, chosen):
        """See ChannelCam."""
        activations = request.evaluation[tensor]
        between = [1] * (activations.shape.rank - 2)

        def without(numbers):
            removed = tf.gather(chosen, numbers, axis=1)
            removed = tf.one_hot(removed, tf.shape(activations)[-1], True, False)
            shape = tf.concat([tf.shape(removed)[:2], between, tf.shape(removed)[2:]], 0)
            zero = tf.zeros([], activations.dtype)
            left = tf.where(tf.reshape(removed, shape), zero, activations[:, tf.newaxis])
            left = tf.ensure_shape(left, [None, None, *activations.shape[1:]])
            return request.at({tensor: join_copies(left)}, tf.size(numbers))

        count = self.channels or activations.shape[-1] or tf.shape(activations)[-1]
        score = request.score[:, tf.newaxis]
        size = tf.where(score == 0, tf.ones_like(score), tf.abs(score))
        return (score - scores(request, count, without)) / size
