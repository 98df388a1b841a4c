"""Segmentation and XRAI's ranking in C++ against scikit-image and PAIR's package."""

import pathlib
import subprocess
import sys
import warnings
from unittest import mock

import numpy as np
import pytest
import saliency.core.xrai as pair
import skimage
import tensorflow as tf
from PIL import Image
from scipy import ndimage
from skimage import segmentation

from tfsal import kernels
from tfsal.kernels import library
from tfsal.ops import native_regions

SCALES = native_regions.SCALES
PHOTOS = sorted(pathlib.Path(skimage.__file__).parent.joinpath("data").glob("*.*g"))
QUICK_PHOTOS = ("astronaut.png", "chessboard_GRAY.png", "logo.png", "page.png")
WAYS = ["NumPy", "op", "op in a graph"]


@pytest.fixture(scope="module")
def regions():
    try:
        from tfsal.kernels import regions
    except ImportError:
        pytest.skip(kernels.native_hint())
    return regions


@pytest.fixture(params=WAYS)
def way(request, regions):
    """The module's functions, or the ops as functions of arrays."""
    if request.param == "NumPy":
        return regions
    if library.unusable() is not None:
        pytest.skip(library.unusable())
    return Ops(graph=request.param == "op in a graph")


class Ops:
    def __init__(self, graph):
        self._run = tf.function if graph else lambda function: function

    def felzenszwalb(self, images, scales, **options):
        call = self._run(lambda x: native_regions.felzenszwalb(x, scales, **options))
        return call(tf.constant(images)).numpy()

    def xrai(self, attribution, labels, **options):
        call = self._run(lambda a, b: native_regions.xrai(a, b, **options))
        return tuple(x.numpy() for x in call(tf.constant(attribution), tf.constant(labels)))


# ---------------------------------------------------------------- segmentation


def peer_labels(image, stable=False, sigma=0.8, min_size=150):
    """scikit-image's labels at each scale; stable: edges of equal cost stay in order."""
    argsort = np.argsort

    def stably(costs):
        return argsort(costs, kind="stable")

    with warnings.catch_warnings(), mock.patch.object(np, "argsort", stably if stable else argsort):
        warnings.simplefilter("ignore", RuntimeWarning)  # of four channels
        found = [
            segmentation.felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size)
            for scale in SCALES
        ]
    return np.stack(found)


def check_segments(regions, image, **options):
    """Equal to scikit-image's; returns the pixels that differ because of tied costs alone."""
    mine = regions.felzenszwalb(np.ascontiguousarray(image[np.newaxis]), SCALES, **options)[0]
    theirs = peer_labels(image, **options)
    if (mine == theirs).all():
        return 0
    np.testing.assert_array_equal(mine, peer_labels(image, stable=True, **options))
    return sum(moved(a, b) for a, b in zip(mine, theirs, strict=True))


def moved(mine, theirs):
    """Pixels outside of what each of their segments has in common with the nearest of mine."""
    joint = np.zeros((theirs.max() + 1, mine.max() + 1), int)
    np.add.at(joint, (theirs.ravel(), mine.ravel()), 1)
    return mine.size - joint.max(axis=1).sum()


def photo(path, size=224):
    """As PAIR's XRAI segments it: in [-1, 1], of 224 x 224 pixels."""
    with Image.open(path) as file:
        image = file if file.mode in ("L", "RGB", "RGBA") else file.convert("RGB")
        image = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), "f8")
    image = image.reshape(size, size, -1)
    return (image - image.min()) / np.ptp(image) * 2 - 1


def check_photos(regions, paths):
    ties = {path.name: check_segments(regions, photo(path)) for path in paths}
    print("pixels that differ because of tied costs:", {k: v for k, v in ties.items() if v})
    # Where no two edges cost the same, nothing is open.
    assert all(not count or "chessboard" in name for name, count in ties.items())


def test_photos_have_the_segments_of_scikit_image(regions):
    check_photos(regions, [path for path in PHOTOS if path.name in QUICK_PHOTOS])


