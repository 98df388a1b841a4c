"""Figures for notebooks and papers: images beside what methods say of them, with a colour bar."""

import io

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tfsal.errors import InputError
from tfsal.visualize.colors import colormap_table, is_diverging, overlay

_INCHES = 2.2  # a tile


class NotebookFigure(Figure):
    """A matplotlib figure that notebooks show without pyplot, which keeps every figure alive."""

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def figure(image, maps, titles=None, *, colormap="inferno", alpha=0.7):
    """Draws images and maps over them: a row for each example, a column for each map.

    Args:
      image: [N, H, W, 1 or 3] or, for one example, [H, W, 1 or 3]; floating in [0, 1], or uint8.
      maps: {title: map} or a map; each [N, H, W] or [H, W] floating in [0, 1], as heatmaps and
        `grayscale` are; for a diverging colormap as `diverging` makes them.
      titles: N titles of the rows, such as class names; or one string for one example.
      colormap: name of a matplotlib colormap; see `overlay`.
      alpha: opacity where a map is strongest; 1 shows the colours of the bar as they are there.

    Returns:
      A matplotlib Figure: notebooks show it, `.savefig(file)` writes it.

    Raises:
      InputError: a shape does not fit, or there is no such colormap.
    """
    colormap_table(colormap)
    images = _pixels(image)
    columns = {t: _rows(m) for t, m in (maps if isinstance(maps, dict) else {"": maps}).items()}
    if not columns:
        raise InputError("There are no maps to draw: give {title: map}.")
    labels = [titles] if isinstance(titles, str) else list(titles or [""] * len(images))
    if len(labels) != len(images):
        raise InputError(f"There are {len(labels)} titles for {len(images)} images.")
    pictures = {t: overlay(images, m, colormap, alpha).numpy() for t, m in columns.items()}
    return _draw(images, pictures, labels, colormap)


def _draw(images, pictures, labels, colormap):
    rows, columns = len(images), 1 + len(pictures)
    height = _INCHES * images.shape[1] / images.shape[2]
    size = (_INCHES * columns + 0.9, height * rows + 0.4)
    drawn = NotebookFigure(figsize=size, layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False)
    for row, label in enumerate(labels):
        axes[row, 0].imshow(np.broadcast_to(images[row], (*images.shape[1:3], 3)), vmin=0, vmax=1)
        axes[row, 0].set_ylabel(label)
        for place, (title, picture) in zip(axes[row, 1:], pictures.items(), strict=True):
            place.imshow(picture[row])
            if row == 0:
                place.set_title(title, fontsize="medium")
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    bar = drawn.colorbar(ScalarMappable(Normalize(0, 1), colormap), ax=axes, fraction=0.03)
    if is_diverging(colormap):
        bar.set_ticks([0, 0.5, 1], labels=["against", "0", "for"])
    return drawn


def _pixels(image):
    image = np.asarray(image)
    image = image / 255 if image.dtype == np.uint8 else image
    return (image if image.ndim > 3 else image[np.newaxis]).astype("float32")


def _rows(heatmap):
    heatmap = np.asarray(heatmap)
    return heatmap if heatmap.ndim > 2 else heatmap[np.newaxis]
