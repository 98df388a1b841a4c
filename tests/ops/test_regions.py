"""XRAI's ranking of masks: known answers, any executor and batch, rows that have no answer.

tests/peers/test_pair_xrai.py has the comparison with PAIR's.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfsal.ops import regions

SEGMENTS = (6, 40)
OPTIONS = {"radius": 2, "min_pixel_diff": 7}


@functools.cache
def function(segments, jit_compile, **options):
    """Of open sizes, so that it is traced once."""
    return tf.function(
        lambda a, s: regions.rank_regions(a, s, segments, **{**OPTIONS, **options}),
        autograph=False,
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([None] * 3), tf.TensorSpec([None] * 4, tf.int32)],
    )


def ranked(attribution, labels, segments=SEGMENTS, jit_compile=False, **options):
    answer = function(segments, jit_compile, **options)
    found, ranking = answer(tf.constant(attribution, tf.float32), tf.constant(labels, tf.int32))
    return found.numpy(), ranking.numpy()


def examples(count=3, height=23, width=31):
    """Attributions [N, H, W] and labels [N, 2, H, W]: pixels by their nearest of random points."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width]
    labels = np.zeros([count, len(SEGMENTS), height, width], int)
    for i in range(count):
        for k, most in enumerate(SEGMENTS):
            points = rng.uniform(0, 1, (most, 2)) * [height, width]
            away = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
            labels[i, k] = np.argmin(away, -1)
    return rng.normal(size=(count, height, width)).astype("float32"), labels


def test_three_stripes_by_hand():
    """Without dilation: the mean of what is added, not of the mask, decides."""
    attribution = np.array([[[0.0, 0, 6, 6, 1, 1, 2, 8]]])
    labels = np.array([[[[0, 0, 1, 1, 1, 1, 2, 2]], [[0, 0, 0, 0, 1, 1, 1, 1]]]])
    options = {"segments": 3, "radius": 0, "min_pixel_diff": 2}
    found, ranking = ranked(attribution, labels, **options)
    # 5 (2, 8); then 3.5 (6, 6, 1, 1); then what is left.
    np.testing.assert_array_equal(found, [[[0, 0, 3.5, 3.5, 3.5, 3.5, 5, 5]]])
    np.testing.assert_array_equal(ranking, [[[2, 2, 1, 1, 1, 1, 0, 0]]])
    # Too many for what the mask of 3.5 leaves to others.
    found, ranking = ranked(attribution, labels, **{**options, "min_pixel_diff": 3})
    np.testing.assert_array_equal(found, [[[2.5, 2.5, 3.5, 3.5, 3.5, 3.5, 2.5, 2.5]]])
    np.testing.assert_array_equal(ranking, [[[-1, -1, 0, 0, 0, 0, -1, -1]]])
    # The share of the first one, 0.25, is above the threshold and ends it.
    found, ranking = ranked(attribution, labels, **options, area_threshold=0.2)
    np.testing.assert_allclose(found, [[[14 / 6] * 6 + [5, 5]]], rtol=1e-6)
    np.testing.assert_array_equal(ranking, [[[-1] * 6 + [0, 0]]])
    # By whole masks: 5, 3.5, then (0, 0, 6, 6) adds its zeros, and no share ends it.
    _, ranking = ranked(attribution, labels, **options, area_threshold=0.0, fast=True)
    np.testing.assert_array_equal(ranking, [[[2, 2, 1, 1, 1, 1, 0, 0]]])


@pytest.mark.parametrize("fast", [False, True])
def test_the_same_in_any_executor_and_batch(fast):
    attribution, labels = examples()
    found, ranking = ranked(attribution, labels, fast=fast)
    assert 10 < ranking.max() < sum(SEGMENTS)
    np.testing.assert_allclose(found.sum((1, 2)), attribution.sum((1, 2)), rtol=1e-4)
    compiled = ranked(attribution, labels, fast=fast, jit_compile=True)
    np.testing.assert_array_equal(compiled[0], found)
    np.testing.assert_array_equal(compiled[1], ranking)
    alone = ranked(attribution[1:2], labels[1:2], fast=fast)
    np.testing.assert_array_equal(alone[0], found[1:2])
    np.testing.assert_array_equal(alone[1], ranking[1:2])


@pytest.mark.parametrize("wrong", ["negative", "too many", "nan", "infinite"])
def test_a_row_without_an_answer_changes_no_other(wrong):
    attribution, labels = examples()
    expected, order = ranked(attribution, labels)
    if wrong in ("negative", "too many"):
        labels[1, 0, 4, 5] = -1 if wrong == "negative" else SEGMENTS[0]
    else:
        attribution[1, 4, 5] = np.nan if wrong == "nan" else np.inf
    found, ranking = ranked(attribution, labels)
    assert np.isnan(found[1]).all() and (ranking[1] == -1).all()
    np.testing.assert_array_equal(found[::2], expected[::2])
    np.testing.assert_array_equal(ranking[::2], order[::2])


def test_one_number_of_segments_for_all_scales():
    attribution, labels = examples()
    found, ranking = ranked(attribution[:, :17, :20], labels[:, :, :17, :20])
    again, order = ranked(attribution[:, :17, :20], labels[:, :, :17, :20], max(SEGMENTS))
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(order, ranking)


def test_zeros_and_the_smallest_numbers():
    labels = examples(1)[1]
    _, ranking = ranked(np.zeros([1, 23, 31], "f4"), labels)
    assert ranking.max() > 3  # The first mask of the list, and so on.
    attribution = examples(1)[0]
    expected, order = ranked(attribution, labels)
    for factor in (2.0**-90, 2.0**90):
        found, ranking = ranked(attribution * np.float32(factor), labels)
        np.testing.assert_array_equal(ranking, order)
        np.testing.assert_allclose(found / np.float32(factor), expected, rtol=1e-6)
