"""FullGrad: the input's share of the score and that of every bias."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import InputError
from tfsal.graph.biases import find_biases
from tfsal.methods.gradient import InputGradientMethod, single
from tfsal.ops.precision import at_least_float32, at_one_dtype


@dataclasses.dataclass(frozen=True)
class FullGrad(InputGradientMethod, name="fullgrad"):
    """FullGrad: where the input and the biases of all layers make the score.

    Srinivas and Fleuret 2019, https://arxiv.org/abs/1905.00780, equations 3 and 5. The score is
    split into the input times its gradient and each bias times its gradient, at every position
    (proposition 1: exactly, in a ReLU network with biases; a batch norm's shift is a bias, and so
    is f(x) - f'(x) x of an activation f other than a ReLU). The map is the sum over layers and
    channels of the absolute values, each layer resized to the input and, with `rescale`, brought
    to [0, 1] for each example, as the authors do. Biases of layers with no positions, as of a dense
    head, have no place in it. Attribution [N, *spatial of the input], 0 or more.

    `completeness_gap` is the sum of all shares, of those without a place too, minus the score: 0
    but for rounding where the split is exact, and elsewhere (attention, layer norm, tanh) a measure
    of what is missing.

    Attributes:
      rescale: bring the absolute values of each layer to [0, 1], minimum to maximum over its
        positions and channels.
    """

    rescale: bool = dataclasses.field(default=True, kw_only=True)

    cost: ClassVar[str] = "1 forward, 1 backward"
    units: ClassVar[str] = "sum over layers of shares of the score, each from 0 to 1 if rescaled"
    extras: ClassVar[dict[str, str]] = {"completeness_gap": "score: sum of all shares minus score"}

    def check(self, net):
        """See Method."""
        self._placed(net)

    def _placed(self, net):
        """Names of the inputs that a map is made for: those with positions."""
        names = self.explained(net)
        for name in names if self.inputs else ():
            info = net.inputs[name]
            if not info.spatial:
                raise InputError(f"The input '{name}' {info.shape} has no positions to map.")
        placed = [name for name in names if net.inputs[name].spatial]
        if not placed:
            raise InputError(
                "FullGrad draws a map over positions, and no input of this model has any. "
                "GradientTimesInput explains vectors."
            )
        return placed

    def attribute(self, request):
        """See Method."""
        net = request.net
        everything = dataclasses.replace(self, inputs=None).explained(net)
        flow = net.flow(self.target.tensors(net), [net.inputs[n].tensor for n in everything])
        biases = find_biases(net.graph_def, flow, net.activations[0])
        tensors = [net.inputs[name].tensor for name in everything] + [b.tensor for b in biases]
        gradients = request.gradients(tensors)
        shares = [
            g * tf.cast(request.evaluation[t], g.dtype)
            for t, g in zip(tensors[: len(everything)], gradients, strict=False)
        ]
        for bias, gradient in zip(biases, gradients[len(everything) :], strict=True):
            shares.append(gradient * tf.cast(_value(bias, request.evaluation), gradient.dtype))
        shares = list(at_one_dtype(dict(enumerate(shares))).values())
        total = tf.add_n([_sum_of_rows(share) for share in shares])
        request.extras["completeness_gap"] = total - tf.cast(request.score, total.dtype)
        own = dict(zip(everything, shares, strict=False))
        layers = list(zip(biases, shares[len(everything) :], strict=True))
        return single(
            {name: self._map(request, name, own[name], layers) for name in self._placed(net)}
        )

    def _map(self, request, name, own, layers):
        """[N, *spatial] of one input: its own share and those of later layers of its rank."""
        net = request.net
        info = net.inputs[name]
        after = set(net.flow(self.target.tensors(net), [info.tensor]).order)
        rank = len(info.spatial)
        first = 2 if info.channels_first else 1
        size = tf.shape(own)[first : first + rank]
        total = self._layer(own, info)
        sums = {}  # Layers of one size are summed before they are resized.
        for bias, share in layers:
            info = net.tensor(bias.tensor)
            if len(info.spatial) == rank and info.batched and bias.tensor in after:
                key = bias.tensor if None in info.spatial else info.spatial
                sums.setdefault(key, []).append(self._layer(share, info))
        for maps in sums.values():
            resized = visualize.resize(tf.add_n(maps), size)
            total += tf.cast(tf.ensure_shape(resized, total.shape), total.dtype)
        return total

    def _layer(self, share, info):
        """[N, *spatial]: absolute values, rescaled, summed over channels."""
        share = tf.abs(share)
        if self.rescale:
            axes = list(range(1, share.shape.rank))
            share -= tf.reduce_min(share, axes, keepdims=True)
            highest = tf.reduce_max(share, axes, keepdims=True)
            share = tf.math.divide_no_nan(share, highest)
        return tf.reduce_sum(share, axis=1 if info.channels_first else -1)

    def heatmap(self, request, attribution):
        """See Method. Clipped at the 99th percentile."""
        maps = attribution if isinstance(attribution, dict) else {"": attribution}
        return single({k: visualize.grayscale(v[..., tf.newaxis]) for k, v in maps.items()})


def _value(bias, evaluation):
    """What a bias adds, broadcast against its tensor."""
    parts = [at_least_float32(evaluation[part]) for part in bias.parts]
    if bias.kind == "activation":
        x, y = evaluation[bias.parts[0]], evaluation[bias.tensor]
        (slope,) = tf.gradients(y, x)
        return at_least_float32(y) - at_least_float32(slope) * parts[0]
    if bias.kind == "batch_norm":
        scale, offset, mean, variance = parts
        value = offset - mean * scale * tf.math.rsqrt(variance + bias.epsilon)
    else:
        value = -parts[0] if bias.negative else parts[0]
    rank = evaluation[bias.tensor].shape.rank
    if bias.channel_axis == 1:
        value = tf.reshape(value, [-1] + [1] * (rank - 2))
    return value


def _sum_of_rows(share):
    return tf.reduce_sum(share, axis=list(range(1, share.shape.rank)))
