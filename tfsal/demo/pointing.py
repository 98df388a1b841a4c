"""The pointing game: does the maximum of a heatmap fall on the object?"""

import numpy as np

from tfsal.errors import TfsalError


def hits(heatmaps, boxes) -> np.ndarray:
    """Which heatmaps have their maximum inside the box.

    A map that points nowhere is a miss: one that is constant, or holds a NaN or an infinity.
    Where several positions share the maximum, all of them must lie in the box, so that no map
    gains by where a search happens to begin. So give maps as they are, not clipped at a percentile:
    clipping makes such ties.

    Args:
        heatmaps: [N, H, W], any real dtype.
        boxes: [N, 4] integers: top, left, bottom, right in pixels of the heatmaps; bottom and right
            are exclusive.

    Returns:
        [N] bool.

    Raises:
        TfsalError: the shapes do not match, or a box is empty or leaves the heatmap.
    """
    heatmaps = np.asarray(heatmaps)
    if heatmaps.ndim != 3:
        raise TfsalError(f"heatmaps must be [N, H, W], not of shape {list(heatmaps.shape)}.")
    boxes = _boxes(boxes, heatmaps.shape[1:])
    if len(heatmaps) != len(boxes):
        raise TfsalError(f"{len(heatmaps)} heatmaps for {len(boxes)} boxes.")
    highest = heatmaps.max(axis=(1, 2), keepdims=True)
    finite = np.isfinite(heatmaps).all(axis=(1, 2))
    varied = (heatmaps != highest).any(axis=(1, 2))
    outside = ((heatmaps == highest) & ~_inside(boxes, heatmaps.shape[1:])).any(axis=(1, 2))
    return finite & varied & ~outside


def chance(boxes, shape) -> float:
    """How often a position drawn at random hits: the mean share of the area the boxes cover.

    Args:
        boxes: [N, 4] integers, N at least 1, as for `hits`.
        shape: (H, W) of the heatmaps in pixels.

    Raises:
        TfsalError: there are no boxes, or one is empty or leaves the heatmap.
    """
    boxes = _boxes(boxes, shape)
    if not len(boxes):
        raise TfsalError("There are no boxes.")
    return float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).mean() / np.prod(shape))


def interval(hits, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for the rate that the hits were drawn from.

    Args:
        hits: [N] bool, N at least 1.
        confidence: of the interval, between 0 and 1.

    Returns:
        The lowest and the highest rate, 0 to 1.

    Raises:
        TfsalError: there are no hits to count, or confidence is not between 0 and 1.
    """
    from scipy.stats import binomtest

    hits = np.asarray(hits)
    if hits.dtype != bool or hits.ndim != 1 or not hits.size:
        raise TfsalError(f"hits must be [N] bool, N > 0, not {hits.dtype} {list(hits.shape)}.")
    if not 0 < confidence < 1:
        raise TfsalError(f"confidence must lie between 0 and 1, not {confidence!r}.")
    test = binomtest(int(hits.sum()), hits.size)
    low, high = test.proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def _boxes(boxes, shape):
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.issubdtype(boxes.dtype, np.integer):
        raise TfsalError(f"boxes must be [N, 4] integers, not {boxes.dtype} {list(boxes.shape)}.")
    low, high = boxes[:, :2], boxes[:, 2:]
    bad = ((low < 0) | (low >= high) | (high > np.asarray(shape))).any(axis=1)
    if bad.any():
        i = int(bad.argmax())
        raise TfsalError(
            f"Box {i}, {boxes[i].tolist()}, is empty or leaves the {shape[0]} x {shape[1]} pixels."
        )
    return boxes


def _inside(boxes, shape):
    top, left, bottom, right = boxes.T[:, :, None]
    y, x = np.arange(shape[0]), np.arange(shape[1])
    rows, columns = (top <= y) & (y < bottom), (left <= x) & (x < right)
    return rows[:, :, None] & columns[:, None, :]
