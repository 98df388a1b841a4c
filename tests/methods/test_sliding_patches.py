"""Occlusion against brute force. Equality with PAIR's: tests/peers."""

import itertools

import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import error
from test_perturbation import bent

from tfsal import Occlusion
from tfsal.errors import InputError, MethodError


def by_hand(score, x, begins, patch, start=0.0):
    """Sums of drops and numbers of patches at each position of one input [*positions, C]."""
    total, coverage = np.zeros((2, *x.shape[:-1]))
    for corner in itertools.product(*begins):
        where = tuple(slice(b, b + p) for b, p in zip(corner, patch, strict=True))
        hidden = x.copy()
        hidden[where] = start
        total[where] += score(x) - score(hidden)
        coverage[where] += 1
    return total, coverage


@pytest.mark.parametrize(
    ("shape", "patch", "stride", "begins"),
    [
        ((11, 2), 4, 3, [[0, 3, 6, 7]]),  # The last one ends at the end.
        ((7, 6, 2), (3, 2), (2, 1), [[0, 2, 4], [0, 1, 2, 3, 4]]),
        ((7, 6, 2), 6, None, [[0, 1], [0]]),
        ((17, 6, 1), None, None, [[0, 2, 4, 6, 8, 10, 12, 14], range(6)]),
        ((4, 3, 5, 2), 2, 2, [[0, 2], [0, 1], [0, 2, 3]]),
    ],
    ids=str,
)
def test_equals_brute_force(shape, patch, stride, begins):
    net = oracles.load(bent, *shape, dtype=tf.float64)
    x = oracles.draw(2, *shape, seed=3).astype("f8")

    def score(one):
        return bent(tf.constant(one[np.newaxis])).numpy()[0, 2]

    sizes = [3 if n == 17 else 1 for n in shape] if patch is None else patch
    sizes = sizes if isinstance(sizes, list | tuple) else [sizes] * (len(shape) - 1)
    options = {"patch": patch, "stride": stride, "baseline": 0.25}
    sums = Occlusion(normalize=False, **options)(net, x, 2)
    means = Occlusion(**options)(net, x, 2)
    shares = Occlusion(measure="fraction", **options)(net, x, 2)
    for row, one in enumerate(x):
        total, coverage = by_hand(score, one, begins, sizes[: len(begins)], 0.25)
        assert coverage.min() >= 1
        assert error(sums[row], total) < 1e-10
        assert error(means[row], total / coverage) < 1e-10
        assert error(shares[row], total / coverage / abs(score(one))) < 1e-10


@pytest.mark.parametrize("shape", [(9,), (24, 2), (6, 5, 2), (4, 3, 2, 2)], ids=str)
def test_a_linear_model_gives_weights_times_input(shape):
    weights = oracles.draw(*shape).astype("f8")

    def linear(x):
        return tf.reshape(x, [-1, weights.size]) @ weights.reshape(-1, 1) * [[1.0, -2.0]]

    x = oracles.draw(2, *shape, seed=1).astype("f8")
    net = oracles.load(linear, *shape, dtype=tf.float64)
    found = Occlusion(patch=1, baseline=0.5)(net, x, 1)
    shares = -2 * weights * (x - 0.5)
    np.testing.assert_allclose(found, shares if len(shape) == 1 else shares.sum(-1), atol=1e-12)
    whole = Occlusion(patch=shape[: max(1, len(shape) - 1)], normalize=False, baseline=0.5)(
        net, x, 1
    )
    np.testing.assert_allclose(
        whole.numpy().reshape(2, -1)[:, -1], shares.reshape(2, -1).sum(1), atol=1e-12
    )


def test_a_score_of_zero_has_no_fractions():
    net = oracles.load(lambda x: tf.stack([x[:, 0] * 0, x[:, 0]], 1), 3)
    assert not Occlusion(measure="fraction")(net, np.ones((1, 3), "f4"), 0).numpy().any()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"patch": 0}, MethodError, "patch is 1 position or more, not 0"),
        ({"stride": 0}, MethodError, "stride is 1 position or more, not 0"),
        ({"stride": (2, -1)}, MethodError, "stride is 1 position or more"),
        ({"patch": 2.5}, MethodError, "patch=2.5 is not of type"),
        ({"measure": "ratio"}, MethodError, "measure='ratio' is not of type"),
        ({"patch": 7}, InputError, r"larger than the input 'x', whose axis 1.*Take patch=6"),
        ({"patch": (2, 2, 2)}, InputError, r"for 3 axes; the positions of the input are \[7, 6\]"),
        ({"patch": 2, "stride": 3}, InputError, "never be hidden. Take stride=2"),
    ],
    ids=str,
)
def test_bad_values_are_refused_before_any_work(options, kind, message):
    evaluated = []

    def model(x):
        evaluated.append(x)
        return bent(x)

    net = oracles.load(model, 7, 6, 2)
    evaluated.clear()
    with pytest.raises(kind, match=message):
        Occlusion(**options)(net, oracles.draw(1, 7, 6, 2), 0)
    assert not evaluated


def test_a_model_that_takes_any_size_is_refused():
    net = oracles.load(lambda x: tf.reduce_mean(x, [1, 2]), None, None, 3)
    with pytest.raises(InputError, match=r"takes \[None, None, None, 3\], any size.*specs="):
        Occlusion()(net, oracles.draw(1, 8, 8, 3), 0)
