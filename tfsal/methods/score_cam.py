"""Score-CAM: channels weighted by the score of the input that they leave visible."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import MethodError
from tfsal.methods.baselines import Baseline, Constant, baseline_of
from tfsal.methods.channel_cam import ChannelCam
from tfsal.methods.chunks import join_copies, scores
from tfsal.methods.request import repeat
from tfsal.ops.precision import back_to, floating


@dataclasses.dataclass(frozen=True)
class ScoreCAM(ChannelCam, name="scorecam"):
    """Score-CAM: channels weighted by the score of the input that they leave visible.

    Wang et al. 2020, https://arxiv.org/abs/1910.01279, algorithm 1. Each channel, resized linearly
    to the input and scaled from its minimum and maximum to 0 and 1, is a mask of the input; a
    constant one hides everything. Its channel-wise increase of confidence is the score of what it
    leaves minus that of the baseline. The score is a logit unless the target says otherwise:
    ClassScore(logits=False) is the probability. Attribution [N, *spatial of the layer].

    Attributes:
      baseline: what the masks fade to where they hide: a number, an array, a name ("constant",
        "blurred", with settings as in "blurred(sigma=5)") or one of the classes of
        `tfsal.methods.baselines` that makes a single one. 0 as in the paper.
      softmax: weigh by the softmax of the increases over the channels, as in the algorithm; False:
        by the increases as they are, which may be negative. The softmax is the same whatever the
        score of the baseline.
    """

    baseline: Baseline = dataclasses.field(default=Constant(), kw_only=True)
    softmax: bool = dataclasses.field(default=True, kw_only=True)

    cost: ClassVar[str] = "1 forward, 1 forward for each channel; softmax=False 1 more"
    units: ClassVar[str] = "activation, weighted by the scores of the channels"

    def __post_init__(self):
        """Makes a Baseline of what was given, and checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type or is out of range, or there are several baselines.
        """
        object.__setattr__(self, "baseline", baseline_of(self.baseline))
        super().__post_init__()
        if self.baseline.count != 1:
            raise MethodError(f"ScoreCAM takes one baseline, not {self.baseline.count}.")

    @property
    def random(self):
        """True when the baseline is."""
        return self.baseline.random

    def check(self, net):
        """See ChannelCam.

        Raises:
          MethodError: the layer has no input that its map could mask.
        """
        super().check(net)
        self.check_sizes(net, net.inputs)

    def check_sizes(self, net, inputs):
        """See Method."""
        for tensor in self.layer_tensors(net):
            for name in self._masked(net, tensor):
                self.baseline.check(inputs[name])

    def weights(self, request, tensor, chosen):
        """See ChannelCam."""
        net, x, hidden = request.net, {}, {}
        for stream, (name, info) in enumerate(net.inputs.items()):
            if name in self._masked(net, tensor):
                x[name] = floating(request.feeds[name])
                hidden[name] = self.baseline.of(x[name], info, request.seed, stream)[:, 0]
        first = self._channels_first(request.evaluation[tensor])

        def seen(numbers):
            copies = tf.size(numbers)
            maps = tf.gather(first, tf.gather(chosen, numbers, axis=1), axis=1, batch_dims=1)
            maps = join_copies(maps)
            changed = {}
            for name, at in self._masked(net, tensor).items():
                rows, under = repeat(x[name], copies), repeat(hidden[name], copies)
                mask = tf.cast(self._mask(maps, rows, at), rows.dtype)
                shown = tf.ensure_shape(under + mask * (rows - under), rows.shape)
                changed[name] = back_to(request.feeds[name].dtype, shown)
            return request.at(changed, copies)

        count = self.channels or first.shape[1] or tf.shape(first)[1]
        found = scores(request, count, seen)
        if self.softmax:
            return tf.nn.softmax(found)
        nothing = {k: back_to(request.feeds[k].dtype, value) for k, value in hidden.items()}
        return found - request.at(nothing).score[:, tf.newaxis]

    def _masked(self, net, tensor):
        """{input name: first spatial axis} of the inputs that the channels of a layer mask."""
        rank = 2 if self.token_grid else len(net.tensor(tensor).spatial)
        under = self.inputs_under(net, tensor, rank)
        masked = {k: axis for k, axis in under.items() if net.inputs[k].is_quantity}
        if masked:
            return masked
        raise MethodError(
            f"The map of the layer '{net.layer_name(tensor)}' lies over no input of this model, so "
            f"there is nothing to mask: it has {rank} spatial axes, and the inputs are "
            f"{', '.join(map(str, net.inputs.values()))}. For a layer of tokens give token_grid=."
        )

    def _channels_first(self, activations):
        """[N, C, *spatial] or [N, C, *token_grid]."""
        rank = activations.shape.rank
        first = tf.transpose(activations, [0, rank - 1, *range(1, rank - 1)])
        if not self.token_grid:
            return first
        shape = tf.shape(first)
        return tf.reshape(first[..., self.skip_tokens :], [shape[0], shape[1], *self.token_grid])

    def _mask(self, maps, rows, at):
        """The maps [R, *spatial] as masks of the input `rows`, whose spatial axes begin at `at`."""
        rank = maps.shape.rank - 1
        mask = visualize.min_max(visualize.resize(maps, tf.shape(rows)[at : at + rank]))
        if rows.shape.rank == rank + 1:
            return mask
        return tf.expand_dims(mask, 1 if at == 2 else -1)
