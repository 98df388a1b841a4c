"""What must not mix: neighbours in a batch, inputs of a model and their dtypes, regions."""

import keras
import networks
import numpy as np
import pytest
import tensorflow as tf
from reference import error

import tfsal
from tfsal.errors import GradientError, InputError, MethodError

CUBE = np.stack([np.full([4], 4.0), np.full([4], 1e-3)]).astype("float32")


def half_cube(x):
    h = tf.cast(x, tf.float16)
    return tf.cast(tf.reduce_sum(h * h * h, 1, keepdims=True), tf.float32) * [1.0, -1.0]


def test_a_neighbour_whose_float16_gradient_overflows_changes_nothing():
    net = tfsal.load(half_cube, specs=tf.TensorSpec([None, 4], name="x"))
    both = tfsal.VanillaGradient()(net, CUBE, 0)
    np.testing.assert_array_equal(both[1:], tfsal.VanillaGradient()(net, CUBE[1:], 0))
    np.testing.assert_allclose(both, 3 * CUBE**2, rtol=2e-2)


def test_a_jump_at_the_input_is_told_and_not_divided_for_ever():
    def step(x):
        jump = 5 * tf.cast(x[:, :1] >= 1, tf.float32)
        return (tf.reduce_sum(x, 1, keepdims=True) + jump) * [1.0, -1.0]

    net = tfsal.load(step, specs=tf.TensorSpec([None, 3], name="x"))
    method = tfsal.IntegratedGradients(tolerance=0.01, max_steps=128)
    with pytest.warns(UserWarning, match="1 of 2 explanations did not come within"):
        answer = method.explain(net, np.array([[1, 2, 3], [0.5, 2, 3]], "float32"), 0)
    np.testing.assert_array_equal(answer.extras["tolerance_reached"], [False, True])
    np.testing.assert_allclose(answer.attribution, [[1, 2, 3], [0.5, 2, 3]], rtol=1e-5)
    assert 20 < answer.extras["evaluations"][0] < 128


# ---------------------------------------------------------------- several inputs


def towers(bias):
    """Two images, each through a convolution and a ReLU of its own."""
    rng = np.random.default_rng(0)
    kernels = [tf.constant(rng.normal(size=[3, 3, 2, 4]), tf.float32) for _ in range(2)]

    def model(left, right):
        h = tf.nn.relu(tf.nn.conv2d(left, kernels[0], 1, "SAME") + tf.constant([0.1, -0.2, 0.3, 0]))
        k = tf.nn.relu(tf.nn.conv2d(right, kernels[1], 1, "SAME") + tf.constant(bias, tf.float32))
        score = tf.reduce_mean(h, [1, 2]) + tf.reduce_mean(k, [1, 2])
        return {"score": score}

    specs = [tf.TensorSpec([None, 6, 6, 2], name=name) for name in ("left", "right")]
    return tfsal.load(model, specs=specs)


def test_fullgrad_of_an_input_has_the_biases_of_its_own_layers():
    feeds = dict(zip(("left", "right"), networks.batch(2, 3, 6, 6, 2), strict=True))
    method = tfsal.FullGrad(rescale=False)
    first = method.explain(towers([0.2, 0.1, 0.4, 0.3]), feeds, 1)
    other = method.explain(towers([2.0, 1.0, 4.0, 3.0]), feeds, 1)
    np.testing.assert_allclose(first.attribution["left"], other.attribution["left"], rtol=1e-5)
    assert error(first.attribution["right"], other.attribution["right"]) > 0.1
    assert np.abs(first.extras["completeness_gap"]).max() < 1e-5


WEIGHTS = tf.constant([[1.0, -1.0], [0.5, 2.0], [-1.0, 0.3]])


def two_dtypes(a, b):
    h = tf.tanh(tf.matmul(a, WEIGHTS)) + tf.cast(tf.sin(tf.reduce_sum(b, 1))[:, None], tf.float32)
    return h * [1.0, 2.0]


@pytest.mark.parametrize(
    "method",
    [
        tfsal.IntegratedGradients(steps=64),
        tfsal.IntegratedGradients(tolerance=0.01),
        tfsal.GuidedIG(steps=200),
    ],
    ids=["rule", "tolerance", "guided"],
)
def test_inputs_of_two_dtypes(method):
    specs = [tf.TensorSpec([None, 3], tf.float32, "a"), tf.TensorSpec([None, 2], tf.float64, "b")]
    net = tfsal.load(two_dtypes, specs=specs)
    feeds = {"a": networks.batch(3, 3, 3)[0], "b": networks.batch(3, 2, 2)[:, 0].astype("f8")}
    answer = method.explain(net, feeds, 0)
    assert answer.attribution.keys() == feeds.keys()
    total = sum(value.numpy().sum(1) for value in answer.attribution.values())
    start = net.as_function()(a=tf.zeros([3, 3]), b=tf.zeros([3, 2], tf.float64))["output_0"][:, 0]
    change = (answer.score - start).numpy()
    np.testing.assert_allclose(total, change, rtol=0.05, atol=1e-3)
    np.testing.assert_allclose(total - change, answer.extras["completeness_gap"], atol=1e-6)


