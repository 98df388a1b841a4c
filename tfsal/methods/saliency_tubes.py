"""Saliency Tubes: CAM as it was, for heads of one dense layer after global average pooling."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.graph.functions import op_name
from tfsal.methods.cam import CamMethod
from tfsal.ops import cam_ops

_POOLING = frozenset(("Mean", "AvgPool", "AvgPool3D"))
_RESHAPING = frozenset(("Reshape", "Squeeze", "Identity", "Cast", "Transpose"))
_DENSE = frozenset(("MatMul", "BatchMatMulV2", "Conv2D", "Conv3D"))
_BIAS = frozenset(("BiasAdd", "Add", "AddV2"))


@dataclasses.dataclass(frozen=True)
class SaliencyTubes(CamMethod, name="saliency_tubes"):
    """Saliency Tubes (in 2-D, CAM): channels weighted by the last dense layer.

    Stergiou et al. 2019, https://arxiv.org/abs/1902.01078, equation 1, for 3-D convolutions; in 2-D
    it is CAM (Zhou et al. 2016, https://arxiv.org/abs/1512.04150). The weights are the gradient of
    the score at the pooled features. Attribution [N, *spatial of the layer]; its mean over
    positions is the score minus the bias.
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)

    cost: ClassVar[str] = "1 forward, 1 backward through the dense layer"
    units: ClassVar[str] = "score: weight times activation"

    def check(self, net):
        """See CamMethod.

        Raises:
          MethodError: the head is something else than global average pooling and one dense layer.
        """
        super().check(net)
        for tensor in self.layer_tensors(net):
            self._pooled(net, tensor)

    def maps(self, request, tensors):
        """See CamMethod."""
        weights = request.gradients([self._pooled(request.net, t) for t in tensors])
        maps = []
        for tensor, weight in zip(tensors, weights, strict=True):
            activations = request.evaluation[tensor]
            flat = tf.reshape(weight, [tf.shape(weight)[0], -1])
            flat = tf.ensure_shape(flat, [None, activations.shape[-1]])
            maps.append(cam_ops.weighted_cam(activations, flat))
        return maps

    def _pooled(self, net, tensor):
        """Name of the pooled features of a layer, checking all that lies between it and the score.

        Raises:
          MethodError: there is something else.
        """
        pooled, dense = None, None
        after = net.flow(self.target.tensors(net), [tensor]).order
        for name in after:
            info = net.tensor(name)
            if name == tensor or info.op in _RESHAPING:
                continue
            if pooled is None and info.op in _POOLING and self._pools_all(net, tensor, name):
                pooled = name
            elif pooled and dense is None and info.op in _DENSE:
                dense = name
            elif not (dense and info.op in _BIAS):
                self._refuse(net, tensor, f"'{op_name(name)}' ({info.op})")
        if dense is None:
            self._refuse(net, tensor, "no dense layer" if pooled else "no pooling")
        return pooled

    def _pools_all(self, net, tensor, name):
        shape, before = net.tensor(name).shape, net.tensor(tensor)
        positions = shape[1:-1].as_list() if shape.rank else [None]
        return shape[-1] == before.shape[-1] and all(size == 1 for size in positions)

    def _refuse(self, net, tensor, found):
        raise MethodError(
            "Saliency Tubes need a head of global average pooling and one dense layer. On the way "
            f"from the layer '{net.layer_name(tensor)}' to the score there is {found}. Take "
            "HiResCAM, which equals them for such heads and explains any other too."
        )
