"""From attributions to heatmaps and pictures, in TensorFlow; knows tensors only.

Everything but `overlay`'s colour table lookup at trace time is plain TensorFlow, so it works on
NumPy arrays, inside a tf.function and inside an exported signature.
"""

import functools

import tensorflow as tf


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
      [N, *spatial] float32; all 0 where a map has nothing positive.
    """
    maps = tf.nn.relu(tf.cast(maps, tf.float32))
    highest = tf.reduce_max(maps, axis=_spatial_axes(maps), keepdims=True)
    return tf.math.divide_no_nan(maps, highest)


def grayscale(attribution, percentile=99):
    """How much each position matters, whatever the sign.

    The sum of absolute values over channels, clipped at a percentile and scaled to [0, 1], as
    `VisualizeImageGrayscale` of PAIR's saliency library.

    Args:
      attribution: [N, *spatial, C] floating.
      percentile: in (0, 100]; values above it, per example, become 1.

    Returns:
      [N, *spatial] float32 in [0, 1].
    """
    maps = tf.reduce_sum(tf.abs(tf.cast(attribution, tf.float32)), axis=-1)
    lowest = tf.reduce_min(maps, axis=_spatial_axes(maps), keepdims=True)
    highest = _percentile(maps, percentile)
    # Where nearly all values are the lowest, the percentile is too, and only the rest counts.
    most = tf.reduce_max(maps, axis=_spatial_axes(maps), keepdims=True)
    highest = tf.where(highest > lowest, highest, most)
    return tf.clip_by_value(tf.math.divide_no_nan(maps - lowest, highest - lowest), 0.0, 1.0)


def diverging(attribution, percentile=99):
    """What speaks for and against the score.

    The sum over channels, clipped at plus and minus a percentile of its absolute values and scaled
    to [-1, 1], so that 0 stays 0. (`VisualizeImageDiverging` of PAIR's saliency library puts 0 at
    0.5 and takes the percentile of the signed values, which is near 0 where most are negative.)

    Args:
      attribution: [N, *spatial, C] floating.
      percentile: in (0, 100].

    Returns:
      [N, *spatial] float32 in [-1, 1].
    """
    maps = tf.reduce_sum(tf.cast(attribution, tf.float32), axis=-1)
    span = _percentile(tf.abs(maps), percentile)
    most = tf.reduce_max(tf.abs(maps), axis=_spatial_axes(maps), keepdims=True)
    span = tf.where(span > 0, span, most)
    return tf.clip_by_value(tf.math.divide_no_nan(maps, span), -1.0, 1.0)


def overlay(image, heatmap, colormap="inferno", alpha=0.7):
    """Paints heatmaps over images; the stronger the map, the less of the image shows.

    Args:
      image: [N, H, W, 1 or 3] floating in [0, 1].
      heatmap: [N, H, W] floating, clipped to [0, 1]; a NaN paints nothing.
      colormap: name of a matplotlib colormap; the default is perceptually uniform and safe for
        colour-blind readers.
      alpha: in [0, 1], opacity where the map is 1.

    Returns:
      [N, H, W, 3] uint8, RGB.
    """
    heatmap = tf.clip_by_value(tf.cast(heatmap, tf.float32), 0.0, 1.0)
    heatmap = tf.where(tf.math.is_nan(heatmap), 0.0, heatmap)
    image = tf.cast(image, tf.float32)
    colors = tf.gather(_colors(colormap), tf.cast(tf.round(heatmap * 255.0), tf.int32))
    weight = alpha * tf.sqrt(heatmap)[..., tf.newaxis]
    blend = image * (1.0 - weight) + colors * weight
    return tf.cast(tf.round(tf.clip_by_value(blend, 0.0, 1.0) * 255.0), tf.uint8)


@functools.lru_cache
def _colors(name):
    """[256, 3] NumPy array of a matplotlib colormap."""
    import matplotlib

    return matplotlib.colormaps[name](range(256))[:, :3].astype("float32")


def _spatial_axes(maps):
    return list(range(1, maps.shape.rank))


def _percentile(maps, percentile):
    # TensorFlow Probability takes a second to import; class activation maps do without it.
    import tensorflow_probability as tfp

    return tfp.stats.percentile(
        maps, percentile, axis=_spatial_axes(maps), interpolation="linear", keepdims=True
    )