@pytest.mark.slow
def test_every_photo_has_the_segments_of_scikit_image(regions):
    assert len(PHOTOS) >= 20
    check_photos(regions, PHOTOS)


@pytest.mark.parametrize("name", ["chessboard_GRAY.png", "phantom.png"])
def test_costs_are_those_of_scikit_image_to_the_last_bit(regions, name):
    """Drawings of few grey levels, as they are: rounding decides which edges cost less."""
    path = next(path for path in PHOTOS if path.name == name)
    with Image.open(path) as file:
        image = np.asarray(file.convert("L"), "f8")[..., np.newaxis] / 255
    assert check_segments(regions, image, min_size=10) > 0


def test_random_images_have_the_segments_of_scikit_image(regions):
    random = np.random.default_rng(5)
    segments, ties = 0, 0
    for i in range(50):
        shape = (*random.integers(20, 70, 2), (1, 3, 4)[i % 3])
        image = ndimage.gaussian_filter(random.normal(size=shape), (i % 4, i % 4, 0))
        image = (image - image.min()) / np.ptp(image)
        image = image * 2 - 1 if i % 2 else np.rint(255 * image) / 255
        if i % 5 == 0:
            image = image.astype("float32")
        options = {"sigma": (0.8, 0.8, 0.8, 0, 1.5, 4.2)[i % 6], "min_size": (20, 150, 0)[i % 3]}
        ties += check_segments(regions, image, **options)
        segments += regions.felzenszwalb(image[np.newaxis].copy(), SCALES, **options).max() + 1
    print("pixels that differ because of tied costs:", ties)
    assert segments > 1000


def test_images_of_a_batch_are_segmented_apart(way, regions):
    random = np.random.default_rng(2)
    images = random.random((3, 40, 30, 3)).astype("float32")
    found = way.felzenszwalb(images, SCALES, min_size=15)
    assert found.shape == (3, 6, 40, 30) and found.dtype == np.int32 and found.max() > 5
    for i, scale in enumerate(SCALES):
        one = regions.felzenszwalb(images[1:2], [scale], min_size=15, threads=1)
        np.testing.assert_array_equal(one[0, 0], found[1, i])


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 0, 4, 3), (2, 4, 0, 3), (1, 1, 1, 1)])
def test_images_without_edges(way, shape):
    found = way.felzenszwalb(np.ones(shape, "float32"), [1.0, 2.0])
    assert found.shape == (shape[0], 2, *shape[1:3]) and not found.any()


REFUSED = (ValueError, TypeError, tf.errors.InvalidArgumentError)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((4, 4, 3), {}, "images (are|must be)|rank 4"),
        ((1, 4, 4, 3), {"scales": [1.0, -1.0]}, "scales are"),
        ((1, 4, 4, 3), {"scales": [np.inf]}, "scales are"),
        ((1, 4, 4, 3), {"scales": 1.0}, "scales|rank 1|incompatible"),
        ((1, 4, 4, 3), {"sigma": np.nan}, "sigma is"),
        ((1, 4, 4, 3), {"sigma": 1e9}, "sigma is"),
        ((1, 4, 4, 3), {"min_size": -1}, "min_size"),
    ],
)
def test_what_cannot_be_segmented_is_refused(way, shape, options, message):
    with pytest.raises(REFUSED, match=message):
        way.felzenszwalb(np.ones(shape, "float32"), **{"scales": [1.0], **options})


# ---------------------------------------------------------------- ranking


def peer_ranking(attribution, labels, radius=5, algorithm="full", **options):
    """PAIR's (map, masks in their order) of one image."""
    masks = pair._unpack_segs_to_masks(list(labels))
    if radius:
        masks = [pair.dilation(mask, footprint=pair.disk(radius)) for mask in masks]
    rank = pair.XRAI._xrai if algorithm == "full" else pair.XRAI._xrai_fast
    # Our sums are exact; PAIR's are so in float64, nearly.
    return rank(attribution.astype("f8"), masks, integer_segments=False, **options)


