"""Scenes whose truth is known: one digit that decides the label, among others that do not.

The digits are the 1797 handwritten ones that ship with scikit-learn, 8 x 8 pixels each. A scene
holds one of the classes 0 to 4 (the target), and as distractors digits of the classes 5 to 9 and
pen strokes. Where the target lies is never told to the network, so how often an explanation finds
it is a measurement.
"""

import dataclasses
import functools
import numbers

import numpy as np

from tfsal.errors import TfsalError

CLASS_NAMES = ("zero", "one", "two", "three", "four")

SIZE = 64  # pixels a side of a scene
DISTRACTOR_DIGITS = 3
STROKES = 3

_TILE_SIZES = (14, 16, 18, 20)  # pixels that the 8 x 8 of a digit become
_STROKE_SIZE = 16
_STROKE_COUNT = 256
_INK = 0.05  # fainter than this is interpolation's fringe: cut off, so boxes lie close to the ink
_GAP = 2  # pixels that stay free between two objects, at least
_NOISE = 0.05  # standard deviation of the background
_TRIES = 40  # places tried for each distractor
_SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures with the class and the place of the one digit that matters.

    Attributes:
        images: [N, 64, 64, 1] float32 in [0, 1], ink bright on a dark, slightly noisy ground.
        labels: [N] int32, the target's class, an index of `CLASS_NAMES`.
        boxes: [N, 4] int32, the target's ink as top, left, bottom, right in pixels; bottom and
            right are exclusive.
        distractors: [N, 6, 4] int32, the boxes of the others; all zeros where one found no room.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    distractors: np.ndarray


def digit_scenes(count: int, seed: int, split: str = "train") -> Scenes:
    """Draws scenes: the same `count`, `seed` and `split` give the same scenes.

    Args:
        count: number of scenes, at least 1.
        seed: non-negative int.
        split: "train" or "test"; the two share no digit image.

    Returns:
        The scenes. Boxes never overlap: at least two pixels lie between any two.

    Raises:
        TfsalError: an argument is not what it should be.
        ImportError: scikit-learn is not installed.
    """
    count = _integer("count", count, least=1)
    seed = _integer("seed", seed, least=0)
    indices, classes = _split(split)
    target_pool = indices[classes < len(CLASS_NAMES)]
    distractor_pool = indices[classes >= len(CLASS_NAMES)]
    tiles, strokes = _digit_tiles(), _stroke_tiles()

    rng = np.random.default_rng([seed, _SPLITS.index(split)])
    targets = rng.choice(target_pool, (count, 1))
    others = rng.choice(distractor_pool, (count, DISTRACTOR_DIGITS))
    digits = np.concatenate([targets, others], axis=1)
    sizes = rng.integers(len(_TILE_SIZES), size=digits.shape)
    lines = rng.integers(len(strokes), size=(count, STROKES))
    inks = [
        [tiles[s][d] for s, d in zip(size, digit, strict=True)] + [strokes[i] for i in line]
        for size, digit, line in zip(sizes, digits, lines, strict=True)
    ]

    boxes = _place(rng, np.array([[ink.shape for ink in row] for row in inks]))
    contrast = rng.uniform(0.75, 1.0, boxes.shape[:2])
    images = rng.standard_normal((count, SIZE, SIZE), np.float32) * np.float32(_NOISE)
    for image, row, places, gains in zip(images, inks, boxes.tolist(), contrast, strict=True):
        for ink, (top, left, bottom, right), gain in zip(row, places, gains, strict=True):
            if bottom:
                image[top:bottom, left:right] += gain * ink
    np.clip(images, 0, 1, out=images)
    labels = _load()[1][targets[:, 0]]
    return Scenes(images[..., None], labels.astype(np.int32), boxes[:, 0], boxes[:, 1:])


def _integer(name, value, least):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise TfsalError(f"{name} must be an integer of at least {least}, not {value!r}.")
    return int(value)


@functools.cache
def _load():
    """The digits [1797, 8, 8] in [0, 1] and their classes [1797]."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The demo's digits come with scikit-learn: pip install 'tfsal[demo]'"
        ) from error
    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target


def _split(split):
    """The digits of a split: their indices and classes. Every fourth of a class is for testing."""
    if split not in _SPLITS:
        raise TfsalError(f"split must be one of {_SPLITS}, not {split!r}.")
    classes = _load()[1]
    rank = np.zeros(len(classes), int)  # its number within its class
    for c in np.unique(classes):
        rank[classes == c] = np.arange(np.sum(classes == c))
    indices = np.flatnonzero((rank % 4 == 3) == (split == "test"))
    return indices, classes[indices]


@functools.cache
def _digit_tiles():
    """For each tile size the 1797 digits, enlarged and cut to their ink."""
    from scipy.ndimage import zoom

    def enlarged(size):
        factors = (1, size / 8, size / 8)
        return zoom(_load()[0], factors, mode="grid-constant", grid_mode=True).clip(0, 1)

    return [[_crop(tile) for tile in enlarged(size)] for size in _TILE_SIZES]


@functools.cache
def _stroke_tiles():
    """Curved pen strokes, as thick as the digits' lines, cut to their ink."""
    rng = np.random.default_rng(0)
    start, bend, end = rng.uniform(1.5, _STROKE_SIZE - 2.5, (3, _STROKE_COUNT, 1, 2))
    start[..., 0], end[..., 0] = start[..., 0] / 3 + 1, end[..., 0] / 3 + 9  # never just a dot
    for points in (start, bend, end):
        points[::2] = points[::2, :, ::-1]  # half of them lie down
    t = np.linspace(0, 1, 32)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end  # [count, 32, 2]
    axis = np.arange(_STROKE_SIZE)
    distance = np.hypot(
        curve[:, :, 0, None, None] - axis[:, None], curve[:, :, 1, None, None] - axis
    ).min(axis=1)
    return [_crop(tile) for tile in np.clip(2 - distance, 0, 1).astype(np.float32)]


def _crop(tile):
    ink = tile > _INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return tile[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(rng, shapes):
    """Puts objects of `shapes` [N, K, 2] one after another where none lies yet: boxes [N, K, 4].

    The first always finds room; one that finds none in `_TRIES` tries gets a box of zeros.
    """
    count, objects, _ = shapes.shape
    boxes = np.zeros((count, objects, 4), np.int32)
    for k in range(objects):
        shape = shapes[:, k, None]
        corner = rng.integers(SIZE - shape + 1, size=(count, _TRIES, 2))
        placed = boxes[:, None, :k]
        apart = (
            (corner[:, :, None] >= placed[..., 2:] + _GAP)
            | ((corner + shape)[:, :, None] <= placed[..., :2] - _GAP)
        ).any(axis=-1) | (placed[..., 2] == 0)  # a box of zeros is no object
        free = apart.all(axis=-1)
        first = np.take_along_axis(corner, free.argmax(axis=1)[:, None, None], axis=1)[:, 0]
        found = free.any(axis=1)[:, None]
        boxes[:, k] = np.where(found, np.concatenate([first, first + shapes[:, k]], axis=1), 0)
    return boxes
