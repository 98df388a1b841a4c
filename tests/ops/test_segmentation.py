"""Grids and superpixels: what must hold of them, in any executor and batch."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfsal.ops import segmentation

SEGMENTS = (6, 20)


def images(count=2, height=40, width=56):
    """Smooth colours, with noise."""
    rng = np.random.default_rng(0)
    rough = rng.normal(size=(count, height, width, 3))
    return (ndimage.gaussian_filter(rough, (0, 4, 4, 0)) * 20 + 0.1 * rough).astype("float32")


@tf.function(autograph=False, input_signature=[tf.TensorSpec([None] * 3 + [3])])
def slic(x):
    """Of open sizes, so that it is traced once."""
    return segmentation.slic(x, SEGMENTS)


@pytest.mark.parametrize("size", [(24, 36), (36, 24), (23, 7), (3, 2)])
def test_a_grid_is_of_rectangles_of_one_size(size):
    labels = segmentation.grid(tf.zeros([2, *size, 3]), (1, 6, 20)).numpy()
    assert labels.shape == (2, 3, *size) and labels.dtype == np.int32
    np.testing.assert_array_equal(labels[0], labels[1])
    assert (labels[:, 0] == 0).all() and (labels.max((0, 2, 3)) < (1, 6, 20)).all()
    for one in labels[0]:
        heights, widths = [], []
        for label in np.unique(one):
            y, x = np.nonzero(one == label)
            heights.append(np.ptp(y) + 1)
            widths.append(np.ptp(x) + 1)
            assert heights[-1] * widths[-1] == len(y)
        assert np.ptp(heights) <= 1 and np.ptp(widths) <= 1
    if size == (24, 36):
        assert [len(np.unique(one)) for one in labels[0]] == [1, 6, 18]  # 3 x 6 of 8 x 6.


def test_superpixels_are_connected_and_near_their_middle():
    x = images()
    labels = slic(x).numpy()
    assert labels.shape == (2, 2, 40, 56) and labels.dtype == np.int32
    for maps in labels:
        for labels_of_k, most in zip(maps, SEGMENTS, strict=True):
            found = np.unique(labels_of_k)
            assert found[0] >= 0 and found[-1] < most and len(found) > 0.6 * most
            step = np.sqrt(labels_of_k.size / most)
            for label in found:
                inside = labels_of_k == label
                assert ndimage.label(inside)[1] == 1
                y, x = np.nonzero(inside)
                assert np.hypot(y - y.mean(), x - x.mean()).max() < 2.5 * step


def test_superpixels_follow_edges():
    """Four colours that meet 6 and 5 pixels beside the corner of the grid."""
    image = np.zeros([1, 40, 40, 3], "float32")
    image[:, 14:, :25] = [200, 0, 0]
    image[:, :14, 25:] = [0, 150, 100]
    image[:, 14:, 25:] = [90, 90, 250]
    (labels,) = segmentation.slic(tf.constant(image), [4]).numpy()[0]
    assert len(np.unique(labels)) == 4
    for part in (labels[:14, :25], labels[14:, :25], labels[:14, 25:], labels[14:, 25:]):
        assert len(np.unique(part)) == 1


def test_the_same_in_any_executor_and_batch_and_at_any_scale_of_values():
    x = images()
    labels = slic(x)
    compiled = tf.function(slic.python_function, autograph=False, jit_compile=True)(x)
    np.testing.assert_array_equal(compiled, labels)
    np.testing.assert_array_equal(slic(x[1:]), labels[1:])
    np.testing.assert_array_equal(slic(x * 4 + 8), labels)


def test_compactness_and_iterations_change_them():
    x = tf.constant(images(1))
    labels = segmentation.slic(x, [20]).numpy()
    assert (segmentation.slic(x, [20], iterations=1).numpy() != labels).mean() > 0.05
    compact = segmentation.slic(x, [20], compactness=5.0).numpy()
    grid = segmentation.grid(x, [20]).numpy()
    assert (compact != grid).mean() < 0.2 < (labels != grid).mean()


def test_images_without_colours_or_numbers_have_superpixels_too():
    x = np.full([2, 40, 56, 3], 7.0, "float32")
    x[1, 3, 3] = np.nan
    labels = slic(x).numpy()
    assert labels.min() >= 0 and len(np.unique(labels[0, 1])) >= 15
