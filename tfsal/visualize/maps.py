"""Attributions to maps: channels to one number a position, scaling, resizing."""

import tensorflow as tf

from tfsal.errors import InputError


def resize(maps, size):
    """Resizes maps linearly along every spatial axis (half-pixel centres).

    Made of integer positions and gathers, because XLA's own resize is wrong at some sizes: 7 to 21
    was off by 30% of the largest value (TensorFlow 2.21, CPU).

    Args:
      maps: [N, *spatial] floating, spatial rank 1 or more.
      size: [rank] int32, the new spatial sizes.

    Returns:
      [N, *size] float32.
    """
    maps = tf.cast(maps, tf.float32)
    rank = maps.shape.rank - 1
    for axis in range(1, rank + 1):
        old, new = tf.shape(maps)[axis], size[axis - 1]
        # The centre of new position i lies at ((2i + 1) * old - new) / (2 * new) old positions.
        whole = 2 * new
        centers = tf.clip_by_value((2 * tf.range(new) + 1) * old - new, 0, (old - 1) * whole)
        before = centers // whole
        share = tf.cast(centers % whole, tf.float32) / tf.cast(whole, tf.float32)
        share = tf.reshape(share, [-1] + [1] * (rank - axis))
        low = tf.gather(maps, before, axis=axis)
        high = tf.gather(maps, tf.minimum(before + 1, old - 1), axis=axis)
        maps = low + (high - low) * share
    return maps


def positive(maps):
    """Scales what speaks for the score to [0, 1]: negative values to 0, the maximum to 1.

    Args:
      maps: [N, *spatial] floating.

    Returns:
      [N, *spatial] float32; all 0 where a map has nothing positive, NaN where it has a NaN.
    """
    maps = tf.cast(maps, tf.float32)
    kept = tf.nn.relu(maps)
    highest = tf.reduce_max(kept, axis=_spatial_axes(maps), keepdims=True)
    return _or_nan(maps, tf.math.divide_no_nan(kept, highest))


def min_max(maps):
    """Scales each map to [0, 1]: its lowest value to 0, its highest to 1.

    Args:
      maps: [N, *spatial] floating.

    Returns:
      [N, *spatial] float32; all 0 where a map is constant, NaN where it has a NaN.
    """
    maps = tf.cast(maps, tf.float32)
    lowest = tf.reduce_min(maps, axis=_spatial_axes(maps), keepdims=True)
    highest = tf.reduce_max(maps, axis=_spatial_axes(maps), keepdims=True)
    return _or_nan(maps, tf.math.divide_no_nan(maps - lowest, highest - lowest))


def max_abs(attribution):
    """The largest absolute value over the channels, unscaled.

    The map of Simonyan, Vedaldi and Zisserman 2014, https://arxiv.org/abs/1312.6034, section 3.1;
    `min_max` makes a picture of it.

    Args:
      attribution: [N, *spatial, C] floating.

    Returns:
      [N, *spatial] float32.
    """
    size = tf.abs(_with_channels(attribution))
    broken = tf.reduce_any(tf.math.is_nan(size), axis=-1)
    return tf.where(broken, float("nan"), tf.reduce_max(size, axis=-1))


def grayscale(attribution, percentile=99):
    """How much each position matters, whatever the sign.

    The sum of absolute values over channels, clipped at a percentile and scaled to [0, 1], as
    `VisualizeImageGrayscale` of PAIR's saliency library, which divides by 0 where the percentile
    is the lowest value; here the highest value takes its place there.

    Args:
      attribution: [N, *spatial, C] floating.
      percentile: in (0, 100]; values above it, per example, become 1. Between two values it is
        interpolated linearly.

    Returns:
      [N, *spatial] float32 in [0, 1]; all 0 where a map is constant, NaN where it has a NaN.

    Raises:
      InputError: percentile is out of range, or the attribution has no positions.
    """
    maps = tf.reduce_sum(tf.abs(_with_channels(attribution)), axis=-1)
    lowest = tf.reduce_min(maps, axis=_spatial_axes(maps), keepdims=True)
    highest = _percentile(maps, percentile)
    # Where nearly all values are the lowest, the percentile is too, and only the rest counts.
    most = tf.reduce_max(maps, axis=_spatial_axes(maps), keepdims=True)
    highest = tf.where(highest > lowest, highest, most)
    scaled = tf.math.divide_no_nan(maps - lowest, highest - lowest)
    return _or_nan(maps, tf.clip_by_value(scaled, 0.0, 1.0))


