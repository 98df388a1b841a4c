"""Maps to colours, and over images; the colours are tables inside the graph."""

import difflib
import functools

import tensorflow as tf

from tfsal.errors import InputError

# Of these the middle means nothing, and the ends mean for and against.
_DIVERGING = frozenset(
    """PiYG PRGn BrBG PuOr RdGy RdBu RdYlBu RdYlGn Spectral coolwarm bwr seismic berlin managua
    vanimo""".split()
)


def overlay(image, heatmap, colormap="inferno", alpha=0.7):
    """Paints maps over images; the more a position matters, the less of the image shows.

    Args:
      image: [N, H, W, 1 or 3] floating in [0, 1].
      heatmap: [N, H, W] floating, clipped to [0, 1]; a NaN paints nothing. 0 is transparent; with
        a diverging colormap it is 0.5, as `diverging` makes maps.
      colormap: name of a matplotlib colormap. The default and viridis, magma, plasma and cividis
        are perceptually uniform and safe for colour-blind readers, and so are RdBu_r and PuOr
        among the diverging ones; jet is neither.
      alpha: in [0, 1], opacity where the map is strongest.

    Returns:
      [N, H, W, 3] uint8, RGB.

    Raises:
      InputError: a shape does not fit, alpha is out of range, or there is no such colormap.
    """
    image, heatmap = tf.cast(image, tf.float32), tf.cast(heatmap, tf.float32)
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is the opacity, 0 to 1, not {alpha}.")
    _check_shapes(image.shape, heatmap.shape)
    table = colormap_table(colormap)
    neutral = 0.5 if is_diverging(colormap) else 0.0
    heatmap = tf.where(tf.math.is_nan(heatmap), neutral, tf.clip_by_value(heatmap, 0.0, 1.0))
    colors = tf.gather(table, tf.cast(tf.round(heatmap * 255.0), tf.int32))
    strength = tf.abs(heatmap - neutral) / (1.0 - neutral)
    weight = alpha * tf.sqrt(strength)[..., tf.newaxis]
    blend = image * (1.0 - weight) + colors * weight
    return tf.cast(tf.round(tf.clip_by_value(blend, 0.0, 1.0) * 255.0), tf.uint8)


def is_diverging(colormap):
    """True for a colormap whose middle means nothing."""
    return colormap.removesuffix("_r") in _DIVERGING


def check_sequential(colormap):
    """Refuses what a heatmap cannot be painted with.

    Raises:
      InputError: there is no such colormap, or it is a diverging one.
    """
    colormap_table(colormap)
    if is_diverging(colormap):
        raise InputError(
            f"A heatmap goes from 0 up, so the diverging colormap '{colormap}' does not fit it; "
            "inferno, viridis and cividis do."
        )


@functools.lru_cache
def colormap_table(name):
    """The colours of a matplotlib colormap: [256, 3] float32 NumPy array, RGB, 0 to 1.

    Raises:
      InputError: matplotlib has no such colormap; lists the nearest names.
    """
    import matplotlib

    if name not in matplotlib.colormaps:
        near = difflib.get_close_matches(name, matplotlib.colormaps, 3) or ["inferno", "viridis"]
        raise InputError(f"matplotlib has no colormap '{name}'. Some it has: {', '.join(near)}.")
    return matplotlib.colormaps[name](range(256))[:, :3].astype("float32")


def _check_shapes(image, heatmap):
    if image.rank != 4 or image[-1] not in (1, 3, None):
        raise InputError(f"Images are [N, H, W, 1 or 3], not {image}: 2-D only.")
    if not image[:3].is_compatible_with(heatmap):
        raise InputError(
            f"The images have the shape {image} and the maps {heatmap}, which is not [N, H, W] of "
            "the same size: visualize.heatmap(attribution, [H, W]) makes such maps."
        )