def test_a_rule_is_asked_of_activations_behind_what_is_explained_only():
    def model(a, b):
        return tf.concat([tf.nn.relu(a), -tf.nn.relu(a)], 1) + tf.tanh(b)

    specs = [tf.TensorSpec([None, n], name=name) for name, n in (("a", 2), ("b", 4))]
    net = tfsal.load(model, specs=specs)
    feeds = {"a": np.array([[1.0, -2.0]], "f4"), "b": np.ones([1, 4], "f4")}
    found = tfsal.GuidedBackprop(inputs="a")(net, feeds, 0)
    np.testing.assert_array_equal(found, [[1, 0]])
    with pytest.raises(GradientError, match="[Tt]anh"):
        tfsal.GuidedBackprop()(net, feeds, 0)


def test_references_for_an_input_that_is_not_explained():
    net = towers([0, 0, 0, 0])
    some = np.zeros([2, 6, 6, 2])
    for wrong in ("rigth", "left2"):
        method = tfsal.ExpectedGradients(references={"left": some, "right": some, wrong: some})
        with pytest.raises(InputError, match=f"references for '{wrong}'"):
            method.check(net)


# ---------------------------------------------------------------- regions, fixed batches


def test_a_region_goes_with_its_example_into_every_sample():
    net = tfsal.load(networks.unet())
    x = networks.batch(3, 16, 16, 3)
    region = np.zeros([3, 16, 16], "float32")
    for i in range(3):
        region[i, 4 * i : 4 * i + 5, 2:9] = 1 + i
    target = tfsal.RegionScore()
    base = tfsal.VanillaGradient(target=target)
    smooth = tfsal.SmoothGrad(base, samples=3, stdev=0.0)
    expected = base(net, x, 1, region=region)
    assert error(smooth(net, x, 1, region=region), expected) < 1e-5
    answer = tfsal.IntegratedGradients(steps=128, target=target).explain(net, x, 1, region=region)
    assert np.abs(answer.extras["completeness_gap"] / answer.score).max() < 0.02


@pytest.mark.parametrize(
    "method",
    [
        tfsal.IntegratedGradients(steps=5),
        tfsal.SmoothGrad(samples=3),
        tfsal.BlurIG(steps=4),
        tfsal.GuidedIG(steps=6),
        tfsal.IntegratedGradients(steps=5, baseline="black_and_white"),
    ],
    ids=["IG", "SmoothGrad", "BlurIG", "GuidedIG", "two baselines"],
)
def test_a_model_of_fixed_batches(method):
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Conv2D(4, 3, activation="softplus"),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
    ]
    nets = []
    for batch in (None, 2):
        image = h = keras.Input(batch_shape=(batch, 8, 8, 2))
        for layer in layers:
            h = layer(h)
        nets.append(tfsal.load(keras.Model(image, h)))
    x = networks.batch(2, 8, 8, 2)
    expected, found = (method(net, x, [0, 2], seed=[3, 4]) for net in nets)
    assert error(found, expected) < 1e-5


# ---------------------------------------------------------------- refused


def test_a_tolerance_inside_noise_is_refused():
    with pytest.raises(MethodError, match="steps= instead of tolerance="):
        tfsal.SmoothGrad(tfsal.IntegratedGradients(tolerance=0.1))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"baseline": 1e39}, InputError, "beyond the float32"),
        ({"baseline": np.full([4], 1e39)}, InputError, "beyond the float32"),
        ({"baseline": (0.0, 1.0)}, MethodError, "one baseline, or"),
    ],
)
def test_a_baseline_that_does_not_fit(options, kind, message):
    net = tfsal.load(half_cube, specs=tf.TensorSpec([None, 4], name="x"))
    with pytest.raises(kind, match=message):
        tfsal.IntegratedGradients(**options)(net, CUBE, 0)


@pytest.mark.parametrize("options", [{"start": np.nan}, {"noise": np.inf}, {"step_size": np.inf}])
def test_an_ascent_of_infinities_is_refused(options):
    with pytest.raises(MethodError):
        tfsal.ActivationMaximization(**options)
