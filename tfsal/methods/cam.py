"""CamMethod: what every class activation map is; layers, tokens, heatmaps."""

import abc
import dataclasses
import math
import warnings
from typing import ClassVar, Literal

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import LayerError, MethodError
from tfsal.methods.base import Method


@dataclasses.dataclass(frozen=True)
class CamMethod(Method):
    """Base of the class activation maps.

    Attributes:
      layer: layer to draw the map on, by name (`net.layers()`), tensor name or op name; None for
        `net.default_layer_for(target)`, the last one with positions. Several layers give one map,
        at the resolution of the finest: each layer's map is divided by its largest absolute value
        and they are fused.
      fuse: "max" or "mean" over the maps of several layers, position by position (Jiang et al.
        2021, https://doi.org/10.1109/TIP.2021.3089943, section III-C, take the maximum).
      relu: keep only what speaks for the score, as each paper defines its map.
      token_grid: for a layer of tokens [N, T, C]: (height, width) of the grid they form.
      skip_tokens: tokens at the front that are no positions, such as a class token; used with
        token_grid.
    """

    layer: str | tuple[str, ...] | None = None
    fuse: Literal["max", "mean"] = dataclasses.field(default="max", kw_only=True)
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
        if self.layer == ():
            raise MethodError("layer=[] names no layer; None is the default layer.")
        if self.fuse != "max" and not isinstance(self.layer, tuple):
            raise MethodError("fuse is for several layers: give layer=[...] too.")
        if self.token_grid is not None and min(self.token_grid) < 1:
            raise MethodError(f"token_grid is (height, width), not {self.token_grid}.")
        if self.skip_tokens < 0:
            raise MethodError(f"skip_tokens is 0 or more, not {self.skip_tokens}.")
        if self.token_grid is None and self.skip_tokens != 1:
            raise MethodError("skip_tokens is for a layer of tokens: give token_grid= too.")

    @abc.abstractmethod
    def maps(self, request, tensors):
        """Computes the maps that make the method, before any ReLU.

        Args:
          request: a Request.
          tensors: names of the layers' tensors.

        Returns:
          A list of [N, *spatial], one for each tensor.
        """

    def attribute(self, request):
        """See Method. [N, *spatial of the layer], or [N, *token_grid]."""
        tensors = self.layer_tensors(request.net)
        maps = self.maps(request, tensors)
        if self.token_grid:
            maps = [self._on_grid(cam) for cam in maps]
        if self.relu:
            maps = [tf.nn.relu(cam) for cam in maps]
        return maps[0] if len(maps) == 1 else self._fused(request.net, tensors, maps)

    def heatmap(self, request, attribution):
        """See Method; at the input's resolution, as `scaled` brings it to [0, 1]."""
        rank = attribution.shape.rank - 1
        under = self.input_under(request.net, rank)
        if under is not None:
            name, first = under
            size = tf.shape(request.feeds[name])[first : first + rank]
            known = request.feeds[name].shape[first : first + rank]
            attribution = visualize.resize(attribution, size)
            attribution = tf.ensure_shape(attribution, [attribution.shape[0], *known])
        return self.scaled(attribution)

    def scaled(self, maps):
        """[N, *spatial] in [0, 1] of maps: the positive part over its maximum."""
        return visualize.positive(maps)

    def layer_tensors(self, net):
        """Returns the tensor names of the layers.

        Raises:
          LayerError: a layer is unknown, off the way to the score, or without positions.
        """
        if self.layer is None:
            return [net.layer(net.default_layer_for(self.target)).tensor]
        layers = self.layer if isinstance(self.layer, tuple) else (self.layer,)
        return [self._layer_tensor(net, layer) for layer in layers]

    def _layer_tensor(self, net, layer):
        info = net.layer(layer)
        flow = net.flow(self.target.tensors(net))
        maps = [layer.name for layer in net.layers() if layer.is_map]
        hint = f"Layers with positions: ..., {', '.join(maps[-5:]) or 'none'}."
        if not info.is_map:
            lacks = "no positions to draw a map on"
            if info.channels_first:
                lacks = "its channels come first, which maps are not made for"
            elif not info.batched:
                lacks = "not one map per example"
            raise LayerError(f"The layer '{layer}' has the shape {info.shape}: {lacks}. {hint}")
        if info.tensor not in flow:
            raise LayerError(
                f"The layer '{layer}' is not on the way from the inputs to the score of this "
                f"target. {hint}"
            )
        return info.tensor

    def check(self, net):
        """See Method; warns of a layer that part of the score goes around."""
        tensors = self.layer_tensors(net)
        trunk = net.map_flow(self.target.tensors(net)).trunk
        for tensor in tensors if self.layer is not None else ():
            if tensor not in trunk:
                warnings.warn(
                    "Part of the score does not run through the layer "
                    f"'{net.layer_name(tensor)}' (a branch or a skip connection goes around it); "
                    "its map shows only its own share.",
                    stacklevel=2,
                )
        if len({len(net.tensor(tensor).spatial) for tensor in tensors}) > 1:
            raise LayerError(f"The layers {self.layer} differ in their number of spatial axes.")
        if self.token_grid:
            for tensor in tensors:
                self._check_grid(net, tensor)

    def _check_grid(self, net, tensor):
        info = net.tensor(tensor)
        if len(info.spatial) != 1:
            raise MethodError(
                f"token_grid is for a layer of tokens [N, T, C]; '{net.layer_name(tensor)}' has "
                f"the shape {info.shape}."
            )
        height, width = self.token_grid
        if info.spatial[0] not in (None, height * width + self.skip_tokens):
            raise MethodError(
                f"token_grid={self.token_grid} with skip_tokens={self.skip_tokens} needs "
                f"{height * width + self.skip_tokens} tokens; the layer has {info.spatial[0]}."
            )

    def _fused(self, net, tensors, maps):
        """One map of several, at the resolution of the layer with the most positions."""
        if not self.token_grid:
            sizes = [net.tensor(t).spatial for t in tensors]
            known = [math.prod(s) if None not in s else 0 for s in sizes]
            finest = maps[known.index(max(known))]
            maps = [visualize.resize(cam, tf.shape(finest)[1:]) for cam in maps]
            maps = [tf.ensure_shape(cam, finest.shape) for cam in maps]
        axes = list(range(1, maps[0].shape.rank))
        largest = [tf.reduce_max(tf.abs(cam), axis=axes, keepdims=True) for cam in maps]
        scaled = [tf.math.divide_no_nan(m, s) for m, s in zip(maps, largest, strict=True)]
        fuse = {"max": tf.reduce_max, "mean": tf.reduce_mean}[self.fuse]
        return fuse(tf.stack(scaled), axis=0)

    def _on_grid(self, cam):
        return tf.reshape(cam[:, self.skip_tokens :], [tf.shape(cam)[0], *self.token_grid])

    def input_under(self, net, rank):
        """(name, first spatial axis) of the input that the map is laid over, or None."""
        return next(iter(self.inputs_under(net, self.layer_tensors(net)[0], rank).items()), None)

    def inputs_under(self, net, tensor, rank):
        """{name: first spatial axis} of the inputs of a layer that have as many axes as its map."""
        reaching = net.flow([tensor]).reaching(tensor)
        inputs = {k: i for k, i in net.inputs.items() if i.tensor in reaching and i.batched}
        for channels in (1, 0):  # Inputs without channels only where there is no other.
            found = {
                name: 2 if channels and info.channels_first else 1
                for name, info in inputs.items()
                if info.shape.rank == 1 + rank + channels
            }
            if found:
                return found
        return {}
