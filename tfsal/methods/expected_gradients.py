"""Expected Gradients: paths from many references, sampled."""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.methods.array import Array
from tfsal.methods.chunks import split_copies
from tfsal.methods.gradient import single
from tfsal.methods.path import PathMethod
from tfsal.methods.request import repeat
from tfsal.methods.running_mean import RunningMean
from tfsal.methods.sampling import Sampling
from tfsal.ops import random


@dataclasses.dataclass(frozen=True)
class ExpectedGradients(Sampling, PathMethod, name="expected_gradients"):
    """Expected Gradients (GradientSHAP): Integrated Gradients averaged over a set of references.

    Erion et al. 2021, https://arxiv.org/abs/1906.10670, equation 3. Each sample takes a reference
    and a place on the line from it to the input, both at random. Attribution in the input's shape;
    its expected sum is the score minus the references' mean score. The gap is taken to the mean
    over the references that were drawn.

    Attributes:
      references: [M, *shape] array, or {input name: array}; rows of several inputs belong
        together. They are needed, and stored in the bundle.
      samples: number of draws.
    """

    references: Array | tuple[tuple[str, Array], ...] | None = None
    samples: int = 50

    cost: ClassVar[str] = "samples forward and backward, samples forward"
    random: ClassVar[bool] = True

    def __post_init__(self):
        """Wraps the arrays, and checks the hyperparameters.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        given = self.references
        if isinstance(given, dict):
            given = tuple(given.items())
        if isinstance(given, tuple):
            given = tuple((name, _wrapped(value)) for name, value in given)
        elif given is not None:
            given = _wrapped(given)
        object.__setattr__(self, "references", given)
        super().__post_init__()
        if self.samples < 1:
            raise MethodError(f"samples is 1 or more, not {self.samples}.")
        if len({len(array.value) for array in self._arrays()}) > 1:
            raise MethodError("The references of the inputs differ in number.")

    def check(self, net):
        """See Method; the references must fit the inputs.

        Raises:
          MethodError: there are none.
        """
        super().check(net)
        if self.references is None:
            raise MethodError("references= is needed: typical inputs, an array [M, ...].")
        for name, _ in self.references if isinstance(self.references, tuple) else ():
            if name not in self.explained(net):
                raise InputError(
                    f"There are references for '{name}'; the inputs that are explained: "
                    f"{', '.join(self.explained(net))}."
                )
        self.check_sizes(net, net.inputs)

    def check_sizes(self, net, inputs):
        """See Method."""
        for name in self.explained(net):
            shape = self._of(net, name).value.shape[1:]
            if not inputs[name].shape[1:].is_compatible_with(shape):
                raise InputError(
                    f"A reference has the shape {list(shape)}; the input '{name}' takes "
                    f"{list(inputs[name].shape[1:])}."
                )

    def attribute(self, request):
        """See Method."""
        x = self.values(request)
        references = {k: tf.constant(self._of(request.net, k).value) for k in x}
        many = len(next(iter(self._arrays())).value)

        def add_sample(numbers, real, state):
            means, start = state
            copies = tf.size(numbers)
            seeds, samples = repeat(request.seed, copies), tf.tile(numbers, [request.count])
            which = random.uniform(seeds, samples, [], stream=0)
            which = tf.minimum(tf.cast(which * many, tf.int32), many - 1)
            place = random.uniform(seeds, samples, [], stream=1)
            begin, points, change = {}, {}, {}
            for name, value in x.items():
                rows = repeat(value, copies)
                reference = tf.cast(tf.gather(references[name], which), value.dtype)
                reference = tf.broadcast_to(reference, tf.shape(rows))  # a color, for all positions
                change[name] = rows - reference
                along = tf.reshape(place, [-1] + [1] * (value.shape.rank - 1))
                dtype = request.feeds[name].dtype
                points[name] = tf.cast(
                    reference + tf.cast(along, value.dtype) * change[name], dtype
                )
                begin[name] = tf.cast(reference, dtype)
            gradients = self.input_gradients(request.at(points, copies))
            means = [
                mean.add(split_copies(gradients[name] * change[name], copies), real)
                for name, mean in zip(x, means, strict=True)
            ]
            scores = request.at(begin, copies).score
            return means, start.add(split_copies(scores, copies), real)

        means = [RunningMean.of_none(tf.zeros_like(value)) for value in x.values()]
        state = (means, RunningMean.of_none(tf.zeros_like(request.score)))
        means, start = self.accumulate(request, self.samples, add_sample, state)
        means = dict(zip(x, means, strict=True))
        errors = {name: mean.standard_error() for name, mean in means.items()}
        request.extras["standard_error"] = single(errors)
        attributions = {name: mean.mean for name, mean in means.items()}
        self.add_gap(request, attributions, start.mean)
        return single(attributions)

    def _arrays(self):
        if isinstance(self.references, tuple):
            return [array for _, array in self.references]
        return [self.references] if self.references is not None else []

    def _of(self, net, name):
        if not isinstance(self.references, tuple):
            if len(self.explained(net)) > 1:
                raise InputError(
                    "Several inputs are explained: give references={input name: array} for "
                    f"{', '.join(self.explained(net))}."
                )
            return self.references
        if name not in dict(self.references):
            raise InputError(f"There are no references for the input '{name}'.")
        return dict(self.references)[name]


def _wrapped(value):
    array = value if isinstance(value, Array) else Array(value)
    if array.value.dtype.kind not in "fiu" or array.value.ndim < 2 or not len(array.value):
        raise MethodError(
            "references is an array of numbers [M, ...], M 1 or more, not "
            f"{array.value.dtype} {list(array.value.shape)}."
        )
    if not np.isfinite(array.value).all():
        raise MethodError("The references hold a NaN or an infinity.")
    return array
