"""Targets: the scalar per example that an explanation is about.

A target turns outputs of a model into a score [N] of one class, inside a trace. Every target has

  tensors(net)                            names of the tensors that the score is computed from
  classes(net, evaluation, wanted, region)  class indices [N], of wanted [N], with -1 resolved to
                                          top-1, or [N, K] of [N, K], where the -1s of a row stand
                                          for its best classes in order; -2: out of range
  score(net, evaluation, classes, region) [N] float32 or float64
  region_shape(net)                       static shape of the `region` input, None without one
  class_count(net)                        number of classes, None where it is not known
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from tfsal.errors import TargetError
from tfsal.ops.precision import at_least_float32


class Target:
    """Base of the targets; what most of them share."""

    def region_shape(self, net):
        """Static shape of the `region` input, or None for a target without one."""
        return None


class _OfClasses(Target):
    """A target over values [N, K]: one score for each class."""

    def tensors(self, net):
        """Names of the tensors that the score is computed from."""
        output = net.output(self.output)
        return [net.logits_of(self.output) if self.logits else output.tensor]

    def class_count(self, net):
        """Number of classes; a head with one logit has two; None where it is not known."""
        shape = net.output(self.output).shape
        if shape.rank is None:
            return None
        count = shape[-1] if shape.rank > 1 else 1
        return 2 if count == 1 else count

    def classes(self, net, evaluation, wanted, region):
        """[N] or [N, K] int32, as `wanted` is; see the module."""
        values = self._values(net, evaluation, region)
        shape = tf.concat([tf.shape(values)[:1], tf.shape(wanted)[1:]], 0)
        wanted = tf.broadcast_to(wanted, shape)
        resolved = tf.where(wanted == -1, _best(values, wanted), wanted)
        in_range = (wanted >= -1) & (resolved < tf.shape(values)[-1])
        return tf.where(in_range, resolved, -2)

    def score(self, net, evaluation, classes, region):
        """[N]: the value of each example's class."""
        values = self._values(net, evaluation, region)
        chosen = tf.one_hot(classes, tf.shape(values)[-1], on_value=True, off_value=False)
        return tf.reduce_sum(tf.where(chosen, values, tf.zeros_like(values)), axis=-1)

    def _tensor(self, net, evaluation):
        """[N, *spatial, K] of the output, K at least 2."""
        value = evaluation[self.tensors(net)[0]]
        if not value.dtype.is_floating:
            raise TargetError(
                f"The output '{net.output(self.output).name}' is {value.dtype.name}, which has no "
                "gradient. Explain a floating-point output."
            )
        shape = net.output(self.output).shape
        if value.shape.rank != shape.rank and shape[1:].is_fully_defined():
            value = tf.reshape(value, [-1, *shape[1:]])
        value = at_least_float32(value[:, tf.newaxis] if value.shape.rank == 1 else value)
        if value.shape.rank is None or value.shape[-1] != 1:
            return value
        # One value stands for two classes: z and -z, or p and 1 - p.
        whole = 1.0 if net.is_probability(self.tensors(net)[0]) else 0.0
        return tf.concat([whole - value, value], axis=-1)


def _best(values, wanted):
    """Classes in the place of each -1: the best, and in a row of several the next best and so on.

    Args:
      values: [N, classes].
      wanted: [N] or [N, K] int32, K known.

    Returns:
      int32 of the shape of `wanted`; past the last class where a row asks for more than there are.
    """
    if wanted.shape.rank == 1:
        return tf.argmax(values, axis=-1, output_type=tf.int32)
    count = wanted.shape[1]
    none_left = tf.fill([tf.shape(values)[0], count - 1], tf.constant(-math.inf, values.dtype))
    order = tf.math.top_k(tf.concat([values, none_left], axis=1), count).indices
    turn = tf.cumsum(tf.cast(wanted == -1, tf.int32), axis=1, exclusive=True)
    return tf.gather(order, tf.minimum(turn, count - 1), batch_dims=1)


