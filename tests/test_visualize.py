"""Maps to heatmaps and pictures, against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.interpolate

tf = pytest.importorskip("tensorflow")

from tfsal import visualize  # noqa: E402

NAN = float("nan")


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def run_everywhere(function, *arrays):
    """[eager, graph with unknown sizes, XLA with unknown sizes] results, as NumPy."""
    specs = [tf.TensorSpec([None] * a.ndim, a.dtype) for a in arrays]
    graph = tf.function(function, input_signature=specs)
    xla = tf.function(function, jit_compile=True)
    return [np.asarray(f(*arrays)) for f in (function, graph, xla)]


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
    result = []
    for value in values.astype("f8"):
        flat = value.sum(-1)
        result.append(np.clip(flat / np.percentile(np.abs(flat), percentile), -1, 1))
    return np.stack(result)


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
    [(visualize.grayscale, grayscale_twin), (visualize.diverging, diverging_twin)],
)
def test_percentile_clipping(function, twin, shape, percentile):
    values = maps(*shape)
    for found in run_everywhere(lambda v: function(v, percentile), values):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, twin(values, percentile), atol=2e-6)


def test_diverging_is_pairs_on_maps_without_negative_values():
    """PAIR's VisualizeImageDiverging puts 0 at 0.5 and clips the upper side at 1."""
    values = np.abs(maps(1, 9, 9, 3))
    flat = values[0].sum(-1)
    span = abs(np.percentile(flat, 99))
    pair = np.clip((flat + span) / (2 * span), -1, 1)
    ours = (visualize.diverging(values)[0].numpy() + 1) / 2
    np.testing.assert_allclose(ours, pair, atol=1e-6)


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
    sign = np.full((1, 6, 6), np.sign(constant))
    channels = values[..., np.newaxis]
    for found in run_everywhere(visualize.positive, values):
        np.testing.assert_array_equal(found, positive)
    for found in run_everywhere(visualize.grayscale, channels):
        np.testing.assert_array_equal(found, np.zeros((1, 6, 6)))
    for found in run_everywhere(visualize.diverging, channels):
        np.testing.assert_array_equal(found, sign)


@pytest.mark.parametrize(
    "function",
    [
        lambda v: visualize.positive(v[..., 0]),
        visualize.grayscale,
        visualize.diverging,
        lambda v: visualize.resize(v[..., 0], (12, 12)),
    ],
    ids=["positive", "grayscale", "diverging", "resize"],
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


@pytest.mark.parametrize("function", [visualize.grayscale, visualize.diverging])
def test_no_examples(function):
    assert function(maps(0, 6, 6, 3)).shape == (0, 6, 6)
    assert visualize.positive(maps(0, 6, 6)).shape == (0, 6, 6)


# ---------------------------------------------------------------- overlay


def images(*shape):
    return np.random.default_rng(1).uniform(size=shape).astype("float32")


def as_pixels(image):
    return np.round(image * 255).astype("uint8")


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_leaves_the_image_where_the_map_is_zero(channels):
    image = images(2, 8, 6, channels)
    for found in run_everywhere(visualize.overlay, image, np.zeros((2, 8, 6), "float32")):
        assert found.shape == (2, 8, 6, 3) and found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.broadcast_to(as_pixels(image), found.shape))


def test_overlay_without_opacity_leaves_the_image():
    image, heatmap = images(1, 8, 6, 3), images(1, 8, 6)
    np.testing.assert_array_equal(visualize.overlay(image, heatmap, alpha=0), as_pixels(image))


@pytest.mark.parametrize("colormap", ["inferno", "viridis"])
def test_overlay_shows_the_colour_of_the_map(colormap):
    import matplotlib

    image, heatmap = images(1, 8, 6, 3), images(1, 8, 6)
    color = matplotlib.colormaps[colormap](np.round(heatmap * 255).astype(int))[..., :3]
    opaque = 0.7 * np.sqrt(heatmap)[..., None]
    expected = np.round((image * (1 - opaque) + color * opaque) * 255)
    for found in run_everywhere(lambda i, h: visualize.overlay(i, h, colormap), image, heatmap):
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_overlay_of_a_nan_map_is_the_image():
    image, heatmap = images(2, 8, 6, 3), images(2, 8, 6)
    clean = visualize.overlay(image, heatmap).numpy()
    heatmap[1] = NAN
    for found in run_everywhere(visualize.overlay, image, heatmap):
        np.testing.assert_array_equal(found[0], clean[0])
        np.testing.assert_array_equal(found[1], as_pixels(image[1]))


def test_overlay_clips_a_map_that_leaves_its_range():
    image = images(1, 8, 6, 3)
    for outside, inside in ((1.5, 1.0), (-0.5, 0.0)):
        for found in run_everywhere(
            visualize.overlay, image, np.full((1, 8, 6), outside, "float32")
        ):
            expected = visualize.overlay(image, np.full((1, 8, 6), inside, "float32"))
            np.testing.assert_array_equal(found, expected)
