"""Every method on networks whose explanation is known in closed form, and its symmetries."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import error

import tfsal
from tfsal import GradCAM, GradientTimesInput, HiResCAM, LayerCAM, VanillaGradient

each_rank = pytest.mark.parametrize("rank", [1, 2, 3])
each_cam = pytest.mark.parametrize("cam", [GradCAM, HiResCAM, LayerCAM])
CLASS = 2


@pytest.fixture(scope="module", params=[1, 2, 3], ids=["1-D", "2-D", "3-D"])
def gap(request):
    model = oracles.GapNet(request.param)
    return model, model.load(), model.images()


# ---------------------------------------------------------------- class activation maps


def test_grad_cam_before_its_relu_is_cam(gap):
    model, net, x = gap
    found = GradCAM(relu=False)(net, x, CLASS)
    assert error(found, model.cam(x, CLASS)) < 1e-6
    assert (found.numpy() < 0).any() and (found.numpy() > 0).any()


def test_grad_cam_keeps_the_positive_part(gap):
    model, net, x = gap
    assert error(GradCAM()(net, x, CLASS), np.maximum(model.cam(x, CLASS), 0)) < 1e-6


def test_hires_cam_sums_to_the_score_without_the_bias(gap):
    model, net, x = gap
    total = HiResCAM()(net, x, CLASS).numpy().sum(tuple(range(1, model.rank + 1)))
    assert error(total, model(x).numpy()[:, CLASS] - model.bias[CLASS]) < 1e-5


def test_layer_cam_takes_the_positive_weights_only(gap):
    model, net, x = gap
    assert error(LayerCAM()(net, x, CLASS), model.cam(x, CLASS, np.maximum(model.head, 0))) < 1e-6


def test_a_cam_that_is_negative_everywhere_is_zero():
    model = oracles.GapNet()
    model.head = -np.abs(model.head)
    answer = GradCAM().explain(model.load(), model.images(), CLASS)
    np.testing.assert_array_equal(answer.attribution, np.zeros((3, 10, 8)))
    np.testing.assert_array_equal(answer.heatmap, np.zeros((3, 10, 8)))


def test_a_dead_score_gives_zeros():
    """A zero head: no gradient anywhere, and no division by it."""
    model = oracles.GapNet()
    model.head = np.zeros_like(model.head)
    for method in (GradCAM(), HiResCAM(), LayerCAM(), VanillaGradient(), GradientTimesInput()):
        answer = method.explain(model.load(), model.images(), CLASS)
        assert not np.any(answer.attribution) and not np.any(answer.heatmap)


# ---------------------------------------------------------------- input gradients


@pytest.fixture(scope="module")
def quadratic():
    """score_c = sum q_c x^2 + l_c x: the gradient is 2 q_c x + l_c."""
    q, line = oracles.draw(4, 5, 3, oracles.CLASSES), oracles.draw(4, 5, 3, oracles.CLASSES, seed=1)

    def score(x):
        return tf.tensordot(x * x, q, 3) + tf.tensordot(x, line, 3)

    return q, line, oracles.load(score, 4, 5, 3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_of_a_quadratic_score(quadratic, jit_compile):
    q, line, net = quadratic
    x = oracles.draw(3, 4, 5, 3, seed=2)
    classes = np.array([0, 3, 1])
    gradient = np.stack([2 * q[..., c] * v + line[..., c] for c, v in zip(classes, x, strict=True)])
    for method, expected in ((VanillaGradient(), gradient), (GradientTimesInput(), gradient * x)):
        assert error(method(net, x, classes, jit_compile=jit_compile), expected) < 1e-6


def test_gradient_times_input_of_a_linear_model_sums_to_the_score():
    weights = oracles.draw(60, oracles.CLASSES)
    net = oracles.load(lambda x: tf.reshape(x, [-1, 60]) @ weights, 4, 5, 3)
    answer = GradientTimesInput().explain(net, oracles.draw(3, 4, 5, 3, seed=2), [0, 1, -1])
    assert error(tf.reduce_sum(answer.attribution, [1, 2, 3]), answer.score) < 1e-6


def test_gradients_are_exact_where_the_softmax_is_saturated():
    """Logits of 100: through the softmax the gradient would be 1e-44."""
    weights = 100 * oracles.draw(60, oracles.CLASSES)
    net = oracles.load(lambda x: tf.nn.softmax(tf.reshape(x, [-1, 60]) @ weights), 4, 5, 3)
    found = VanillaGradient()(net, oracles.draw(2, 4, 5, 3), CLASS)
    expected = np.broadcast_to(weights[:, CLASS].reshape(4, 5, 3), (2, 4, 5, 3))
    np.testing.assert_array_equal(found, expected)
    through = VanillaGradient(target=tfsal.ClassScore(logits=False))
    assert np.abs(through(net, oracles.draw(2, 4, 5, 3), CLASS)).max() < 1e-6


@pytest.mark.parametrize("shape", [(30,), (2, 30)], ids=["vector", "matrix"])
def test_a_vector_has_positions_and_no_channels(shape):
    weights = oracles.draw(int(np.prod(shape)), oracles.CLASSES)
    net = oracles.load(lambda x: tf.reshape(x, [-1, weights.shape[0]]) @ weights, *shape)
    answer = VanillaGradient().explain(net, oracles.draw(2, *shape), 0)
    assert answer.attribution.shape == (2, *shape)
    assert answer.heatmap.shape == (2, shape[0])
    assert np.min(answer.heatmap) == 0 and np.max(answer.heatmap) == 1


# ---------------------------------------------------------------- symmetries


@each_cam
def test_the_order_of_channels_does_not_matter(gap, cam):
    model, net, x = gap
    order = np.random.default_rng(3).permutation(6)
    other = oracles.GapNet(model.rank)
    other.kernel, other.head = model.kernel[..., order], model.head[order]
    assert error(cam()(other.load(), x, CLASS), cam()(net, x, CLASS)) < 1e-5


@pytest.mark.parametrize(
    "method", [GradCAM(), HiResCAM(), LayerCAM(), VanillaGradient(), GradientTimesInput()], ids=str
)
def test_a_scaled_head_scales_the_map_and_keeps_the_picture(gap, method):
    model, net, x = gap
    other = oracles.GapNet(model.rank)
    other.head, other.bias = 8 * model.head, 8 * model.bias
    scaled, answer = method.explain(other.load(), x, CLASS), method.explain(net, x, CLASS)
    np.testing.assert_array_equal(scaled.attribution, 8 * answer.attribution)
    np.testing.assert_allclose(scaled.heatmap, answer.heatmap, atol=1e-6)
    np.testing.assert_array_equal(scaled.class_index, answer.class_index)


@each_rank
@pytest.mark.parametrize("method", [GradCAM(), HiResCAM(), LayerCAM(), VanillaGradient()], ids=str)
def test_the_map_moves_with_the_image(rank, method):
    model = oracles.GapNet(rank, circular=True)
    net, x = model.load(), model.images()
    shift, axes = (3, 2, 1)[:rank], tuple(range(1, rank + 1))
    moved = method(net, np.roll(x, shift, axes), CLASS)
    assert error(moved, np.roll(method(net, x, CLASS), shift, axes)) < 1e-5


@pytest.mark.parametrize("method", [GradCAM(), HiResCAM(), LayerCAM(), VanillaGradient()], ids=str)
def test_other_weights_give_another_map(gap, method):
    model, net, x = gap
    other = oracles.GapNet(model.rank, seed=10)
    assert error(method(other.load(), x, CLASS), method(net, x, CLASS)) > 0.1


def test_a_signal_is_an_image_one_pixel_high():
    model = oracles.GapNet(1)
    x = model.images()

    def as_image(image):
        return model(tf.squeeze(image, 1))

    for method in (GradCAM(), HiResCAM(), LayerCAM(), VanillaGradient()):
        flat = method(model.load(), x, CLASS)
        net = oracles.load(as_image, 1, *model.spatial, 2)
        found = method(net, x[:, np.newaxis], CLASS)
        assert error(tf.reshape(found, flat.shape), flat) < 1e-6
