"""Eigen-CAM: the first principal component of a layer, over positions."""

import dataclasses
from typing import ClassVar

from tfsal.methods.cam import CamMethod
from tfsal.ops.precision import at_least_float32
from tfsal.ops.principal import first_component


@dataclasses.dataclass(frozen=True)
class EigenCAM(CamMethod, name="eigencam"):
    """Eigen-CAM: what varies most over the positions of a layer; the same for every class.

    Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299, equation 4. Channels are centred
    over positions; the sign, which a component has none of, makes its largest value positive.
    Attribution [N, *spatial of the layer].
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)

    cost: ClassVar[str] = "1 forward"
    units: ClassVar[str] = "activation along the first component"

    def maps(self, request, tensors):
        """See CamMethod."""
        return [first_component(request.evaluation[t]) for t in tensors]


@dataclasses.dataclass(frozen=True)
class EigenGradCAM(CamMethod, name="eigengradcam"):
    """Eigen-CAM of activations times gradients, which tells classes apart.

    As in pytorch-grad-cam, https://github.com/jacobgil/pytorch-grad-cam, but centred as Eigen-CAM
    is. Attribution [N, *spatial of the layer].
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)

    units: ClassVar[str] = "score along the first component"

    def maps(self, request, tensors):
        """See CamMethod."""
        gradients = request.gradients(tensors)
        return [
            first_component(g * at_least_float32(request.evaluation[t]))
            for t, g in zip(tensors, gradients, strict=True)
        ]
