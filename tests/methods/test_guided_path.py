"""GuidedIG on networks whose answer is known. Equality with PAIR's: tests/peers."""

import numpy as np
import oracles
import pytest
import tensorflow as tf

from tfsal import GuidedIG
from tfsal.errors import MethodError


def linear(weights, dtype=tf.float64):
    *shape, _ = weights.shape
    flat = weights.reshape(-1, weights.shape[-1])
    return oracles.load(lambda x: tf.reshape(x, [-1, len(flat)]) @ flat, *shape, dtype=dtype)


def cubic(x):
    """Class c scores sum x^3 / 3 times c + 1, so its gradient is (c + 1) x^2."""
    total = tf.reduce_sum(x**3, axis=list(range(1, x.shape.rank))) / 3
    return total[:, tf.newaxis] * tf.constant([1.0, 2.0], x.dtype)


@pytest.mark.parametrize("shape", [(9,), (24, 2), (10, 8, 2), (6, 5, 4, 2)], ids=str)
@pytest.mark.parametrize("options", [{}, {"fraction": 0.03, "max_dist": 1.0}], ids=str)
def test_any_path_of_a_linear_model_gives_weights_times_input(shape, options):
    weights = oracles.draw(*shape, 3).astype("f8")
    x = oracles.draw(3, *shape, seed=3).astype("f8")
    answer = GuidedIG(steps=20, **options).explain(linear(weights), x, 1)
    np.testing.assert_allclose(answer.attribution, weights[..., 1] * x, atol=1e-12)
    np.testing.assert_allclose(answer.extras["completeness_gap"], 0, atol=1e-10)


def test_no_distance_keeps_to_the_line():
    """Then it is the left rule: x^2 at x * i / n has the sum x^2 (n - 1) (2 n - 1) / (6 n^2)."""
    n, x = 12, oracles.draw(2, 10, 8, 2).astype("f8")
    found = GuidedIG(steps=n, max_dist=0.0)(oracles.load(cubic, 10, 8, 2, dtype=tf.float64), x, 0)
    np.testing.assert_allclose(found, x**3 * (n - 1) * (2 * n - 1) / (6 * n * n), atol=1e-13)


def test_small_gradients_go_first():
    """The score is a + 2 b + 2 a b, and a's gradient is the smaller one at the baseline.

    With one value at a time and no limit a goes all its way, then b, and they get 1 and 4; on the
    straight line 2 and 3.
    """

    def model(x):
        return (x[:, 0] + 2 * x[:, 1] + 2 * x[:, 0] * x[:, 1])[:, tf.newaxis] * [[1.0, 0.0]]

    net = oracles.load(model, 2, dtype=tf.float64)
    x = np.ones((1, 2))
    free = GuidedIG(steps=2, fraction=0.1, max_dist=1.0)(net, x, 0)
    np.testing.assert_allclose(free, [[1, 4]])
    np.testing.assert_allclose(GuidedIG(steps=2000, max_dist=0.0)(net, x, 0), [[2, 3]], rtol=1e-3)


def test_values_whose_gradients_tie_move_together():
    net = linear(np.ones((7, 2)))
    x = oracles.draw(1, 7).astype("f8")
    found = GuidedIG(steps=3, fraction=0.01, max_dist=1.0)(net, x, 0)
    np.testing.assert_allclose(found, x, atol=1e-14)


def test_converges_to_completeness():
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(3, 10, 8, 2).astype("f8")
    gaps = [GuidedIG(steps=n).explain(net, x, 0).extras["completeness_gap"] for n in (100, 200)]
    np.testing.assert_allclose(gaps[0] / gaps[1], 2, rtol=0.1)


def test_the_gap_is_of_the_raw_sum():
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(3, 10, 8, 2).astype("f8")
    answer = GuidedIG(steps=5).explain(net, x, [0, 1, 0])
    gap = answer.attribution.numpy().sum((1, 2, 3)) - [1, 2, 1] * (x**3).sum((1, 2, 3)) / 3
    np.testing.assert_allclose(answer.extras["completeness_gap"], gap, atol=1e-12)
    assert np.all(np.abs(gap) > 1e-3)


def test_the_input_is_the_baseline():
    net = oracles.load(cubic, 10, 8, 2)
    x = oracles.draw(3, 10, 8, 2)
    x[1] = 0
    answer = GuidedIG(steps=5).explain(net, x, 0)
    assert not np.any(answer.attribution[1]) and answer.extras["completeness_gap"][1] == 0
    assert np.all(np.abs(answer.attribution.numpy()[[0, 2]]).sum((1, 2, 3)) > 0.1)


def test_a_gradient_that_is_no_number_ends_the_search():
    """The square root's gradient at 0 is infinite, and 0 times it is none."""
    net = oracles.load(lambda x: tf.sqrt(x * 0 * x) + x, 6, dtype=tf.float64)
    x = np.ones((2, 6))
    answer = GuidedIG(steps=3).explain(net, x, 0)
    assert np.isnan(answer.attribution).any() and answer.attribution.shape == (2, 6)


def test_infinite_gradients_of_one_row_leave_the_others_alone():
    net = oracles.load(lambda x: tf.sqrt(x + tf.constant([0.0, 1.0])), 2, dtype=tf.float32)
    alone = GuidedIG(steps=5)(net, np.ones((1, 2), "f4"), 1)
    both = GuidedIG(steps=5)(net, np.ones((2, 2), "f4"), [0, 1])
    np.testing.assert_array_equal(both[1], alone[0])
    assert not np.isfinite(both[0, 0])


@pytest.mark.parametrize("options", [{"steps": 199}, {"fraction": 0.5}, {"max_dist": 0.1}], ids=str)
def test_every_option_changes_the_result(options):
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(1, 10, 8, 2).astype("f8")
    found, usual = (GuidedIG(**o)(net, x, 0).numpy() for o in (options, {}))
    assert np.abs(found - usual).max() > 1e-5 * np.abs(usual).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 1 or more"),
        ({"fraction": 0.0}, "fraction is a share above 0"),
        ({"fraction": 1.5}, "fraction is a share"),
        ({"fraction": float("nan")}, "fraction is a share"),
        ({"max_dist": -0.1}, "max_dist is a share from 0 to 1"),
        ({"max_dist": 1.1}, "max_dist is a share"),
        ({"steps": 2.5}, "steps=2.5 is not of type int"),
    ],
    ids=str,
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(MethodError, match=message):
        GuidedIG(**options)