@dataclasses.dataclass(frozen=True)
class ClassScore(_OfClasses):
    """The score of one class: its logit.

    A head with one value stands for two classes. With a logit z, 1 scores z and 0 scores -z; with a
    probability p, 1 scores p and 0 scores 1 - p.

    Attributes:
      output: name of the output; None for a model with a single one.
      logits: True takes the value before a final softmax or sigmoid, whose gradient vanishes where
        the model is sure; False takes the output as it is.
    """

    output: str | None = None
    logits: bool = True

    def _values(self, net, evaluation, region):
        value = self._tensor(net, evaluation)
        if value.shape.rank is None:
            value = tf.ensure_shape(value, [None, None])
        if value.shape.rank != 2:
            raise TargetError(
                f"The output '{net.output(self.output).name}' has the shape {value.shape}: one "
                "score for every position, not one for every example. Use "
                "target=tfsal.RegionScore(), the score summed over a region."
            )
        return value


@dataclasses.dataclass(frozen=True)
class RegionScore(_OfClasses):
    """For a dense output [N, *spatial, K] (segmentation): a class's logit summed over a region.

    The region is the input `region` [N, *spatial] of the explanation, weights of the positions;
    all ones by default. Top-1 is the class of the highest sum. (Seg-Grad-CAM, Vinogradova et al.
    2020, arXiv:2002.11434.)

    Attributes:
      output: name of the output; None for a model with a single one.
      logits: as for ClassScore.
    """

    output: str | None = None
    logits: bool = True

    def region_shape(self, net):
        """Static shape [N, *spatial] of the `region` input."""
        return net.output(self.output).shape[:-1]

    def _values(self, net, evaluation, region):
        value = self._tensor(net, evaluation)
        if value.shape.rank is None or value.shape.rank < 3:
            raise TargetError(
                f"The output '{net.output(self.output).name}' has the shape {value.shape}, so it "
                "has no positions to choose a region of. Use target=tfsal.ClassScore()."
            )
        weights = tf.cast(region, value.dtype)[..., tf.newaxis]
        return tf.reduce_sum(value * weights, axis=list(range(1, value.shape.rank - 1)))


@dataclasses.dataclass(frozen=True)
class GraphScore(Target):
    """Any score written in TensorFlow.

    Attributes:
      fn: function from ({output name: tensor}, class_index [N] int32) to a score [N]. A loss is
        GraphScore(cross_entropy). It is traced, so it must use TensorFlow operations.
      output: the output whose top-1 class stands in for class_index -1; None for a model with a
        single one. Where that is no [N, K] tensor, fn gets -1 as it is.
    """

    fn: Callable
    output: str | None = None

    def tensors(self, net):
        """Names of the tensors that the score is computed from."""
        return [info.tensor for info in net.outputs.values()]

    def class_count(self, net):
        """Number of classes, or None where the outputs do not tell."""
        output = self._class_output(net)
        return ClassScore(output.name).class_count(net) if output else None

    def classes(self, net, evaluation, wanted, region):
        """[N] or [N, K] int32; see ClassScore."""
        output = self._class_output(net)
        if output is not None:
            return ClassScore(output.name, logits=False).classes(net, evaluation, wanted, region)
        first = evaluation[next(iter(net.outputs.values())).tensor]
        shape = tf.concat([tf.shape(first)[:1], tf.shape(wanted)[1:]], 0)
        wanted = tf.broadcast_to(wanted, shape)
        return tf.where(wanted >= -1, wanted, -2)

    def score(self, net, evaluation, classes, region):
        """[N]: what fn returns."""
        outputs = {name: evaluation[info.tensor] for name, info in net.outputs.items()}
        try:
            score = tf.convert_to_tensor(self.fn(outputs, classes))
        except (KeyError, TypeError) as error:
            raise TargetError(
                f"The function of a GraphScore failed: {error!r}. It is called with "
                f"({{{', '.join(outputs)}}}, class_index) and returns a score [N]."
            ) from error
        if score.shape.rank != 1 or not score.dtype.is_floating:
            raise TargetError(
                "The function of a GraphScore must return one floating-point score per example, "
                f"[N]; it returned {score.dtype.name} {score.shape}."
            )
        return at_least_float32(score)

    def _class_output(self, net):
        if self.output is None and len(net.outputs) > 1:
            return None
        output = net.output(self.output)
        return output if output.shape.rank in (1, 2) and output.dtype.is_floating else None