def in_their_order(found, ranking):
    """Our regions as PAIR returns them: sorted by their value, the rest at the end."""
    masks = [ranking == i for i in range(ranking.max() + 1)]
    masks.sort(key=lambda mask: -found[mask][0])
    return masks + [ranking == -1] if (ranking == -1).any() else masks


def check_ranking(found, ranking, expected, masks):
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    mine = in_their_order(found, ranking)
    assert len(mine) == len(masks)
    for a, b in zip(mine, masks, strict=True):
        np.testing.assert_array_equal(a, b)


def attributions(random, shape):
    """Noise of several widths, [3, *shape]: regions of every size win."""
    noise = [ndimage.gaussian_filter(random.normal(size=shape), s) for s in (0, 1, 4)]
    return np.stack(noise).astype("float32")


@pytest.mark.parametrize("algorithm", ["full", "fast"])
def test_a_photo_has_the_mask_of_pair(regions, algorithm):
    """The whole of theirs at 224 x 224, where the labels need no resizing back."""
    random = np.random.default_rng(1)
    image = photo(next(path for path in PHOTOS if path.name == "coffee.png"))
    base = random.normal(size=image.shape).astype("float32")
    # PAIR normalises and resamples the image to the same size: not ours to test here.
    labels = regions.felzenszwalb(pair._normalize_image(image, [-1, 1])[np.newaxis], SCALES)
    with mock.patch.object(pair, "resize", lambda image, *_, **__: image):
        expected = pair.XRAI().GetMaskWithDetails(
            image,
            None,
            base_attribution=base.astype("f8"),
            extra_parameters=pair.XRAIParameters(
                algorithm=algorithm, return_xrai_segments=True, flatten_xrai_segments=False
            ),
        )
    found, ranking = regions.xrai(base.max(axis=-1)[np.newaxis], labels, algorithm=algorithm)
    check_ranking(found[0], ranking[0], expected.attribution_mask, expected.segments)
    assert len(expected.segments) > 50


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"algorithm": "full"}, {}),
        ({"algorithm": "fast"}, {}),
        ({"algorithm": "full", "area_perc_th": 0.3}, {"area_threshold": 0.3}),
        ({"algorithm": "full", "area_perc_th": 0.0}, {"area_threshold": 0.0}),
        ({"algorithm": "full", "radius": 0, "min_pixel_diff": 1}, {}),
        ({"algorithm": "fast", "radius": 2, "min_pixel_diff": 7}, {}),
    ],
)
def test_every_parameter_means_what_it_means_to_pair(way, regions, theirs, ours):
    random = np.random.default_rng(3)
    image = ndimage.gaussian_filter(random.normal(size=(75, 60, 3)), (2, 2, 0))
    labels = regions.felzenszwalb(image[np.newaxis], SCALES, min_size=40)
    options = {k: v for k, v in theirs.items() if k != "area_perc_th"} | ours
    base = attributions(random, (75, 60))
    found, ranking = way.xrai(base, np.repeat(labels, 3, axis=0), **options)
    assert found.dtype == np.float32 and ranking.dtype == np.int32
    for i in range(3):
        check_ranking(found[i], ranking[i], *peer_ranking(base[i], labels[0], **theirs))
    # Completeness: what the model's score is made of is all there.
    np.testing.assert_allclose(found.sum(axis=(1, 2)), base.sum(axis=(1, 2)), rtol=1e-3, atol=1e-2)


def test_regions_come_in_the_order_in_which_they_are_taken(way):
    attribution = np.array([[[1, 1, 9, 9, 3, 3]]], "float32")
    labels = np.array([[[[0, 0, 1, 1, 2, 2]]]], "int32")
    found, ranking = way.xrai(attribution, labels, radius=0, min_pixel_diff=1)
    np.testing.assert_array_equal(ranking[0, 0], [2, 2, 0, 0, 1, 1])
    np.testing.assert_array_equal(found, attribution)


