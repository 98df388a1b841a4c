"""Methods that attribute to segments, on games and functions whose answer is known."""

import itertools
import math

import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import error
from sklearn.linear_model import lars_path
from test_perturbation import bent, images, net_of

from tfsal import LIME, FeatureAblation, KernelSHAP, SampledShapley
from tfsal.errors import InputError, MethodError
from tfsal.methods.lasso import lasso_support
from tfsal.ops import random
from tfsal.ops.segmentation import grid_labels

KINDS = [FeatureAblation, LIME, KernelSHAP, SampledShapley]
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


def test_a_grid_of_as_many_cells_as_a_long_series_has_places():
    np.testing.assert_array_equal(grid_labels([40000], [40000]), np.arange(40000))


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


# ---------------------------------------------------------------- Shapley values


def shapley(game, count):
    """By definition: the mean of what a player adds, over all orders. `game`: of a set."""
    values = np.zeros(count)
    for order in itertools.permutations(range(count)):
        for i, player in enumerate(order):
            values[player] += game(order[: i + 1]) - game(order[:i])
    return values / math.factorial(count)


def as_model(game, count, dtype=tf.float64):
    """A model of `count` numbers, 0 or 1, whose first score is the game's."""
    table = np.zeros([2] * count)
    for members in itertools.product([0, 1], repeat=count):
        table[members] = game([i for i in range(count) if members[i]])
    table = tf.constant(table.reshape(-1), dtype)
    places = tf.constant(2 ** np.arange(count)[::-1], tf.int32)

    def model(x):
        score = tf.gather(table, tf.reduce_sum(tf.cast(x, tf.int32) * places, axis=1))
        return score[:, tf.newaxis] * [[1, -2]]

    return oracles.load(lambda x: tf.cast(model(x), dtype), count, dtype=dtype)


def gloves(members):
    """0 and 1 have a left glove, 2 a right one: pairs are worth 1. Values 1/6, 1/6, 2/3."""
    return float(2 in members and len(members) > 1)


def airport(members):
    """A runway for the largest plane: values 1/4, 1/4 + 1/3, ... (Littlechild and Owen 1973)."""
    return float(max(members, default=-1) + 1)


GAMES = {
    "gloves": (gloves, [1 / 6, 1 / 6, 2 / 3]),
    "airport": (airport, np.cumsum(1 / np.arange(4, 0, -1))),
}


@pytest.mark.parametrize("name", GAMES)
def test_known_games(name):
    game, values = GAMES[name]
    count = len(values)
    np.testing.assert_allclose(shapley(game, count), values, atol=1e-12)
    net, x = as_model(game, count), np.ones((2, count))
    exact = KernelSHAP()(net, x, [0, 1])
    np.testing.assert_allclose(exact, [values, np.multiply(-2, values)], atol=1e-10)
    sampled = SampledShapley(samples=400)(net, x, [0, 1], internal_batch_size=512)
    np.testing.assert_allclose(sampled[0], values, atol=0.08)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_a_random_game(dtype):
    rng = np.random.default_rng(0)
    worth = {m: rng.normal() for n in range(7) for m in itertools.combinations(range(6), n)}

    def game(members):
        return worth[tuple(sorted(members))]

    net, x = as_model(game, 6, dtype), np.ones((1, 6))
    expected = shapley(game, 6)
    np.testing.assert_allclose(KernelSHAP()(net, x, 0)[0], expected, atol=1e-5)
    for method, tolerance in ((SampledShapley(samples=600), 0.15), (KernelSHAP(samples=61), 0.5)):
        found = method(net, x, 0, seed=1, internal_batch_size=512)
        np.testing.assert_allclose(found[0], expected, atol=tolerance)
        np.testing.assert_allclose(found.numpy().sum(), game(range(6)) - game(()), atol=1e-5)


@pytest.mark.parametrize("kind", [KernelSHAP, SampledShapley])
def test_an_additive_model_is_exact_whatever_is_drawn(kind):
    weights = oracles.draw(40)
    net = oracles.load(lambda x: (x @ weights[:, None] + 3) * [[1.0, 2.0]], 40)
    x = images(40)
    samples = {KernelSHAP: 161, SampledShapley: 1}[kind]
    found = kind(samples=samples, baseline=0.5)(net, x, 1)
    np.testing.assert_allclose(found, 2 * weights * (x - 0.5), atol=2e-4)


@pytest.mark.parametrize("kind", [KernelSHAP, SampledShapley])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_shares_add_up_to_the_change(kind, jit_compile):
    """To 1e-5 of it, in float32 and with several baselines."""
    samples = {KernelSHAP: 81, SampledShapley: 3}[kind]
    method = kind(segments=(5, 4), samples=samples, baseline="black_and_white")
    net, x = net_of(10, 8, 2), images(10, 8, 2)
    answer = method.explain(net, x, 1, jit_compile=jit_compile)
    one_of_each = answer.attribution.numpy()[:, ::2, ::2].sum((1, 2))
    start = np.mean([bent(tf.fill(x.shape, v)).numpy()[:, 1] for v in (0.0, 1.0)], 0)
    np.testing.assert_allclose(one_of_each, answer.score - start, rtol=1e-5, atol=2e-6)


