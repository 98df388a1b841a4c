"""Gradients of the score with respect to the inputs."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import GradientError, InputError
from tfsal.methods.base import Method


@dataclasses.dataclass(frozen=True)
class InputGradientMethod(Method):
    """Base of the methods that attribute to the inputs themselves.

    Attributes:
      inputs: names of the inputs to explain; None for every floating-point input that the score
        depends on.
    """

    inputs: tuple[str, ...] | None = None

    cost: ClassVar[str] = "1 forward, 1 backward"

    def __post_init__(self):
        """Takes one name for a tuple of one."""
        if isinstance(self.inputs, str):
            object.__setattr__(self, "inputs", (self.inputs,))
        super().__post_init__()

    def explained(self, net):
        """Returns the names of the inputs to explain.

        Raises:
          InputError: a name is no input of the model.
          GradientError: there is no floating-point input to explain.
        """
        reached = net.flow(self.target.tensors(net)).sources
        usable = [
            name
            for name, info in net.inputs.items()
            if info.dtype.is_floating
            and info.tensor in reached
            and info.shape.rank
            and info.batched
        ]
        for name in self.inputs or ():
            if name not in net.inputs:
                raise InputError(
                    f"This model has no input '{name}'. Its inputs: {', '.join(net.inputs)}."
                )
            if name not in usable:
                raise GradientError(
                    f"The input '{name}' ({net.inputs[name].dtype.name}) has no gradient: it is "
                    "not floating-point, or the score does not depend on it."
                )
        if not usable:
            raise GradientError(
                "The score depends on no floating-point input, so there is no input gradient. "
                "Use a class activation map on a layer after the decoding or the embedding."
            )
        return self.inputs or tuple(usable)

    def check(self, net):
        """See Method."""
        self.explained(net)

    def input_gradients(self, request, rule=None):
        """{input name: gradient of each example's score}; `rule` as for Request.gradients."""
        names = self.explained(request.net)
        tensors = [request.net.inputs[name].tensor for name in names]
        return dict(zip(names, request.gradients(tensors, rule), strict=True))

    def heatmap(self, request, attribution):
        """See Method. The absolute sum over channels, clipped at the 99th percentile."""
        names = self.explained(request.net)
        maps = attribution if isinstance(attribution, dict) else {names[0]: attribution}
        return single({k: absolute_heatmap(v, request.net.inputs[k]) for k, v in maps.items()})


def absolute_heatmap(attribution, info):
    """The absolute sum over channels of the attribution of an input, clipped: [N, *spatial]."""
    rank = attribution.shape.rank
    if rank == 2:  # A vector has no channels: its entries are the positions.
        attribution = attribution[..., tf.newaxis]
    elif info.channels_first:
        attribution = tf.transpose(attribution, [0, *range(2, rank), 1])
    return visualize.grayscale(attribution)


def single(maps):
    """Returns the only value of a dict, or the dict where there are several."""
    return next(iter(maps.values())) if len(maps) == 1 else maps


@dataclasses.dataclass(frozen=True)
class VanillaGradient(InputGradientMethod, name="vanilla_gradient"):
    """The gradient of the score with respect to the input.

    Simonyan, Vedaldi and Zisserman 2014, https://arxiv.org/abs/1312.6034, section 3. Attribution
    in the input's shape.
    """

    units: ClassVar[str] = "score per unit of the input"

    def attribute(self, request):
        """See Method."""
        return single(self.input_gradients(request))


@dataclasses.dataclass(frozen=True)
class GradientTimesInput(InputGradientMethod, name="gradient_times_input"):
    """The gradient times the input, elementwise: the first-order share of each value.

    Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713. Attribution in the input's shape; for
    a linear model without bias it sums to the score.
    """

    units: ClassVar[str] = "score: gradient times input"

    def attribute(self, request):
        """See Method."""
        gradients = self.input_gradients(request)
        return single(
            {name: g * tf.cast(request.feeds[name], g.dtype) for name, g in gradients.items()}
        )
