"""From attributions to heatmaps and pictures; knows tensors only.

All but `figure` is plain TensorFlow: it works on NumPy arrays, inside a tf.function, under XLA and
inside an exported signature.
"""

from tfsal.visualize.colors import check_sequential, colormap_table, overlay
from tfsal.visualize.figures import figure
from tfsal.visualize.maps import (
    diverging,
    grayscale,
    heatmap,
    max_abs,
    min_max,
    positive,
    resize,
)

__all__ = [
    "check_sequential",
    "colormap_table",
    "diverging",
    "figure",
    "grayscale",
    "heatmap",
    "max_abs",
    "min_max",
    "overlay",
    "positive",
    "resize",
]