def test_orders_in_pairs_are_exact_up_to_interactions_of_two():
    """Of a product each factor has half, and comes once first and once last."""
    net = oracles.load(lambda x: x[:, :1] * x[:, 1:2] + x[:, 2:3] * [[1.0, 1.0]], 3)
    found = SampledShapley(samples=2)(net, np.array([[2, 3, 4]], "f4"), 0)
    np.testing.assert_allclose(found, [[3, 3, 4]], atol=1e-6)
    single = SampledShapley(samples=1)(net, np.array([[2, 3, 4]], "f4"), 0).numpy()
    assert sorted(single[0]) == [0, 4, 6]


def test_one_feature_has_it_all():
    net, x = net_of(10, 8, 2), images(10, 8, 2)
    change = bent(tf.constant(x)).numpy()[:, 1] - bent(tf.zeros_like(x)).numpy()[:, 1]
    for kind in (KernelSHAP, SampledShapley, FeatureAblation):
        np.testing.assert_allclose(kind(segments=1)(net, x, 1)[:, 3, 3], change, atol=1e-5)


# ---------------------------------------------------------------- LIME


def ridge(rows, values, weights, alpha):
    """Slopes of the weighted ridge regression with an intercept, as a least squares in float64."""
    count = rows.shape[1]
    root = np.sqrt(weights)[:, None]
    design = np.concatenate([rows, np.ones((len(rows), 1))], 1) * root
    penalty = np.concatenate([np.eye(count) * alpha**0.5, np.zeros((count, 1))], 1)
    right = np.concatenate([values * root[:, 0], np.zeros(count)])
    return np.linalg.lstsq(np.concatenate([design, penalty]), right, rcond=None)[0][:count]


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_lime_is_the_ridge_regression_of_the_same_samples(dtype):
    net, x = oracles.load(bent, 8, 6, 2, dtype=dtype), images(8, 6, 2)
    method = LIME(segments=(4, 3), samples=40, width=0.4, alpha=0.7, baseline=0.1)
    found = method(net, x, 1, seed=[3, 4, 5])
    blocks = np.kron(np.arange(12).reshape(4, 3), np.ones((2, 2), int))
    drawn = [random.uniform(tf.constant([3, 4, 5]), i, [12], stream=1).numpy() for i in range(40)]
    for row, one in enumerate(x):
        present = np.array([d[row] < 0.5 for d in drawn], "f8")
        points = np.where(present[:, blocks][..., None] > 0, one, np.float32(0.1)).astype("f8")
        scores = bent(tf.constant(points)).numpy()[:, 1]
        distance = 1 - np.sqrt(present.mean(1))
        weights = np.sqrt(np.exp(-((distance / 0.4) ** 2)))
        expected = ridge(present, scores, weights, 0.7)
        tolerance = 1e-6 if dtype == tf.float64 else 1e-4
        np.testing.assert_allclose(found[row, ::2, ::2], expected.reshape(4, 3), atol=tolerance)


def lars_support(rows, values, weights, most):
    """The features of the last knot of scikit-learn's lasso path that has at most so many."""
    root = np.sqrt(weights)
    centred = (rows - np.average(rows, axis=0, weights=weights)) * root[:, None]
    right = (values - np.average(values, weights=weights)) * root
    slopes = lars_path(centred, right, method="lasso")[2].T
    few = [knot for knot in np.abs(slopes) > 1e-10 if knot.sum() <= most]
    return np.flatnonzero(few[-1])


def test_lime_keeps_the_features_of_the_lasso_path():
    net, x = oracles.load(bent, 8, 6, 2, dtype=tf.float64), images(8, 6, 2)
    seeds = tf.constant([3, 4, 5])
    drawn = [random.uniform(seeds, i, [12], stream=1).numpy() for i in range(40)]
    blocks = np.kron(np.arange(12).reshape(4, 3), np.ones((2, 2), int))
    for most, alpha in ((4, 0.0), (11, 0.7)):
        method = LIME(segments=(4, 3), samples=40, width=0.4, alpha=alpha, features=most)
        found = method(net, x, 1, seed=[3, 4, 5], jit_compile=most == 4).numpy()
        for row, one in enumerate(x):
            present = np.array([d[row] < 0.5 for d in drawn], "f8")
            points = np.where(present[:, blocks][..., None] > 0, one, 0).astype("f8")
            scores = bent(tf.constant(points)).numpy()[:, 1]
            weights = np.sqrt(np.exp(-(((1 - np.sqrt(present.mean(1))) / 0.4) ** 2)))
            kept, expected = lars_support(present, scores, weights, most), np.zeros(12)
            expected[kept] = ridge(present[:, kept], scores, weights, alpha)
            np.testing.assert_allclose(found[row, ::2, ::2].ravel(), expected, atol=1e-6)


