"""Class activation maps: activations of a layer, weighted by gradients of the score.

Each costs one forward pass and the backward pass from the score to the layer.
"""

import abc
import dataclasses
import warnings
from typing import ClassVar

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import LayerError, MethodError
from tfsal.methods.base import Method
from tfsal.ops import cam_ops


@dataclasses.dataclass(frozen=True)
class CamMethod(Method):
    """Base of the class activation maps.

    Attributes:
      layer: layer to draw the map on, by name (`net.layers()`), tensor name or op name; None for
        `net.default_layer_for(target)`, the last one with positions.
      relu: keep only what speaks for the score, as each paper defines its map.
      token_grid: for a layer of tokens [N, T, C]: (height, width) of the grid they form.
      skip_tokens: tokens at the front that are no positions, such as a class token; used with
        token_grid.
    """

    layer: str | None = None
    relu: bool = dataclasses.field(default=True, kw_only=True)
    token_grid: tuple[int, int] | None = dataclasses.field(default=None, kw_only=True)
    skip_tokens: int = dataclasses.field(default=1, kw_only=True)

    cost: ClassVar[str] = "1 forward, 1 backward from the score to the layer"
    units: ClassVar[str] = "score: gradient times activation"

    def __post_init__(self):
        """Checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type, or token_grid or skip_tokens is out of range.
        """
        super().__post_init__()
        if self.token_grid is not None and min(self.token_grid) < 1:
            raise MethodError(f"token_grid is (height, width), not {self.token_grid}.")
        if self.skip_tokens < 0:
            raise MethodError(f"skip_tokens is 0 or more, not {self.skip_tokens}.")
        if self.token_grid is None and self.skip_tokens != 1:
            raise MethodError("skip_tokens is for a layer of tokens: give token_grid= too.")

    @abc.abstractmethod
    def combine(self, activations, gradients):
        """The reduction [N, *spatial, C] x 2 -> [N, *spatial] that makes the method."""

    def attribute(self, request):
        """See Method. [N, *spatial of the layer], or [N, *token_grid]."""
        tensor = self.layer_tensor(request.net)
        (gradients,) = request.gradients([tensor])
        cam = self.combine(request.evaluation[tensor], gradients)
        cam = self._on_grid(cam) if self.token_grid else cam
        return tf.nn.relu(cam) if self.relu else cam

    def heatmap(self, request, attribution):
        """See Method. The positive part, scaled by its maximum, at the input's resolution."""
        rank = attribution.shape.rank - 1
        under = self._input_under(request.net, rank)
        if under is not None:
            name, first = under
            size = tf.shape(request.feeds[name])[first : first + rank]
            known = request.feeds[name].shape[first : first + rank]
            attribution = visualize.resize(attribution, size)
            attribution = tf.ensure_shape(attribution, [attribution.shape[0], *known])
        return visualize.positive(attribution)

    def layer_tensor(self, net):
        """Returns the tensor name of the layer.

        Raises:
          LayerError: the layer is unknown, off the way to the score, or without positions.
        """
        if self.layer is None:
            return net.resolve(net.default_layer_for(self.target))
        tensor = net.resolve(self.layer)
        flow = net.flow(self.target.tensors(net))
        maps = [layer.name for layer in net.layers() if layer.is_map]
        hint = f"Layers with positions: ..., {', '.join(maps[-5:]) or 'none'}."
        if not net.tensor(tensor).is_map:
            info = net.tensor(tensor)
            lacks = "no positions to draw a map on"
            if info.channels_first:
                lacks = "its channels come first, which maps are not made for"
            elif not info.batched:
                lacks = "not one map per example"
            raise LayerError(
                f"The layer '{self.layer}' has the shape {info.shape}: {lacks}. {hint}"
            )
        if tensor not in flow:
            raise LayerError(
                f"The layer '{self.layer}' is not on the way from the inputs to the score of "
                f"this target. {hint}"
            )
        return tensor

    def check(self, net):
        """See Method; warns of a layer that part of the score goes around."""
        tensor = self.layer_tensor(net)
        trunk = net.map_flow(self.target.tensors(net)).trunk
        if self.layer is not None and tensor not in trunk:
            warnings.warn(
                f"Part of the score does not run through the layer '{self.layer}' (a branch or a "
                "skip connection goes around it); its map shows only its own share.",
                stacklevel=2,
            )
        if self.token_grid and len(net.tensor(tensor).spatial) != 1:
            raise MethodError(
                f"token_grid is for a layer of tokens [N, T, C]; '{net.layer_name(tensor)}' has "
                f"the shape {net.tensor(tensor).shape}."
            )
        tokens = net.tensor(tensor).spatial[0] if self.token_grid else None
        if tokens is not None:
            height, width = self.token_grid
            if tokens != height * width + self.skip_tokens:
                raise MethodError(
                    f"token_grid={self.token_grid} with skip_tokens={self.skip_tokens} needs "
                    f"{height * width + self.skip_tokens} tokens; the layer has {tokens}."
                )

    def _on_grid(self, cam):
        return tf.reshape(cam[:, self.skip_tokens :], [tf.shape(cam)[0], *self.token_grid])

    def _input_under(self, net, rank):
        """(name, first spatial axis) of the input that the map is laid over, or None."""
        tensor = self.layer_tensor(net)
        reaching = net.flow([tensor]).reaching(tensor)
        inputs = {k: i for k, i in net.inputs.items() if i.tensor in reaching and i.batched}
        for channels in (1, 0):  # Inputs without channels only where there is no other.
            for name, info in inputs.items():
                if info.shape.rank == 1 + rank + channels:
                    return name, 2 if channels and info.channels_first else 1
        return None


@dataclasses.dataclass(frozen=True)
class GradCAM(CamMethod, name="gradcam"):
    """Grad-CAM: channels weighted by the mean of their gradient.

    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2. Attribution
    [N, *spatial of the layer].
    """

    def combine(self, activations, gradients):
        """See CamMethod."""
        return cam_ops.grad_cam(activations, gradients)[0]


@dataclasses.dataclass(frozen=True)
class HiResCAM(CamMethod, name="hirescam"):
    """HiResCAM: activations times gradients, position by position.

    Draelos and Carin 2020, https://arxiv.org/abs/2011.08891, equation 4. Shows only places that
    the model used; with one linear head the map sums to the score minus its bias, which is why
    the ReLU is off by default. Attribution [N, *spatial of the layer].
    """

    relu: bool = dataclasses.field(default=False, kw_only=True)

    def combine(self, activations, gradients):
        """See CamMethod."""
        return cam_ops.hires_cam(activations, gradients)


@dataclasses.dataclass(frozen=True)
class LayerCAM(CamMethod, name="layercam"):
    """LayerCAM: activations times positive gradients; sharp on early layers too.

    Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943, equations 5 to 7. Attribution
    [N, *spatial of the layer].
    """

    def combine(self, activations, gradients):
        """See CamMethod."""
        return cam_ops.layer_cam(activations, gradients)
