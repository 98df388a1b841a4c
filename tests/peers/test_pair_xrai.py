"""XRAI against PAIR's, given the same segments; SLIC against scikit-image's."""

import numpy as np
import pair
import pytest
import tensorflow as tf
from scipy import ndimage
from skimage import data, transform
from skimage import segmentation as skimage_segmentation
from skimage.morphology import dilation, disk

import tfsal
from tfsal import kernels
from tfsal.ops import regions, segmentation

peer = pytest.importorskip("saliency.core")


def masks_of(labels, segments, radius):
    """What PAIR's makes of label maps: a list of bool [H, W]."""
    masks = [
        one == label for one, most in zip(labels, segments, strict=True) for label in range(most)
    ]
    return [dilation(mask, footprint=disk(radius)) for mask in masks]


def by_peer(masks, attribution, fast=False, area_threshold=1.0, min_pixel_diff=50):
    """(map, ranks: 1 for the region of the highest mean) of an attribution [H, W]."""
    parameters = parameters_of(fast, area_threshold, min_pixel_diff)
    found = peer.XRAI().GetMaskWithDetails(
        attribution[..., np.newaxis],
        None,
        segments=masks,
        base_attribution=attribution[..., np.newaxis],
        extra_parameters=parameters,
    )
    return found.attribution_mask, found.segments


def parameters_of(fast=False, area_threshold=1.0, min_pixel_diff=50):
    parameters = peer.XRAIParameters(
        return_xrai_segments=True,
        area_threshold=area_threshold,
        algorithm="fast" if fast else "full",
    )
    parameters.experimental_params["min_pixel_diff"] = min_pixel_diff
    return parameters


def ranks_of(ranking, attribution):
    """PAIR's ranks of our order: by mean, the first taken of equals first, what is left last."""
    steps = range(ranking.max() + 1)
    means = [attribution[ranking == step].mean() for step in steps]
    ranks = np.full(ranking.shape, len(means) + 1)
    for rank, step in enumerate(sorted(steps, key=lambda step: -means[step])):
        ranks[ranking == step] = rank + 1
    return ranks


def blobs(rng, segments, height, width):
    """Labels [K, H, W]: each pixel's nearest of random points."""
    y, x = np.mgrid[:height, :width]
    maps = []
    for most in segments:
        points = rng.uniform(0, 1, (most, 2)) * [height, width]
        away = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
        maps.append(np.argmin(away, -1))
    return np.stack(maps)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fast": True},
        {"area_threshold": 0.5, "min_pixel_diff": 20},
        {"area_threshold": 0.5, "min_pixel_diff": 1, "fast": True, "radius": 3},
        {"min_pixel_diff": 1, "radius": 0},
    ],
    ids=str,
)
def test_the_same_regions_in_the_same_order(options):
    options = dict(options)
    rng, segments, radius = np.random.default_rng(7), (5, 40, 70), options.pop("radius", 5)
    labels = np.stack([blobs(rng, segments, 61, 47) for _ in range(3)])
    attribution = ndimage.gaussian_filter(rng.normal(size=(3, 61, 47)), (0, 2, 2))
    attribution[1] = np.round(attribution[1] * 4)  # Equal means, many of them 0.
    found, ranking = tf.function(
        lambda a, s: regions.rank_regions(a, s, segments, radius=radius, **options),
        autograph=False,
    )(tf.constant(attribution), tf.constant(labels, tf.int32))
    for i in range(3):
        expected, ranks = by_peer(masks_of(labels[i], segments, radius), attribution[i], **options)
        assert pair.relative(found[i], expected) < 1e-6
        np.testing.assert_array_equal(ranks_of(ranking[i].numpy(), attribution[i]), ranks)
        assert ranks.max() > 10


