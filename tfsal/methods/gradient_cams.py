"""Class activation maps of activations and gradients at a layer.

Each costs one forward pass and the backward pass from the score to the layer.
"""

import abc
import dataclasses
from typing import Literal

from tfsal.errors import MethodError
from tfsal.methods.cam import CamMethod
from tfsal.ops import cam_ops


class GradientCam(CamMethod):
    """A CamMethod that is one reduction of activations and gradients."""

    @abc.abstractmethod
    def combine(self, activations, gradients):
        """The reduction [N, *spatial, C] x 2 -> [N, *spatial] that makes the method."""

    def maps(self, request, tensors):
        """See CamMethod; one backward pass for all layers."""
        gradients = request.gradients(tensors)
        return [
            self.combine(request.evaluation[t], g) for t, g in zip(tensors, gradients, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class GradCAM(GradientCam, name="gradcam"):
    """Grad-CAM: channels weighted by the mean of their gradient.

    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2. Attribution
    [N, *spatial of the layer].
    """

    def combine(self, activations, gradients):
        """See GradientCam."""
        return cam_ops.grad_cam(activations, gradients)[0]


@dataclasses.dataclass(frozen=True)
class GradCAMPlusPlus(GradientCam, name="gradcam_plus_plus"):
    """Grad-CAM++: positive gradients, weighted by position; for several objects.

    Chattopadhay et al. 2018, https://arxiv.org/abs/1710.11063, equation 19, divided by exp(score):
    a positive factor of each example that no float could hold. The target must be a logit, as it
    is by default. Attribution [N, *spatial of the layer].

    Attributes:
      alpha: "paper"; "normalized": the weights of a channel's positions add up to 1, as in the
        authors' code; "mean": with the mean of the activations for their sum, as in xplique.
    """

    alpha: Literal["paper", "normalized", "mean"] = dataclasses.field(default="paper", kw_only=True)

    def combine(self, activations, gradients):
        """See GradientCam."""
        return cam_ops.grad_cam_plus_plus(activations, gradients, alpha=self.alpha)[0]


class _ActivationWeighted(GradientCam):
    """XGrad-CAM and Respond-CAM are one formula; they differ in their ReLU and its use."""

    def __post_init__(self):
        """Checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type, or epsilon is negative.
        """
        super().__post_init__()
        if not self.epsilon >= 0:
            raise MethodError(f"epsilon is 0 or more, not {self.epsilon}.")

    def combine(self, activations, gradients):
        """See GradientCam."""
        return cam_ops.x_grad_cam(activations, gradients, epsilon=float(self.epsilon))[0]


@dataclasses.dataclass(frozen=True)
class XGradCAM(_ActivationWeighted, name="xgradcam"):
    """XGrad-CAM: channels weighted by the mean gradient where they are active.

    Fu et al. 2020, https://arxiv.org/abs/2008.02312, equation 8. Attribution [N, *spatial of the
    layer].

    Attributes:
      epsilon: added to each channel's sum of activations, which may be 0.
    """

    epsilon: float = dataclasses.field(default=1e-7, kw_only=True)


@dataclasses.dataclass(frozen=True)
class RespondCAM(_ActivationWeighted, name="respondcam"):
    """Respond-CAM: XGrad-CAM's weights without a ReLU; made for 3-D images.

    Zhao et al. 2018, https://arxiv.org/abs/1806.00102, equations 3 and 4. The map sums to the sum
    of activations times gradients. Attribution [N, *spatial of the layer].

    Attributes:
      epsilon: added to each channel's sum of activations, which may be 0.
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)
    epsilon: float = dataclasses.field(default=1e-7, kw_only=True)


@dataclasses.dataclass(frozen=True)
class HiResCAM(GradientCam, name="hirescam"):
    """HiResCAM: activations times gradients, position by position.

    Draelos and Carin 2020, https://arxiv.org/abs/2011.08891, equation 4. Shows only places that
    the model used; with one linear head the map sums to the score minus its bias, which is why
    the ReLU is off by default. Attribution [N, *spatial of the layer].
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)

    def combine(self, activations, gradients):
        """See GradientCam."""
        return cam_ops.hires_cam(activations, gradients)


@dataclasses.dataclass(frozen=True)
class LayerCAM(GradientCam, name="layercam"):
    """LayerCAM: activations times positive gradients; sharp on early layers too.

    Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943, equations 5 to 7. Attribution
    [N, *spatial of the layer].
    """

    def combine(self, activations, gradients):
        """See GradientCam."""
        return cam_ops.layer_cam(activations, gradients)
