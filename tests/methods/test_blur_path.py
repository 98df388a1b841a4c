"""BlurIG against closed forms and a float64 twin; in batches, under XLA, and at the edges."""

import networks
import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import error

import tfsal
from tfsal import BlurIG
from tfsal.errors import MethodError
from tfsal.methods import rules

RULES = ["midpoint", "gauss_legendre", "trapezoid", "left", "right"]


def kernel(sigma, length):
    """[length, length]: a sampled Gaussian, which sums to 1 over all offsets; zeros outside."""
    if sigma == 0:
        return np.eye(length)
    offsets = np.arange(-1000, 1001)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    places = np.arange(length)
    return (weights / weights.sum())[np.subtract.outer(places, places) + 1000]


def blur(x, sigma, axes):
    for axis in axes:
        x = np.moveaxis(np.tensordot(kernel(sigma, x.shape[axis]), x, [[1], [axis]]), 0, axis)
    return x


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((24, 2), [1]),
        ((24,), [1]),
        ((10, 8, 2), [1, 2]),
        ((6, 5, 4, 2), [1, 2, 3]),
        ((300, 1), [1]),
    ],
    ids=str,
)
def test_a_linear_model_gets_its_weights_times_what_the_blur_took(shape, axes):
    weights = oracles.draw(*shape, oracles.CLASSES).astype("f8")
    flat = weights.reshape(-1, oracles.CLASSES)
    net = oracles.load(lambda x: tf.reshape(x, [-1, len(flat)]) @ flat, *shape, dtype=tf.float64)
    x = oracles.draw(2, *shape, seed=3).astype("f8")
    answer = BlurIG(max_sigma=4.0, steps=80, rule="gauss_legendre").explain(net, x, 1)
    expected = weights[..., 1] * (x - blur(x, 4.0, axes))
    np.testing.assert_allclose(answer.attribution, expected, atol=1e-10)
    np.testing.assert_allclose(answer.extras["completeness_gap"], 0, atol=1e-9)


def test_channels_first():
    weights = oracles.draw(3, 16, 12, oracles.CLASSES).astype("f8")
    identity = tf.constant(np.eye(3)[np.newaxis, np.newaxis])

    def first(x):  # The convolution tells where the channels are.
        h = tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]), identity, 1, "SAME")
        return tf.tensordot(h, weights.transpose([1, 2, 0, 3]), 3)

    net = oracles.load(first, 3, 16, 12, dtype=tf.float64)
    x = oracles.draw(1, 3, 16, 12, seed=3).astype("f8")
    found = BlurIG(max_sigma=4.0, steps=80, rule="gauss_legendre")(net, x, 1)
    expected = weights[..., 1] * (x - blur(x, 4.0, [2, 3]))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def cubic(x):
    """Class c scores sum x^3 / 3 times c + 1, so its gradient is (c + 1) x^2."""
    total = tf.reduce_sum(x**3, axis=list(range(1, x.shape.rank))) / 3
    return total[:, tf.newaxis] * tf.constant([1.0, 2.0], x.dtype)


def sigmas(spacing, widest, places):
    return {
        "linear": widest * places,
        "variance": np.sqrt(widest**2 * places),
        "logarithmic": np.exp(np.log(1 + widest) * places) - 1,
    }[spacing]


def twin(x, widest, spacing, places, weights):
    """Xu et al. 2020, eq. 6: the sum over places p of -g(L) dL/dp, dL/dp by differences."""
    total = 0
    for place, weight in zip(places, weights, strict=True):
        step = 1e-4 if 1e-3 < place < 1 - 1e-3 else 0
        sigma = sigmas(spacing, widest, place)
        if step:
            ahead, behind = (sigmas(spacing, widest, place + s) for s in (step, -step))
            change = (blur(x, ahead, [1, 2]) - blur(x, behind, [1, 2])) / (2 * step)
        elif place < 0.5:
            change = 0
        else:
            change = (
                blur(x, sigma, [1, 2]) - blur(x, sigmas(spacing, widest, place - 1e-5), [1, 2])
            ) / 1e-5
        total = total - weight * blur(x, sigma, [1, 2]) ** 2 * change
    return total