def test_a_photo_with_segments_of_felzenszwalb():
    """PAIR's own segments at its six scales, their label maps given to ours."""
    image = transform.resize(data.astronaut(), (128, 128)) * 2 - 1
    scales = (50, 100, 150, 250, 500, 1200)
    labels = np.stack(
        [
            skimage_segmentation.felzenszwalb(image, scale=scale, sigma=0.8, min_size=150)
            for scale in scales
        ]
    )
    attribution = np.random.default_rng(0).normal(size=(128, 128)) + image.max(-1)
    segments = tuple(int(n) + 1 for n in labels.max((1, 2)))
    found, ranking = tf.function(
        lambda a, s: regions.rank_regions(a, s, segments), autograph=False
    )(tf.constant(attribution[np.newaxis]), tf.constant(labels[np.newaxis], tf.int32))
    expected, ranks = by_peer(masks_of(labels, segments, 5), attribution)
    assert pair.relative(found[0], expected) < 1e-6 and ranks.max() > 20
    np.testing.assert_array_equal(ranks_of(ranking[0].numpy(), attribution), ranks)


def test_the_method_with_its_default_base():
    """From the model to the map: black and white, 100 steps each, the largest channel."""
    net, x = pair.load("smooth"), pair.images(2)
    segments = (4, 9)
    rng = np.random.default_rng(1)
    labels = np.stack([blobs(rng, segments, *pair.SHAPE[:2]) for _ in x])
    method = tfsal.XRAI(segments="input", scales=segments, radius=1, min_pixel_diff=5)
    answer = method.explain(net, x, [1, 3], segments=labels)
    for i, class_index in enumerate([1, 3]):
        expected = peer.XRAI().GetMask(
            x[i],
            pair.model_function(net, class_index),
            segments=masks_of(labels[i], segments, 1),
            extra_parameters=parameters_of(min_pixel_diff=5),
        )
        assert pair.relative(answer.attribution[i], expected) < 1e-6
        assert len(np.unique(expected)) > 4


def test_a_photo_with_pairs_own_segments():
    """Felzenszwalb's at PAIR's scales and size: whose segments they are makes no difference."""
    if not kernels.status().fused:
        pytest.skip(kernels.status().reason)
    image = transform.resize(data.chelsea(), (224, 224)).astype("float32")
    net = tfsal.load(
        lambda x: tf.reduce_mean(x**3, [1, 2]),
        specs=tf.TensorSpec([None, 224, 224, 3], name="image"),
    )
    method = tfsal.XRAI(base="gradient_times_input", segments="felzenszwalb")
    answer = method.explain(net, image[np.newaxis], 1)
    base = method.base(net, image[np.newaxis], 1).numpy()[0]
    expected = peer.XRAI().GetMaskWithDetails(
        image, None, base_attribution=base, extra_parameters=parameters_of()
    )
    assert pair.relative(answer.attribution[0], expected.attribution_mask) < 1e-6
    assert len(np.unique(expected.attribution_mask)) > 50


@pytest.mark.parametrize("photo", ["astronaut", "chelsea"])
def test_superpixels_are_as_good_as_scikit_images(photo):
    """Their sum of squares is the smaller, and they find as much of the edges."""
    image = getattr(data, photo)()
    image = transform.resize(image, (96, 96 * image.shape[1] // image.shape[0]))
    image = (image - image.min()) / np.ptp(image)
    edges = skimage_segmentation.find_boundaries(
        skimage_segmentation.felzenszwalb(image, scale=100, sigma=0.8, min_size=50)
    )
    segments = (16, 36, 64, 100, 144)
    ours = segmentation.slic(tf.constant(image[np.newaxis]), segments).numpy()[0]
    found = {"ours": [], "theirs": []}
    for labels, most in zip(ours, segments, strict=True):
        theirs = skimage_segmentation.slic(
            image, n_segments=most, compactness=0.1, convert2lab=False, start_label=0
        )
        for name, one in (("ours", labels), ("theirs", theirs)):
            near = ndimage.binary_dilation(skimage_segmentation.find_boundaries(one))
            found[name].append([_spread(image, one, most), near[edges].mean()])
    spread, recall = (np.array(found["ours"]) / found["theirs"]).T
    print(photo, "spread", spread.round(2), "recall", recall.round(2))
    assert spread.mean() < 1.05 and recall.mean() > 0.95


def _spread(image, labels, most):
    """What SLIC makes small: squared distances in colour and place from the segments' means."""
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]] * 0.1 / np.sqrt(labels.size / most)
    features = np.dstack([image, y, x])
    return sum(
        ((features[labels == label] - features[labels == label].mean(0)) ** 2).sum()
        for label in np.unique(labels)
    )
