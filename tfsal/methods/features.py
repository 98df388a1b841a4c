"""Segments of an input as features that are there or not, and what the score loses with each."""

import abc
import dataclasses
from typing import ClassVar, Literal

import tensorflow as tf

from tfsal.errors import InputError
from tfsal.methods.perturbation import PerturbationMethod, drop_units, share_of
from tfsal.methods.segments import EXTRAS, Grid, Segments, segments_of


@dataclasses.dataclass(frozen=True)
class FeatureMethod(PerturbationMethod):
    """Base of the methods that attribute to segments of the positions, the features.

    Every position gets the value of its segment.

    Attributes:
      segments: which positions make one feature. The cells of a grid along each axis, an int or one
        for each axis; None: each entry of a vector, and for other inputs a grid of 64 cells (8x8 of
        an image), or as many as there are positions. An array of labels [*positions], whole numbers
        from 0 on, the same for all examples. "slic": superpixels of each image, which are among the
        extras. "input": label maps that you give, `segments=` of a call and an input of the
        signature. With settings, "slic(count=64,compactness=0.1)" and "input(count=64)", where
        count is how many there are at most; or one of the classes of `tfsal.methods.segments`.
    """

    segments: Segments = Grid()

    def __post_init__(self):
        """Makes Segments of what was given.

        Raises:
          MethodError: a hyperparameter has the wrong type or is out of range.
        """
        object.__setattr__(self, "segments", segments_of(self.segments))
        super().__post_init__()

    @property
    def extras(self):
        """The segments, where each example has its own."""
        return EXTRAS if self.segments.own else {}

    @abc.abstractmethod
    def feature_values(self, features):
        """Computes the value of each feature.

        Args:
          features: Features of one input.

        Returns:
          [N, count], in the dtype of the score.
        """

    def explained(self, net):
        """See PerturbationMethod; segments of each example are of one input.

        Raises:
          InputError: there is no input to explain, or several with such segments.
        """
        names = super().explained(net)
        if self.segments.own and len(names) > 1:
            raise InputError(
                f"segments={self.segments} are of one input, and there are {', '.join(names)}. "
                f"Choose one: inputs='{names[0]}'."
            )
        return names

    def segments_input(self, net):
        """See Method."""
        return self.segments.input(net.inputs[self.explained(net)[0]])

    def check(self, net):
        """See Method; segments must fit the inputs."""
        super().check(net)
        for name in self.explained(net):
            self.feature_count(net.inputs[name])

    def feature_count(self, info):
        """Number of features of an input, at most.

        Args:
          info: TensorInfo of the input.

        Raises:
          InputError: the segments do not fit it.
        """
        return self.segments.limit(info)

    def explain_input(self, masked):
        """See PerturbationMethod."""
        request = masked.request
        info = request.net.inputs[masked.name]
        labels = self.segments.labels(request, info, masked.positions)
        if self.segments.own:
            request.extras["segments"] = labels[:, tf.newaxis]
        features = Features(masked, labels, self.feature_count(info))
        return features.at_positions(self.feature_values(features)[:, tf.newaxis])[:, 0]


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of one masked input.

    Attributes:
      masked: the MaskedInput.
      labels: [N or 1, *positions] int32, the feature of each position.
      count: number of features, at most; int.
    """

    masked: object
    labels: tf.Tensor
    count: int

    @property
    def exist(self):
        """[N or 1, count] float64: 1 for a feature that some position has, otherwise 0."""
        rows = tf.shape(self.labels)[0]
        flat = tf.reshape(self.labels, [rows, -1]) + tf.range(rows)[:, tf.newaxis] * self.count
        ones = tf.ones_like(tf.reshape(flat, [-1]))
        sizes = tf.math.unsorted_segment_sum(ones, tf.reshape(flat, [-1]), rows * self.count)
        return tf.cast(tf.reshape(sizes, [rows, self.count]) > 0, tf.float64)

    def at_positions(self, values):
        """Gives each position the value of its feature.

        Args:
          values: [N or 1, c, count] floating, as the shares of the features that stay.

        Returns:
          [N or 1, c, *positions].
        """
        if self.labels.shape[0] == 1:
            return tf.gather(values, self.labels[0], axis=2)
        shape = tf.concat([tf.shape(self.labels)[:1], tf.shape(values)[1:]], 0)
        return tf.gather(tf.broadcast_to(values, shape), self.labels, axis=2, batch_dims=1)

    def note(self, extra, values):
        """Puts values of the features, [N, count], into the extras of the masked input."""
        self.masked.extras[extra] = self.at_positions(values[:, tf.newaxis])[:, 0]


@dataclasses.dataclass(frozen=True)
class FeatureAblation(FeatureMethod, name="feature_ablation"):
    """Feature ablation: by how much the score falls without each segment, column or time step.

    One at a time, as captum does it (Kokhlikyan et al. 2020, https://arxiv.org/abs/2009.07896).
    Attribution [N, *positions].

    Attributes:
      measure: "drop", the score minus that without the feature; "fraction", the drop over the
        absolute score.
    """

    measure: Literal["drop", "fraction"] = "drop"

    cost: ClassVar[str] = "1 forward, 1 forward a feature and baseline"

    @property
    def units(self):
        """Of the drop, or its share of the score."""
        return drop_units(self.measure, "its drop without the feature")

    def feature_values(self, features):
        """See FeatureMethod."""
        masked = features.masked

        def keep(numbers):
            return features.at_positions(1 - tf.one_hot(numbers, features.count)[tf.newaxis])

        drops = masked.request.score[:, tf.newaxis] - masked.all_scores(features.count, keep)
        return share_of(self.measure, drops, masked.request.score)