def test_bad_values_of_one_example_stay_there(way):
    random = np.random.default_rng(4)
    attribution = random.normal(size=(3, 20, 20)).astype("float32")
    labels = random.integers(0, 4, (3, 2, 20, 20)).astype("int32")
    expected, _ = way.xrai(attribution, labels)
    for bad in (np.nan, np.inf):
        attribution[1, 3, 4] = bad
        found, ranking = way.xrai(attribution, labels)
        assert np.isnan(found[1]).all() and (ranking[1] == -1).all()
        np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    ("attribution", "labels", "options", "message"),
    [
        ((2, 4), (1, 1, 2, 4), {}, "attribution|rank 3"),
        ((1, 4, 4), (1, 4, 4), {}, "labels|rank 4"),
        ((1, 4, 4), (1, 2, 4, 5), {}, "same images|not|equal"),
        ((1, 4, 4), (2, 2, 4, 4), {}, "same images|not|equal"),
        ((1, 4, 4), -1, {}, "labels are from 0 to 65535, not -1"),
        ((1, 4, 4), 65536, {}, "not 65536"),
        ((1, 4, 4), 2**31 - 1, {}, "not 2147483647"),
        ((1, 4, 4), 0, {"radius": -1}, "radius"),
        ((1, 4, 4), 0, {"min_pixel_diff": 0}, "min_pixel_diff"),
        ((1, 4, 4), 0, {"area_threshold": 1.5}, "area_threshold"),
        ((1, 4, 4), 0, {"area_threshold": np.nan}, "area_threshold"),
        ((1, 4, 4), 0, {"algorithm": "slow"}, "algorithm"),
    ],
)
def test_what_cannot_be_ranked_is_refused(way, attribution, labels, options, message):
    if isinstance(labels, int):
        labels = np.full((1, 2, 4, 4), labels, "int32")
    else:
        labels = np.zeros(labels, "int32")
    with pytest.raises(REFUSED, match=message):
        way.xrai(np.zeros(attribution, "float32"), labels, **options)


# ---------------------------------------------------------------- module and ops


def test_arrays_that_cannot_be_read_as_they_lie_are_refused(regions):
    images, labels = np.ones((1, 8, 8, 3), "f"), np.zeros((1, 1, 8, 8), "i4")
    with pytest.raises(ValueError, match="images is not C-contiguous"):
        regions.felzenszwalb(images[:, ::2], [1])
    with pytest.raises(TypeError, match="images are float32 or float64, not uint8"):
        regions.felzenszwalb(images.astype("u1"), [1])
    with pytest.raises(ValueError, match="labels is not C-contiguous"):
        regions.xrai(images[..., 0].copy(), labels.transpose(0, 1, 3, 2))
    with pytest.raises(TypeError, match="labels are int32, not float32 and int64"):
        regions.xrai(images[..., 0].copy(), labels.astype("i8"))
    with pytest.raises(ValueError, match="threads is"):
        regions.felzenszwalb(images, [1], threads=-1)


def test_the_module_needs_no_tensorflow(regions):
    code = "import sys; from tfsal.kernels import regions; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_shapes_are_known_before_the_ops_run():
    if library.unusable() is not None:
        pytest.skip(library.unusable())

    @tf.function(input_signature=[tf.TensorSpec([None, 8, None, 3])])
    def segment(images):
        labels = native_regions.felzenszwalb(images)
        assert labels.shape.as_list() == [None, 6, 8, None]
        found, ranking = native_regions.xrai(images[..., 0], labels)
        assert found.shape.as_list() == ranking.shape.as_list() == [None, 8, None]
        return found

    segment.get_concrete_function()
    with pytest.raises(ValueError, match="rank 4"):
        tf.function(native_regions.felzenszwalb).get_concrete_function(tf.TensorSpec([8, 8, 3]))


def test_the_ops_have_no_gradient():
    if library.unusable() is not None:
        pytest.skip(library.unusable())
    images = tf.random.stateless_uniform([1, 9, 9, 1], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(images)
        found, _ = native_regions.xrai(images[..., 0], native_regions.felzenszwalb(images))
    assert tape.gradient(found, images) is None