def test_lime_with_few_features_recovers_a_sparse_linear_model():
    weights = np.zeros(40, "f4")
    weights[[3, 17, 18, 31]] = [2.0, -1.5, 1.0, 0.7]
    net, x = oracles.load(lambda x: (x @ weights[:, None] + 9) * [[1.0, 2.0]], 40), images(40)
    # Of fewer samples than features.
    method = LIME(samples=35, alpha=0.0, baseline=0.5, features=4)
    np.testing.assert_allclose(method(net, x, 0), weights * (x - 0.5), atol=2e-5)


def correlated(seed, rows=30, columns=10):
    """Centred columns that lean on one another, so that some come in and leave again."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns))
    y = x @ rng.normal(size=columns) + rng.normal(size=rows)
    return x - x.mean(0), y - y.mean()


def test_the_lasso_path_where_unknowns_leave_again():
    x, y = (np.stack(each) for each in zip(*map(correlated, range(40)), strict=True))
    gram, right = np.einsum("nri,nrj->nij", x, x), np.einsum("nri,nr->ni", x, y)
    left = 0
    for most in (2, 5, 8):
        found = lasso_support(tf.constant(gram), tf.constant(right), most).numpy()
        for rows, values, own in zip(x, y, found, strict=True):
            sizes = (np.abs(lars_path(rows, values, method="lasso")[2]) > 1e-10).sum(0)
            left += (np.diff(sizes) < 0).sum()
            expected = lars_support(rows, values, np.ones(len(rows)), most)
            np.testing.assert_array_equal(np.flatnonzero(own), expected)
    assert left >= 10
    flat = lasso_support(tf.constant(gram), tf.zeros_like(right), 3)
    assert not np.any(flat)


def test_lime_recovers_a_linear_model():
    weights = oracles.draw(30)
    net = oracles.load(lambda x: (x @ weights[:, None] + 30) * [[1.0, 2.0]], 30)
    found = LIME(samples=120, alpha=0.0, baseline=0.5)(net, images(30), 0)
    np.testing.assert_allclose(found, weights * (images(30) - 0.5), atol=2e-4)
    # Of weights down to exp(-100), none is 0.
    narrow = LIME(samples=120, alpha=0.0, baseline=0.5, width=0.03)(net, images(30), 0)
    assert np.isfinite(narrow).all() and error(narrow, found) < 0.1


@pytest.mark.parametrize(
    "options", [{"samples": 61}, {"width": 0.5}, {"alpha": 2.0}, {"features": 4}], ids=str
)
def test_every_option_of_lime_changes_the_result(options):
    net, x = net_of(10, 8, 2), images(10, 8, 2)
    found, usual = (LIME(**{"segments": 3, "samples": 60} | o)(net, x, 1) for o in (options, {}))
    assert np.abs(found - usual).max() > 1e-3 * np.abs(usual).max()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (LIME, {"samples": 0}, "samples is 1 or more, not 0"),
        (LIME, {"width": 0.0}, "width is above 0"),
        (LIME, {"alpha": -1.0}, "alpha is 0 or more"),
        (LIME, {"features": 0}, "features is 1 or more to keep, or None, not 0"),
        (LIME, {"alpha": 0.0, "samples": 9, "features": 9}, "not determine 9 features and an"),
        (LIME, {"alpha": 0.0, "samples": 64}, "64 samples do not determine 64 features and an"),
        (KernelSHAP, {"samples": 255}, "255 samples are too few for 64 features. Take samples=256"),
        (SampledShapley, {"samples": 0}, "samples is 1 order or more, not 0"),
    ],
)
def test_numbers_that_do_not_do(kind, options, message):
    with pytest.raises(MethodError, match=message):
        kind(**options)(net_of(10, 8, 2), images(10, 8, 2), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("segments", "error", "message"),
    [
        (LABELS, InputError, r"shape \[4, 3\]; the positions of the input 'x' are \[10, 8\]"),
        (LABELS - 1, MethodError, "the label -1; labels are 0 or more"),
        (LABELS / 2, MethodError, "array are whole numbers.*not float64"),
        (LABELS[:0], MethodError, "array are whole numbers"),
        (0, MethodError, "1 cell or more along each axis.* not 0"),
        ((3, -1), MethodError, "1 cell or more"),
        (
            "quickshift",
            MethodError,
            "no kind of segments 'quickshift'. There is: grid",
        ),
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
