"""RISE against a twin in NumPy, which gets the same random numbers."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import error
from test_perturbation import bent, images, net_of

import tfsal
from tfsal import RISE
from tfsal.errors import InputError, MethodError
from tfsal.ops import random

SEEDS = np.array([7, 8], "int32")


def mask_of(drawn, grid, positions, probability):
    """One mask, as section 3.2 of the paper makes it."""
    cells = int(np.prod(grid))
    mask = (drawn[:cells] < probability).astype("f8").reshape(grid)
    for axis, (count, size) in enumerate(zip(grid, positions, strict=True)):
        cell = int(np.ceil(size / count))
        large = (count + 1) * cell
        centers = (np.arange(large) + 0.5) * count / large - 0.5
        mask = np.apply_along_axis(
            lambda v, c=centers, n=count: np.interp(c, np.arange(n), v), axis, mask
        )
        indent = int(drawn[cells + axis] * cell)
        mask = np.take(mask, np.arange(indent, indent + size), axis)
    return mask


def twin(x, grid, masks, probability, seeds, start=0.2):
    """(sum of score times mask, sum of masks) of each example."""
    shape = [int(np.prod(grid)) + len(grid)]
    total, left = np.zeros((2, *x.shape[:-1]))
    for number in range(masks):
        drawn = random.uniform(tf.constant(seeds), number, shape, stream=1).numpy()
        keep = np.stack([mask_of(d, grid, x.shape[1:-1], probability) for d in drawn])
        points = keep[..., None] * x + (1 - keep[..., None]) * start
        scores = bent(tf.constant(points)).numpy()[:, 1]
        total += scores.reshape(-1, *[1] * (x.ndim - 2)) * keep
        left += keep
    return total, left


@pytest.mark.parametrize(
    ("shape", "grid"), [((23, 2), (5,)), ((10, 9, 2), (3, 4)), ((5, 4, 6, 1), (2, 7, 3))], ids=str
)
def test_equals_a_twin_with_the_same_masks(shape, grid):
    x = images(*shape, count=2).astype("f8")
    net = oracles.load(bent, *shape, dtype=tf.float64)
    total, left = twin(x, grid, 12, 0.4, SEEDS)
    options = {"masks": 12, "grid": grid, "probability": 0.4, "baseline": 0.2}
    found = RISE(**options)(net, x, 1, seed=SEEDS)
    assert error(found, total / (12 * 0.4)) < 1e-5
    found = RISE(normalize=True, **options)(net, x, 1, seed=SEEDS)
    kept = left > 0
    assert error(found.numpy()[kept], (total[kept] / left[kept])) < 1e-4


def test_masks_move_and_have_the_expected_mean():
    """A score that does not look gives the mean mask: 1 everywhere, to the noise of the draws."""
    net = oracles.load(
        lambda x: tf.ones_like(x[:, 0, :1, 0]) * [1.0, 2.0] + 0 * x[:, 0, :1, 0], 13, 9, 1
    )
    found = RISE(masks=600, grid=3, probability=0.3)(
        net, images(13, 9, 1), 1, internal_batch_size=256
    )
    np.testing.assert_allclose(found, 2, atol=6 * 2 * (0.7 / 0.3 / 600) ** 0.5)
    np.testing.assert_allclose(found.numpy().mean((1, 2)), 2, atol=0.2)
    assert np.ptp(found) > 1e-2
    flat = RISE(masks=50, normalize=True)(net, images(13, 9, 1), 1, internal_batch_size=256)
    np.testing.assert_allclose(flat, 2, rtol=1e-5)


def test_a_place_that_counts_is_found():
    x = np.ones((1, 16, 12, 1), "f4")
    net = oracles.load(lambda x: x[:, 6, 9] * [[1.0, -1.0]], 16, 12, 1)
    answer = RISE(masks=500, grid=(6, 5)).explain(net, x, 0, internal_batch_size=256)
    row, column = np.unravel_index(answer.attribution.numpy()[0].argmax(), (16, 12))
    assert abs(row - 6) <= 1 and abs(column - 9) <= 1
    assert answer.heatmap.numpy().min() == 0 and answer.heatmap.numpy().max() == 1


def test_a_model_that_takes_any_size():
    kernel = oracles.draw(3, 3, 2, 4)
    net = oracles.load(
        lambda x: tf.reduce_mean(tf.nn.softplus(tf.nn.conv2d(x, kernel, 1, "SAME")), [1, 2]),
        *(None, None, 2),
    )
    for size in (8, 11):
        x = images(size, size, 2)
        of_this_size = oracles.load(
            lambda x: tf.reduce_mean(tf.nn.softplus(tf.nn.conv2d(x, kernel, 1, "SAME")), [1, 2]),
            *x.shape[1:],
        )
        assert error(RISE(masks=5)(net, x, 1), RISE(masks=5)(of_this_size, x, 1)) < 1e-6


def test_every_option_changes_the_result():
    net, x = net_of(10, 8, 2), images(10, 8, 2)
    expected = RISE(masks=20)(net, x, 1)
    for options in ({"masks": 21}, {"grid": 5}, {"probability": 0.4}, {"normalize": True}):
        assert error(RISE(**{"masks": 20, **options})(net, x, 1), expected) > 1e-3
    assert error(RISE(masks=20)(net, x, 1, seed=1), expected) > 1e-2
    assert RISE() == tfsal.RISE(masks=4000, grid=7, probability=0.5)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"masks": 0}, MethodError, "masks is 1 or more, not 0"),
        ({"grid": 0}, MethodError, "grid is 1 cell or more, not 0"),
        ({"grid": (3, 0)}, MethodError, "grid is 1 cell or more"),
        ({"probability": 0.0}, MethodError, "above 0 and below 1"),
        ({"probability": 1.0}, MethodError, "above 0 and below 1"),
        ({"grid": (3, 3, 3)}, InputError, r"for 3 axes; the positions of the input are \[10, 8\]"),
    ],
    ids=str,
)
def test_bad_values_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        RISE(**options)(net_of(10, 8, 2), images(10, 8, 2), 0)
