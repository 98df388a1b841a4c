"""Methods that change what the activations do to a gradient on its way back.

Both rules are functions from the gradient with respect to an activation's output to two shares: the
gradient that the activation is differentiated with, and the gradient with respect to its input that
takes the place of that.
"""

import dataclasses
from typing import ClassVar, Literal

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import GradientError, LayerError
from tfsal.graph.functions import op_name
from tfsal.methods.base import Method
from tfsal.methods.gradient import InputGradientMethod, absolute_heatmap, single
from tfsal.methods.gradient_cams import GradCAM

_KNOWN = (
    "relu, relu6, leaky_relu, elu, selu, gelu, silu, mish, hard_silu and softplus, as one op or "
    "as several"
)


def guided(gradient):
    """Only what is positive comes to the activation, which then has its own derivative."""
    return tf.nn.relu(gradient), None


def deconvnet(gradient):
    """The positive part goes past the activation."""
    return None, tf.nn.relu(gradient)


class _RuleMethod:
    """What the methods with a rule share."""

    def graph(self, net):
        """See Method. With gates, whose gradient can be chosen."""
        return net.gated()

    def check_activations(self, net, names):
        """Raises a GradientError where an activation has no rule on the way from these inputs."""
        if self.without_rule == "differentiate":
            return
        inputs = [net.inputs[name].tensor for name in names]
        way = {op_name(t): t for t in net.flow(self.target.tensors(net), inputs).order}
        _, unknown = net.activations
        refused = [(net.layer_name(way[op]), what) for op, what in unknown.items() if op in way]
        if refused:
            listed = ", ".join(f"'{name}' ({what})" for name, what in refused[:3])
            more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
            raise GradientError(
                f"{type(self).__name__} has no rule for {listed}{more} on the way from the input "
                f"to the score. It knows {_KNOWN}, outside of loops and branches. "
                "without_rule='differentiate' leaves all others their own derivative; "
                "VanillaGradient needs no rule."
            )


@dataclasses.dataclass(frozen=True)
class _InputRuleMethod(_RuleMethod, InputGradientMethod):
    """Base of the input gradients with a rule.

    Attributes:
      without_rule: what to do with an activation that the rule is not known for (tanh, sigmoid,
        softmax, ..., and any inside of a loop): "refuse" the model, or "differentiate" it as it is.
    """

    without_rule: Literal["refuse", "differentiate"] = dataclasses.field(
        default="refuse", kw_only=True
    )

    units: ClassVar[str] = "none: the rule makes it no derivative of the score"

    def check(self, net):
        """See Method."""
        super().check(net)
        self.check_activations(net, self.explained(net))


@dataclasses.dataclass(frozen=True)
class GuidedBackprop(_InputRuleMethod, name="guided_backprop"):
    """Guided backpropagation: the gradient, negative parts stopped at each activation.

    Springenberg et al. 2015, https://arxiv.org/abs/1412.6806, section 3.4: at a ReLU y = relu(x),
    dx = 1[x > 0] * relu(dy). At the other activations f of the list dx = f'(x) * relu(dy), which
    is the same formula; f' is below 0 for x < -1.28 (silu), -0.75 (gelu), -1.19 (mish) or -1.5
    (hard_silu), and there a negative gradient goes on. Attribution in the input's shape.

    The picture is sharp whatever the model learned: it hardly changes when the upper layers are
    drawn at random (Adebayo et al. 2018, https://arxiv.org/abs/1810.03292) and it recovers the
    image rather than the decision (Nie et al. 2018, https://arxiv.org/abs/1805.07039).
    """

    def attribute(self, request):
        """See Method."""
        return single(self.input_gradients(request, guided))


@dataclasses.dataclass(frozen=True)
class Deconvnet(_InputRuleMethod, name="deconvnet"):
    """Deconvnet: the gradient, negative parts stopped, whether or not an activation was on.

    Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 2.1, as a backward pass
    (Simonyan et al. 2014, section 4): at a ReLU dx = relu(dy). So it is at every activation of the
    list, whose derivative plays no part. Attribution in the input's shape.

    Like guided backpropagation it recovers the image rather than the decision (Nie et al. 2018,
    https://arxiv.org/abs/1805.07039): in a ReLU network without max pooling it does not depend on
    the input at all, but for the class that is chosen.
    """

    def attribute(self, request):
        """See Method."""
        return single(self.input_gradients(request, deconvnet))


@dataclasses.dataclass(frozen=True)
class GuidedGradCAM(_RuleMethod, Method, name="guided_gradcam"):
    """Guided Grad-CAM: guided backpropagation where Grad-CAM is high.

    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, section 3.2: the product of
    GuidedBackprop and of GradCAM resized to the input. Attribution in the shape of the input that
    the map lies over.

    The detail is that of guided backpropagation, which depends little on what the model learned
    (Adebayo et al. 2018, https://arxiv.org/abs/1810.03292, found the same of this product); what
    tells classes apart is the coarse map.

    Attributes:
      layer: layer or layers to draw the map on, as for GradCAM.
      token_grid: as for GradCAM: (height, width) of the grid that a layer of tokens forms.
      skip_tokens: as for GradCAM: tokens at the front that are no positions.
      without_rule: as for GuidedBackprop.
    """

    layer: str | tuple[str, ...] | None = None
    token_grid: tuple[int, int] | None = dataclasses.field(default=None, kw_only=True)
    skip_tokens: int = dataclasses.field(default=1, kw_only=True)
    without_rule: Literal["refuse", "differentiate"] = dataclasses.field(
        default="refuse", kw_only=True
    )

    cost: ClassVar[str] = "1 forward, 1 backward, 1 backward from the score to the layer"
    units: ClassVar[str] = "none: the rule makes it no derivative of the score"

    def __post_init__(self):
        """Checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        super().__post_init__()
        self._cam()

    def layer_tensors(self, net):
        """Names of the tensors that the map is drawn on."""
        return self._cam().layer_tensors(net)

    def _cam(self):
        options = {"token_grid": self.token_grid, "skip_tokens": self.skip_tokens}
        return GradCAM(self.layer, target=self.target, **options)

    def _under(self, net):
        """(name, first spatial axis) of the input that the map lies over."""
        cam = self._cam()
        (first, *_) = cam.layer_tensors(net)
        rank = 2 if self.token_grid else len(net.tensor(first).spatial)
        under = cam.input_under(net, rank)
        if under is None:
            raise LayerError(
                f"The map of the layer '{net.layer_name(first)}' has {rank} spatial axes and lies "
                "over none of the inputs. For a layer of tokens give token_grid=(height, width)."
            )
        return under

    def _guided(self, name):
        return GuidedBackprop(name, target=self.target, without_rule=self.without_rule)

    def check(self, net):
        """See Method."""
        self._cam().check(net)
        name, _ = self._under(net)
        self.check_activations(net, self._guided(name).explained(net))

    def attribute(self, request):
        """See Method."""
        cam = self._cam().attribute(request)
        name, first = self._under(request.net)
        gradient = self._guided(name).attribute(request)
        rank = cam.shape.rank - 1
        size = tf.shape(request.feeds[name])[first : first + rank]
        weights = tf.cast(visualize.resize(cam, size), gradient.dtype)
        if gradient.shape.rank > rank + 1:
            weights = tf.expand_dims(weights, 1 if first == 2 else -1)
        return tf.ensure_shape(gradient * weights, gradient.shape)

    def heatmap(self, request, attribution):
        """See Method. The absolute sum over channels, clipped at the 99th percentile."""
        name, _ = self._under(request.net)
        return absolute_heatmap(attribution, request.net.inputs[name])
