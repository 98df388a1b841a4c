"""Attributions to maps, against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.interpolate
import tensorflow as tf
from made_up import maps, run_everywhere

from tfsal import visualize
from tfsal.errors import InputError

NAN = float("nan")


# ---------------------------------------------------------------- resize


def linear_twin(values, size):
    """Linear interpolation between half-pixel centres, clamped at the borders; float64."""
    spatial = values.shape[1:]
    grids = [np.arange(s) for s in spatial]
    wanted = [
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for old, new in zip(spatial, size, strict=True)
    ]
    points = np.stack(np.meshgrid(*wanted, indexing="ij"), -1)
    # interpn wants two points on an axis: a single one is repeated.
    for axis, old in enumerate(spatial):
        if old == 1:
            grids[axis] = np.arange(2)
            values = np.repeat(values, 2, axis + 1)
    return np.stack([scipy.interpolate.interpn(grids, v.astype("f8"), points) for v in values])


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 7), (20,)),
        ((2, 20), (7,)),
        ((1, 1), (5,)),
        ((2, 7), (21,)),  # tf.image.resize under XLA is wrong here, and at 5 to 11
        ((2, 5), (11,)),
        ((2, 7, 5), (21, 13)),
        ((2, 16, 9), (5, 4)),
        ((1, 1, 1), (4, 6)),
        ((2, 3, 4, 5), (7, 4, 11)),
        ((2, 2, 1, 3), (2, 3, 2)),
    ],
)
def test_resize_interpolates_linearly(shape, size):
    values = maps(*shape)
    expected = linear_twin(values, size)
    for found in run_everywhere(lambda v: visualize.resize(v, tf.constant(size)), values):
        assert found.shape == (shape[0], *size)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_resize_is_tensorflows_in_two_dimensions():
    values = maps(2, 7, 7)
    expected = tf.image.resize(values[..., None], (224, 160))[..., 0]
    np.testing.assert_allclose(visualize.resize(values, (224, 160)), expected, atol=1e-5)


def test_resize_takes_the_size_at_run_time():
    @tf.function(input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec([3], tf.int32)])
    def resize(values, size):
        return visualize.resize(values, size)

    values = maps(1, 2, 3, 4)
    for size in ((4, 6, 8), (3, 3, 3)):
        np.testing.assert_allclose(
            resize(values, tf.constant(size)), linear_twin(values, size), atol=1e-6
        )


def test_resize_of_no_maps():
    assert visualize.resize(maps(0, 7, 7), (14, 14)).shape == (0, 14, 14)
    assert visualize.resize(maps(0, 7), (14,)).shape == (0, 14)


# ---------------------------------------------------------------- scaling


def positive_twin(values):
    kept = np.maximum(values.astype("f8"), 0)
    highest = kept.max(axis=tuple(range(1, values.ndim)), keepdims=True)
    return kept / np.where(highest == 0, 1, highest)


def grayscale_twin(values, percentile):
    """VisualizeImageGrayscale of PAIR's library, for every example."""
    result = []
    for value in values.astype("f8"):
        flat = np.abs(value).sum(-1)
        highest, lowest = np.percentile(flat, percentile), flat.min()
        result.append(np.clip((flat - lowest) / (highest - lowest), 0, 1))
    return np.stack(result)


def diverging_twin(values, percentile):
    """VisualizeImageDiverging of PAIR's library, for every example."""
    result = []
    for value in values.astype("f8"):
        flat = value.sum(-1)
        span = abs(np.percentile(flat, percentile))
        result.append(np.clip((flat + span) / (2 * span), -1, 1))
    return np.stack(result)


def magnitude_twin(values, percentile):
    result = []
    for value in values.astype("f8"):
        flat = value.sum(-1)
        span = np.percentile(np.abs(flat), percentile)
        result.append(np.clip((flat + span) / (2 * span), 0, 1))
    return np.stack(result)


def by_magnitude(values, percentile=99):
    return visualize.diverging(values, percentile, magnitude=True)


@pytest.mark.parametrize("shape", [(2, 30), (2, 9, 7), (2, 3, 4, 5)], ids=["1-D", "2-D", "3-D"])
def test_positive_keeps_what_speaks_for_the_score(shape):
    values = maps(*shape)
    for found in run_everywhere(visualize.positive, values):
        np.testing.assert_allclose(found, positive_twin(values), atol=1e-6)
        assert found.max() == 1 and found.min() == 0


@pytest.mark.parametrize("percentile", [50, 90, 99, 100])
@pytest.mark.parametrize("shape", [(2, 30, 3), (2, 9, 7, 1), (2, 3, 4, 5, 2)])
@pytest.mark.parametrize(
    ("function", "twin"),
    [
        (visualize.grayscale, grayscale_twin),
        (visualize.diverging, diverging_twin),
        (by_magnitude, magnitude_twin),
    ],
)
def test_percentile_clipping(function, twin, shape, percentile):
    values = maps(*shape)
    for found in run_everywhere(lambda v: function(v, percentile), values):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, twin(values, percentile), atol=1e-5)


def test_the_magnitude_shows_maps_that_are_mostly_negative():
    values = -np.abs(maps(1, 20, 20, 1)) - 0.1
    values[0, 3, 4] = 1.0
    by_sign, magnitude = visualize.diverging(values), by_magnitude(values)
    # As PAIR's: the 99th percentile is among the least negative, and nearly all is beyond it.
    assert np.mean(by_sign == -1) > 0.7
    assert 0.1 < np.median(magnitude) < 0.45 and magnitude.numpy()[0, 3, 4] > 0.6


