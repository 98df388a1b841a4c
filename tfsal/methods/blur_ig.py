"""Blur Integrated Gradients: a path from the blurred input to the sharp one."""

import dataclasses
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from tfsal.errors import MethodError
from tfsal.methods import rules
from tfsal.methods.chunks import accumulate, split_copies, weighted_sum
from tfsal.methods.gradient import single
from tfsal.methods.path import PathMethod
from tfsal.ops import gaussian

_WIDEST = 10_000.0
_PAIR_DIFFERENCE = 0.01  # Of sigma, from which PAIR takes the derivative.


@dataclasses.dataclass(frozen=True)
class BlurIG(PathMethod, name="blur_ig"):
    """Integrated gradients along a path of Gaussian blurs, from the widest to none.

    Xu, Venugopalan and Sundararajan 2020, https://arxiv.org/abs/2004.03383, equation 6. It needs no
    baseline and asks which details, at which scale, speak for the class. All axes of positions are
    blurred alike, channels are not; a vector is taken for a signal. Beyond the ends lie zeros, so
    that a wide blur of a small picture fades to black.

    Attribution in the input's shape. Its sum is the score minus that of the blurred input, up to
    the error of the steps, which `completeness_gap` [N] states:
    sum - (score - score of the input blurred with max_sigma).

    Attributes:
      max_sigma: width (standard deviation) of the widest blur, in positions; above 0.
      steps: number of gradients, at least 1.
      rule: where along the path they are taken, and with which weights, as for
        IntegratedGradients; the blur's derivative is exact. `pair` does as PAIR's `saliency`: the
        left rule, kernels cut at 4 sigma as scipy.ndimage.gaussian_filter does, and a difference
        over 0.01 for the derivative; its defaults are BlurIG(rule="pair", steps=100).
      spacing: how sigma grows along the path: `linear`ly; with the `variance` linear (PAIR's
        sqrt=True with max_sigma=M is this with sqrt(M)); or `logarithmic`ally, equal steps making
        1 + sigma larger by equal factors, so that they are close where details vanish. None, the
        default: linear for `pair`, logarithmic otherwise.
    """

    max_sigma: float = 50.0
    steps: int = 32
    rule: Literal["midpoint", "gauss_legendre", "trapezoid", "left", "right", "pair"] = "midpoint"
    spacing: Literal["linear", "variance", "logarithmic"] | None = None

    cost: ClassVar[str] = "steps forward and backward, 2 forward"
    units: ClassVar[str] = "score: the value's share of its change from the blurred input"

    def __post_init__(self):
        """Checks the values.

        Raises:
          MethodError: one has the wrong type or is out of range.
        """
        super().__post_init__()
        if not 0 < self.max_sigma <= _WIDEST:
            raise MethodError(
                f"max_sigma is a width in positions, above 0 and up to {_WIDEST:g}, not "
                f"{self.max_sigma}."
            )
        rules.nodes(self.rule, self.steps)

    def attribute(self, request):
        """See Method."""
        x = self.values(request)
        images = [_Image(request.net.inputs[name], value) for name, value in x.items()]
        kernels = self._kernels()
        tables = [[image.table(kernel) for kernel in kernels] for image in images]

        def add_steps(numbers, real, sums):
            points, changes = {}, {}
            for image, table in zip(images, tables, strict=True):
                chosen = [tf.gather(kernel, numbers) for kernel in table]
                blurred, change = gaussian.blur_and_change(image.picture, *chosen)
                points[image.name], changes[image.name] = (
                    image.copies(blurred),
                    image.copies(change),
                )
            gradients = self.input_gradients(self.asked_at(request, points))
            return {
                name: sums[name]
                + weighted_sum(split_copies(g, tf.size(numbers)) * changes[name], real)
                for name, g in gradients.items()
            }

        zeros = {name: tf.zeros_like(value) for name, value in x.items()}
        attributions = accumulate(request, self.steps, add_steps, zeros)
        widest = self._widest()[np.newaxis]
        begin = {i.name: i.copies(gaussian.blur(i.picture, i.table(widest))) for i in images}
        self.add_gap(request, attributions, self.asked_at(request, begin).score)
        return single(attributions)

    def _kernels(self):
        """The blurs along the path, from none to the widest.

        Returns:
          What gaussian.blur_and_change takes, each [steps, radius + 1] float64; `change` is the
          derivative in sigma times minus the weight of its step.
        """
        if self.rule == "pair":
            return self._pair_kernels()
        places, weights = rules.nodes(self.rule, self.steps)
        sigmas, rates = self._sigmas(places)
        radius = gaussian.reach(self.max_sigma)
        narrow = np.stack([gaussian.kernel(s, radius) for s in sigmas])
        slopes = np.stack([gaussian.kernel_slope(s, radius) for s in sigmas])
        return narrow, -(weights * rates)[:, np.newaxis] * slopes

    def _pair_kernels(self):
        """See _kernels: the left rule, and the difference of two blurs for the derivative."""
        sigmas, _ = self._sigmas(np.linspace(0, 1, self.steps + 1))
        radius = gaussian.truncated_reach(self.max_sigma + _PAIR_DIFFERENCE)
        narrow, wide = (
            np.stack([gaussian.truncated_kernel(s + more, radius) for s in sigmas[:-1]])
            for more in (0, _PAIR_DIFFERENCE)
        )
        weights = np.diff(sigmas)[:, np.newaxis]
        return narrow, -weights * (wide - narrow) / _PAIR_DIFFERENCE, wide

    def _widest(self):
        """[radius + 1]: the kernel of the blur where the path begins."""
        if self.rule == "pair":
            radius = gaussian.truncated_reach(self.max_sigma)
            return gaussian.truncated_kernel(self.max_sigma, radius)
        return gaussian.kernel(self.max_sigma, gaussian.reach(self.max_sigma))

    def _sigmas(self, places):
        """Sigma at places in [0, 1] along the path, and its derivative there.

        Where the latter is infinite, at sigma 0, it is given as 0: a picture does not change there.
        """
        widest, spacing = self.max_sigma, self.spacing
        if spacing is None:
            spacing = "linear" if self.rule == "pair" else "logarithmic"
        if spacing == "linear":
            return widest * places, np.full_like(places, widest)
        if spacing == "logarithmic":
            factors = (1 + widest) ** places
            return factors - 1, factors * np.log1p(widest)
        sigmas = widest * np.sqrt(places)
        rates = np.zeros_like(sigmas)
        return sigmas, np.divide(widest**2 / 2, sigmas, out=rates, where=sigmas > 0)


class _Image:
    """An input, as blurs take it and as the model takes it.

    Attributes:
      name: of the input.
      picture: [1, N, C, *spatial]; a vector has one channel.
    """

    def __init__(self, info, value):
        rank = value.shape.rank
        self.name = info.name
        self.is_vector = rank == 2
        self.channels_last = not self.is_vector and not info.channels_first
        if self.is_vector:
            value = value[:, tf.newaxis]
        elif self.channels_last:
            value = tf.transpose(value, [0, rank - 1, *range(1, rank - 1)])
        self.picture = value[tf.newaxis]

    def table(self, kernels):
        """[steps, radius + 1] to a constant, cut where no two positions are that far apart."""
        sizes = self.picture.shape[3:]
        if sizes.is_fully_defined():
            kernels = kernels[:, : max(sizes)]
        return tf.constant(kernels, self.picture.dtype)

    def copies(self, pictures):
        """[K, N, C, *spatial] to [N, K, ...], as the model takes them."""
        rank = pictures.shape.rank
        order = [*range(3, rank), 2] if self.channels_last else range(2, rank)
        pictures = tf.transpose(pictures, [1, 0, *order])
        return tf.squeeze(pictures, 2) if self.is_vector else pictures