@pytest.mark.parametrize("spacing", ["linear", "variance", "logarithmic"])
@pytest.mark.parametrize("rule", RULES)
def test_equals_the_twin(rule, spacing):
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(2, 10, 8, 2).astype("f8")
    found = BlurIG(max_sigma=2.5, steps=6, rule=rule, spacing=spacing)(net, x, 0)
    expected = twin(x, 2.5, spacing, *rules.nodes(rule, 6))
    assert error(found, expected) < 1e-4


@pytest.mark.parametrize(
    ("rule", "factor"), [("midpoint", 4), ("trapezoid", 4), ("left", 2), ("right", 2)]
)
def test_order_of_convergence(rule, factor):
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(3, 10, 8, 2).astype("f8")
    gaps = [
        BlurIG(max_sigma=3.0, steps=n, rule=rule).explain(net, x, 0).extras["completeness_gap"]
        for n in (65, 129)
    ]
    assert np.all(np.abs(gaps[0]) > 1e-8)
    np.testing.assert_allclose(gaps[0] / gaps[1], factor, rtol=0.1)


def test_the_gap_is_of_the_raw_sum():
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(3, 10, 8, 2).astype("f8")
    answer = BlurIG(max_sigma=3.0, steps=5).explain(net, x, [0, 1, 0])
    scale = np.array([1, 2, 1])
    change = scale * ((x**3).sum((1, 2, 3)) - (blur(x, 3.0, [1, 2]) ** 3).sum((1, 2, 3))) / 3
    gap = answer.attribution.numpy().sum((1, 2, 3)) - change
    np.testing.assert_allclose(answer.extras["completeness_gap"], gap, atol=1e-10)
    assert np.all(np.abs(gap) > 1e-3)


# ---------------------------------------------------------------- pictures of nothing


def test_a_picture_without_details():
    """Far from the borders the blur of a constant is the constant."""
    net = oracles.load(cubic, 60, 2, dtype=tf.float64)
    found = BlurIG(max_sigma=2.0, steps=9)(net, np.ones((1, 60, 2)), 0).numpy()
    np.testing.assert_allclose(found[:, 13:-13], 0, atol=1e-9)
    assert np.all(found[:, [0, -1]] > 0.1)


def test_a_black_picture():
    net = oracles.load(cubic, 10, 8, 2)
    answer = BlurIG(steps=4).explain(net, np.zeros((2, 10, 8, 2), "f4"), 0)
    assert not np.any(answer.attribution) and not np.any(answer.extras["completeness_gap"])


def test_only_named_inputs_are_blurred(built):
    net = tfsal.load(built("two inputs"))
    x = {"image": networks.batch(2, 16, 16, 3), "meta": networks.batch(2, 4, 1)[..., 0]}
    age = tfsal.ClassScore("age")
    one = BlurIG(inputs="image", target=age, steps=4).explain(net, x, 1)
    both = BlurIG(target=age, steps=4).explain(net, x, 1)
    assert one.attribution.shape == (2, 16, 16, 3)
    assert both.attribution.keys() == {"image", "meta"}
    assert error(both.attribution["image"], one.attribution) > 1e-4


# ---------------------------------------------------------------- hyperparameters


@pytest.mark.parametrize(
    "options",
    [
        {"max_sigma": 5.0},
        {"steps": 31},
        {"rule": "trapezoid"},
        {"rule": "pair"},
        {"spacing": "linear"},
        {"spacing": "variance"},
    ],
    ids=str,
)
def test_every_option_changes_the_result(options):
    net = oracles.load(cubic, 10, 8, 2, dtype=tf.float64)
    x = oracles.draw(2, 10, 8, 2).astype("f8")
    assert error(BlurIG(**options)(net, x, 0), BlurIG()(net, x, 0)) > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 1 or more"),
        ({"rule": "pair", "steps": 0}, "steps is 1 or more"),
        ({"rule": "trapezoid", "steps": 1}, "2 or more"),
        ({"max_sigma": 0}, "max_sigma is a width in positions, above 0"),
        ({"max_sigma": -1.0}, "max_sigma is a width"),
        ({"max_sigma": float("nan")}, "max_sigma is a width"),
        ({"max_sigma": float("inf")}, "max_sigma is a width"),
        ({"steps": 2.5}, "steps=2.5 is not of type int"),
        ({"rule": "simpson"}, "rule='simpson' is not of type"),
        ({"spacing": "log"}, "spacing='log' is not of type"),
    ],
    ids=str,
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(MethodError, match=message):
        BlurIG(**options)