def test_min_max_and_the_largest_channel():
    values = maps(2, 9, 7, 3)
    largest = np.abs(values).max(-1)
    lowest, highest = largest.min((1, 2), keepdims=True), largest.max((1, 2), keepdims=True)
    for found in run_everywhere(visualize.max_abs, values):
        np.testing.assert_array_equal(found, largest)
    for found in run_everywhere(lambda v: visualize.min_max(visualize.max_abs(v)), values):
        np.testing.assert_allclose(found, (largest - lowest) / (highest - lowest), atol=1e-6)
        assert (found.min((1, 2)) == 0).all() and (found.max((1, 2)) == 1).all()
    np.testing.assert_array_equal(visualize.min_max(np.full((2, 3, 3), 5.0)), np.zeros((2, 3, 3)))


def test_heatmap_of_a_class_activation_map_and_of_a_gradient():
    cam, gradient = maps(2, 4, 5), maps(2, 12, 10, 3)
    for found in run_everywhere(lambda v: visualize.heatmap(v, (12, 10)), cam):
        np.testing.assert_allclose(found, positive_twin(linear_twin(cam, (12, 10))), atol=1e-5)
    for found in run_everywhere(lambda v: visualize.heatmap(v, (12, 10), 90), gradient):
        np.testing.assert_allclose(found, grayscale_twin(gradient, 90), atol=1e-5)
    for found in run_everywhere(lambda v: visualize.heatmap(v, (24, 20)), gradient):
        expected = linear_twin(grayscale_twin(gradient, 99).astype("f4"), (24, 20))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match="3 axes, or 4 with channels"):
        visualize.heatmap(maps(4, 5), (12, 10))


@pytest.mark.parametrize("function", [visualize.grayscale, visualize.diverging])
def test_what_no_map_can_be_made_of(function):
    for percentile in (0, -1, 101, float("nan")):
        with pytest.raises(InputError, match="percentile is above 0 and at most 100"):
            function(maps(1, 4, 4, 3), percentile)
    with pytest.raises(InputError, match=r"is \[N, \*positions, channels\]"):
        function(maps(4, 4))
    with pytest.raises(InputError, match="add an axis of one channel"):
        visualize.max_abs(maps(4, 4))


@pytest.mark.parametrize("function", [visualize.grayscale, visualize.diverging])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_float_becomes_float32(function, dtype):
    values = maps(1, 5, 5, 3)
    found = function(tf.cast(values, dtype))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, function(values), atol=2e-2)


# ---------------------------------------------------------------- degenerate maps


@pytest.mark.parametrize("constant", [0.0, 2.0, -2.0, 1e-30])
def test_constant_maps_are_finite(constant):
    values = np.full((1, 6, 6), constant, "float32")
    positive = np.full((1, 6, 6), 1.0 if constant > 0 else 0.0)
    sign = np.full((1, 6, 6), (np.sign(constant) + 1) / 2)
    channels = values[..., np.newaxis]
    for found in run_everywhere(visualize.positive, values):
        np.testing.assert_array_equal(found, positive)
    for found in run_everywhere(visualize.grayscale, channels):
        np.testing.assert_array_equal(found, np.zeros((1, 6, 6)))
    for diverging in (visualize.diverging, by_magnitude):
        for found in run_everywhere(diverging, channels):
            np.testing.assert_array_equal(found, sign)


@pytest.mark.parametrize(
    "function",
    [
        lambda v: visualize.positive(v[..., 0]),
        visualize.grayscale,
        visualize.diverging,
        by_magnitude,
        visualize.max_abs,
        lambda v: visualize.min_max(v[..., 0]),
        lambda v: visualize.resize(v[..., 0], (12, 12)),
        lambda v: visualize.heatmap(v, (12, 12)),
    ],
    ids=["positive", "grayscale", "diverging", "magnitude", "max_abs", "min_max", "resize", "heat"],
)
def test_a_nan_row_stays_nan_and_its_neighbours_are_untouched(function):
    values = maps(3, 6, 6, 2)
    poisoned = values.copy()
    poisoned[1] = NAN
    for clean, found in zip(
        run_everywhere(function, values), run_everywhere(function, poisoned), strict=True
    ):
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])


def test_one_nan_makes_a_map_of_nan():
    values = maps(2, 6, 6, 2)
    values[1, 2, 3, 1] = NAN
    for function in (visualize.grayscale, visualize.diverging, by_magnitude):
        for found in run_everywhere(function, values):
            assert np.isnan(found[1]).all() and np.isfinite(found[0]).all()
    for function in (visualize.positive, visualize.min_max):
        for found in run_everywhere(function, values[..., 1]):
            assert np.isnan(found[1]).all() and np.isfinite(found[0]).all()
    for found in run_everywhere(visualize.max_abs, values):
        assert np.isnan(found[1, 2, 3]) and np.isnan(found).sum() == 1


@pytest.mark.parametrize("function", [visualize.grayscale, visualize.diverging])
def test_no_examples(function):
    assert function(maps(0, 6, 6, 3)).shape == (0, 6, 6)
    assert visualize.positive(maps(0, 6, 6)).shape == (0, 6, 6)
    assert visualize.min_max(maps(0, 6, 6)).shape == (0, 6, 6)
    assert visualize.heatmap(maps(0, 3, 3), (6, 6)).shape == (0, 6, 6)
    assert visualize.overlay(maps(0, 6, 6, 3), maps(0, 6, 6)).shape == (0, 6, 6, 3)
