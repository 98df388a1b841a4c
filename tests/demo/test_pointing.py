"""tfsal.demo.pointing: the score must not be won by luck."""

import math

import numpy as np
import pytest

from tfsal.demo.pointing import chance, hits, interval
from tfsal.errors import TfsalError

BOX = [1, 2, 3, 5]  # rows 1 and 2, columns 2 to 4


def one_map(*peaks, value=1.0, shape=(6, 7)):
    heatmap = np.zeros((1, *shape))
    for peak in peaks:
        heatmap[0][peak] = value
    return heatmap


def hit(heatmap, box=BOX):
    (result,) = hits(heatmap, np.array([box]))
    return result


@pytest.mark.parametrize("y", range(6))
@pytest.mark.parametrize("x", range(7))
def test_every_position(y, x):
    assert hit(one_map((y, x))) == (1 <= y < 3 and 2 <= x < 5)


def test_only_the_maximum_counts():
    heatmap = one_map((1, 2), (0, 0))
    heatmap[0, 0, 0] = 1.001
    assert not hit(heatmap)
    heatmap[0, 0, 0] = 0.999
    assert hit(heatmap)


def test_a_map_that_points_nowhere_misses():
    whole = [0, 0, 6, 7]
    for value in (0.0, 1.0, -3.0, np.nan, np.inf):
        assert not hit(np.full((1, 6, 7), value), whole)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_misses(value):
    heatmap = one_map((1, 2))
    heatmap[0, 5, 5] = value
    assert not hit(heatmap)
    assert not hit(one_map((1, 2), value=value))


def test_ties():
    assert hit(one_map((1, 2), (2, 4)))
    assert not hit(one_map((1, 2), (5, 5)))
    assert not hit(one_map((1, 2), (0, 0)))


def test_negative_maps_point_to_the_least_negative():
    assert hit(one_map((2, 3)) - 5)
    assert not hit(-one_map((2, 3)))


def test_maps_do_not_affect_each_other():
    rng = np.random.default_rng(0)
    heatmaps = rng.random((50, 6, 7)).astype(np.float16)
    boxes = np.tile(BOX, (50, 1)).astype(np.int32)
    heatmaps[::5] = np.nan
    together = hits(heatmaps, boxes)
    alone = [hit(heatmap[None]) for heatmap in heatmaps]
    assert together.dtype == bool and together.tolist() == alone
    assert 0 < together.sum() < 50


def test_no_maps_no_hits():
    assert hits(np.zeros((0, 6, 7)), np.zeros((0, 4), int)).shape == (0,)


@pytest.mark.parametrize(
    ("heatmaps", "boxes", "message"),
    [
        (np.zeros((6, 7)), [BOX], "heatmaps must be"),
        (np.zeros((1, 6, 7, 1)), [BOX], "heatmaps must be"),
        (np.zeros((2, 6, 7)), [BOX], "2 heatmaps for 1 boxes"),
        (np.zeros((1, 0, 7)), [BOX], "leaves"),
        (np.zeros((1, 6, 7)), BOX, "boxes must be"),
        (np.zeros((1, 6, 7)), [[0.0, 0, 1, 1]], "boxes must be"),
        (np.zeros((1, 6, 7)), [[0, 0, 7, 7]], "leaves"),
        (np.zeros((1, 6, 7)), [[-1, 0, 3, 3]], "leaves"),
        (np.zeros((1, 6, 7)), [[2, 2, 2, 4]], "empty"),
    ],
)
def test_bad_arguments(heatmaps, boxes, message):
    with pytest.raises(TfsalError, match=message):
        hits(heatmaps, boxes)


def test_chance_is_the_mean_area():
    assert chance([BOX], (6, 7)) == pytest.approx(6 / 42)
    assert chance([BOX, [0, 0, 6, 7]], (6, 7)) == pytest.approx((6 / 42 + 1) / 2)
    with pytest.raises(TfsalError, match="no boxes"):
        chance(np.zeros((0, 4), int), (6, 7))


def test_random_maps_hit_as_often_as_chance_says():
    rng = np.random.default_rng(1)
    low = rng.integers(0, 10, (4000, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 7, (4000, 2))], axis=1)
    rate = hits(rng.random((4000, 16, 16)), boxes).mean()
    expected = chance(boxes, (16, 16))
    assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


def wilson(k, n, z):
    centre, half = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    return (centre - half) / (n + z * z), (centre + half) / (n + z * z)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (5, 10), (10, 10), (81, 263), (450, 500)])
@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.959963984540054), (0.99, 2.5758293035)])
def test_interval_is_wilsons(k, n, confidence, z):
    found = interval(np.arange(n) < k, confidence)
    np.testing.assert_allclose(found, wilson(k, n, z), atol=1e-9)


def test_interval_known_values():
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 and 15 of 148."""
    np.testing.assert_allclose(interval(np.arange(263) < 81), [0.2553, 0.3662], atol=5e-5)
    np.testing.assert_allclose(interval(np.arange(148) < 15), [0.0624, 0.1605], atol=5e-5)


@pytest.mark.parametrize("bad", [[], [0, 1], [[True]], [0.5]])
def test_interval_wants_hits(bad):
    with pytest.raises(TfsalError, match="hits must be"):
        interval(bad)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_interval_wants_a_confidence(confidence):
    with pytest.raises(TfsalError, match="confidence"):
        interval([True], confidence)