def diverging(attribution, percentile=99, magnitude=False):
    """What speaks for the score, above 0.5, and against it, below.

    The sum over channels as `VisualizeImageDiverging` of PAIR's saliency library scales it: the
    span is the absolute value of a percentile of the signed sums, minus the span becomes 0, zero
    0.5 and plus the span 1, and the result is clipped at -1 and 1. That span is next to nothing
    where most of a map is negative; `magnitude=True` takes the percentile of the absolute sums
    instead, and clips at 0 and 1.

    Args:
      attribution: [N, *spatial, C] floating.
      percentile: in (0, 100].
      magnitude: take the percentile of the absolute sums.

    Returns:
      [N, *spatial] float32; all 0.5 where a map is 0, NaN where it has a NaN.

    Raises:
      InputError: percentile is out of range, or the attribution has no positions.
    """
    maps = tf.reduce_sum(_with_channels(attribution), axis=-1)
    size = tf.abs(maps)
    span = _percentile(size, percentile) if magnitude else tf.abs(_percentile(maps, percentile))
    # PAIR's library divides by 0 here.
    span = tf.where(span == 0, tf.reduce_max(size, _spatial_axes(maps), keepdims=True), span)
    scaled = (tf.math.divide_no_nan(maps, span) + 1.0) / 2.0
    return _or_nan(maps, tf.clip_by_value(scaled, 0.0 if magnitude else -1.0, 1.0))


def heatmap(attribution, size, percentile=99):
    """The heatmap of any attribution, at the resolution of the input.

    A map without channels, as class activation maps are, is resized and its positive part scaled
    by its maximum (`resize`, `positive`). One with channels, as input gradients are, becomes
    `grayscale`, and is resized where its resolution is another.

    Args:
      attribution: [N, *spatial] or [N, *spatial, C] floating.
      size: [rank] int32, the spatial sizes of the input; a list, or a tensor of known length.
      percentile: of `grayscale`.

    Returns:
      [N, *size] float32 in [0, 1].

    Raises:
      InputError: the attribution has another number of axes.
    """
    attribution = tf.convert_to_tensor(attribution)
    size = tf.convert_to_tensor(size, tf.int32)
    rank = size.shape[0]
    if attribution.shape.rank == rank + 1:
        return positive(resize(attribution, size))
    if attribution.shape.rank == rank + 2:
        return resize(grayscale(attribution, percentile), size)
    raise InputError(
        f"For {rank} spatial sizes an attribution has {rank + 1} axes, or {rank + 2} with channels,"
        f" not the shape {attribution.shape}."
    )


def _with_channels(attribution):
    attribution = tf.cast(attribution, tf.float32)
    if attribution.shape.rank is None or attribution.shape.rank < 3:
        raise InputError(
            f"An attribution is [N, *positions, channels], not of shape {attribution.shape}; add "
            "an axis of one channel where there is none."
        )
    return attribution


def _spatial_axes(maps):
    return list(range(1, maps.shape.rank))


def _or_nan(maps, scaled):
    """Scaled, but NaN all over where a map has a NaN: XLA's minimum and maximum pass over them."""
    broken = tf.reduce_any(tf.math.is_nan(maps), axis=_spatial_axes(maps), keepdims=True)
    return tf.where(broken, float("nan"), scaled)


def _percentile(maps, percentile):
    if not 0 < percentile <= 100:
        raise InputError(f"percentile is above 0 and at most 100, not {percentile}.")
    # TensorFlow Probability takes a second to import; class activation maps do without it.
    import tensorflow_probability as tfp

    return tfp.stats.percentile(
        maps, percentile, axis=_spatial_axes(maps), interpolation="linear", keepdims=True
    )
