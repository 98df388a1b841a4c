"""ChannelCam: the class activation maps that weigh channels by what the model says of each."""

import abc
import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods.cam import CamMethod
from tfsal.ops import cam_ops
from tfsal.ops.precision import at_least_float32


@dataclasses.dataclass(frozen=True)
class ChannelCam(CamMethod):
    """Base of the maps whose weights are scores of the model, one evaluation for each channel.

    Attributes:
      channels: evaluate only this many channels, those of the highest energy (sum of squares over
        positions), chosen for each example; the others weigh 0. None: all of them.
    """

    channels: int | None = dataclasses.field(default=None, kw_only=True)

    loops: ClassVar[bool] = True

    def __post_init__(self):
        """Checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type, or channels is below 1.
        """
        super().__post_init__()
        if self.channels is not None and self.channels < 1:
            raise MethodError(f"channels is 1 or more, not {self.channels}.")

    def check(self, net):
        """See CamMethod.

        Raises:
          MethodError: the layer has fewer channels than are asked for.
        """
        super().check(net)
        for tensor in self.layer_tensors(net) if self.channels else ():
            there = net.tensor(tensor).shape[-1]
            if there is None or there < self.channels:
                has = "no fixed number of channels" if there is None else f"{there} channels"
                raise MethodError(
                    f"channels={self.channels}, and the layer '{net.layer_name(tensor)}' has {has}."
                )

    @abc.abstractmethod
    def weights(self, request, tensor, chosen):
        """Weighs channels of a layer.

        Args:
          request: a Request.
          tensor: name of the layer's tensor.
          chosen: [N, k] int32, the channels.

        Returns:
          [N, k] floating.
        """

    def maps(self, request, tensors):
        """See CamMethod."""
        return [self._map(request, tensor) for tensor in tensors]

    def _map(self, request, tensor):
        activations = request.evaluation[tensor]
        chosen = self._chosen(activations)
        weights = self.weights(request, tensor, chosen)
        dtype = at_least_float32(activations).dtype  # In which weighted_cam takes its weights.
        weights = tf.cast(weights, dtype)
        if self.channels is not None:
            shares = tf.one_hot(chosen, tf.shape(activations)[-1], True, False)
            weights = tf.where(shares, weights[..., tf.newaxis], tf.zeros([], dtype))
            weights = tf.reduce_sum(weights, axis=1)
        weights = tf.ensure_shape(weights, [None, activations.shape[-1]])
        return cam_ops.weighted_cam(activations, weights)

    def _chosen(self, activations):
        shape = tf.shape(activations)
        if self.channels is None:
            return tf.tile(tf.range(shape[-1])[tf.newaxis], [shape[0], 1])
        positions = list(range(1, activations.shape.rank - 1))
        energy = tf.reduce_sum(at_least_float32(activations) ** 2, axis=positions)
        return tf.math.top_k(energy, self.channels).indices
