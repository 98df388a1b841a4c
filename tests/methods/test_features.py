"""Methods that attribute to segments, on games and functions whose answer is known."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from test_perturbation import bent, images, net_of

from tfsal import FeatureAblation
from tfsal.errors import InputError, MethodError

KINDS = [FeatureAblation]
LABELS = np.array([[0, 0, 1], [2, 1, 1], [7, 7, 0], [7, 2, 2]])  # No 3 to 6.


def ablated(x, labels, start=0.0):
    """The drop without each segment, by hand: [N, *positions]."""
    x = x.astype("f8")
    score = bent(tf.constant(x)).numpy()[:, 1]
    found = np.zeros((len(x), *labels.shape))
    for label in np.unique(labels):
        without = x.copy()
        without[:, labels == label] = start
        found[:, labels == label] = (score - bent(tf.constant(without)).numpy()[:, 1])[:, None]
    return found


@pytest.mark.parametrize("jit_compile", [False, True])
def test_ablation_of_given_segments(jit_compile):
    net, x = oracles.load(bent, 4, 3, 2, dtype=tf.float64), images(4, 3, 2)
    method = FeatureAblation(segments=LABELS, baseline=0.1)
    found = method(net, x, 1, jit_compile=jit_compile)
    np.testing.assert_allclose(found, ablated(x, LABELS, 0.1), atol=1e-12)
    score = bent(tf.constant(x.astype("f8"))).numpy()[:, 1]
    share = FeatureAblation(segments=LABELS, measure="fraction")(net, x, 1)
    expected = ablated(x, LABELS) / np.abs(score)[:, None, None]
    np.testing.assert_allclose(share, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "segments", "labels"),
    [
        ((70,), None, np.arange(70)),  # Columns of a table.
        ((5, 2), None, np.arange(5)),  # Time steps.
        ((128, 1), None, np.arange(128) // 2),
        ((6, 4, 2), (3, 2), np.kron(np.arange(6).reshape(3, 2), np.ones((2, 2), int))),
        ((16, 8, 1), None, np.kron(np.arange(64).reshape(8, 8), np.ones((2, 1), int))),
        ((5, 1), 2, np.array([0, 0, 1, 1, 1])),
        ((2, 4, 2, 1), (1, 2, 1), np.array([0, 0, 1, 1])[:, None] + np.zeros((2, 4, 2), int)),
    ],
    ids=str,
)
def test_grids(shape, segments, labels):
    net, x = oracles.load(bent, *shape, dtype=tf.float64), images(*shape)
    found = FeatureAblation(segments=segments)(net, x, 1, internal_batch_size=64)
    np.testing.assert_allclose(found, ablated(x, labels), atol=1e-12)


def test_a_grid_on_a_model_that_takes_any_size():
    net = oracles.load(lambda x: tf.reduce_sum(tf.tanh(x), [1, 2]), None, None, 2)
    for size in (8, 12):
        x = images(size, size, 2)
        found = FeatureAblation(segments=4)(net, x, 1)
        cells = np.tanh(x)[..., 1].reshape(3, 4, size // 4, 4, size // 4).sum((2, 4))
        expected = cells.repeat(size // 4, axis=1).repeat(size // 4, axis=2)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(InputError, match="any size, and an array of labels needs one"):
        FeatureAblation(segments=LABELS)(net, images(4, 3, 2), 0)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("segments", "error", "message"),
    [
        (LABELS, InputError, r"shape \[4, 3\]; the positions of the input 'x' are \[10, 8\]"),
        (LABELS - 1, MethodError, "the label -1; labels are 0 or more"),
        (LABELS / 2, MethodError, "array of whole numbers.*not float64"),
        (LABELS[:0], MethodError, "array of whole numbers"),
        (0, MethodError, "1 cell or more along each axis, not 0"),
        ((3, -1), MethodError, "1 cell or more"),
        ("slic", MethodError, "segments='slic' is not of type"),
        ((2, 2, 2), InputError, r"for 3 axes; the positions of the input are \[10, 8\]"),
        (9, InputError, "asks for 9 cells along an axis.*has 8 positions. Take 8"),
    ],
    ids=["shape", "negative", "floats", "none", "zero", "minus", "text", "axes", "many"],
)
def test_segments_that_do_not_fit(kind, segments, error, message):
    with pytest.raises(error, match=message):
        kind(segments=segments)(net_of(10, 8, 2), images(10, 8, 2), 0)


def test_segments_are_values():
    assert FeatureAblation(segments=LABELS) == FeatureAblation(segments=LABELS.copy())
    assert FeatureAblation(segments=LABELS) != FeatureAblation(segments=LABELS + 1)
    assert FeatureAblation(segments=[3, 2]) == FeatureAblation(segments=(3, 2))
