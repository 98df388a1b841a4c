"""Custom gradients: the natural ones go through, a lost one is an error, no wrong number."""

import networks
import numpy as np
import pytest
import tensorflow as tf
from networks import batch, plain, plain_weights
from reference import assert_same, differentiate, tfsal_answer

import tfsal
from tfsal.errors import GradientError

SPEC = tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")


def straight_through(forward):
    """`forward` with the gradient of the identity."""
    return tf.custom_gradient(lambda x: (forward(x), lambda g: g))


@tf.custom_gradient
def second_result_rounds(x):
    return (tf.tanh(x), tf.round(x)), lambda g, h: g + h


@tf.function
def call_rounding(x):
    return straight_through(tf.round)(x * 4)


def in_a_loop(x):
    """The custom gradient is in a function that the body of a loop calls."""
    return tf.while_loop(lambda i, _: i < 2, lambda i, s: (i + 1, call_rounding(s)), [0, x])[1]


LOST = {
    "round": straight_through(lambda x: tf.round(x * 4)),
    "int cast": straight_through(lambda x: tf.cast(tf.cast(x * 4, tf.int32), tf.float32)),
    "sign": straight_through(tf.sign),
    "step": straight_through(lambda x: tf.cast(x > 0.5, tf.float32)),
    "floor division": straight_through(lambda x: tf.math.floordiv(x, 0.25)),
    "second result": lambda x: second_result_rounds(x)[1],
    "loop": in_a_loop,
}
NATURAL = {
    "silu": tf.nn.silu,
    "softplus": tf.custom_gradient(
        lambda x: (tf.math.log1p(tf.exp(x)), lambda g: g * tf.sigmoid(x))
    ),
    "first result": lambda x: second_result_rounds(x)[0],
}


@pytest.fixture(params=["live", "saved"])
def load(request, tmp_path):
    """tfsal.load of the plain network with `middle` between features and logits."""

    def load(middle):
        module = networks.PlainModule(middle)
        function = module.__call__.get_concrete_function()
        if request.param == "live":
            return tfsal.load(function)
        tf.saved_model.save(module, str(tmp_path), signatures=function)
        return tfsal.load(tmp_path)

    return load


@pytest.mark.parametrize("name", NATURAL)
def test_natural(name, load):
    x, classes = batch(3, 16, 16, 3), [0, -1, 1]

    def run(tensors):
        middles = {"silu": tf.nn.silu, "softplus": tf.nn.softplus, "first result": tf.tanh}
        values = plain(tensors[0], plain_weights(), middles[name])
        return values["features"], values["logits"]

    net = load(NATURAL[name])
    assert_same(tfsal_answer(net, [x], classes), differentiate(run, [x], classes))


@pytest.mark.filterwarnings("ignore:Part of the score")
@pytest.mark.parametrize("name", LOST)
def test_lost(name, load):
    net, x = load(LOST[name]), batch(2, 16, 16, 3)
    (lost,) = net.lost_gradients
    for method in (tfsal.GradCAM("features"), tfsal.VanillaGradient()):
        with pytest.raises(GradientError, match=f"replaces the gradient of '{lost}'"):
            method(net, x)
    # Past it, everything works, and so does the forward pass.
    layer = [n.name for n in net.graph_def.node if n.op == "Tanh"][-1]
    cam = tfsal.GradCAM(layer + ":0")(net, x)
    assert cam.shape == (2, 8, 8) and np.abs(cam).max() > 0


def test_a_lost_gradient_beside_the_way_does_no_harm():
    """An output of its own that rounds: only explaining it is an error."""

    def both(image):
        values = plain(image, plain_weights())
        return {"logits": values["logits"], "coarse": LOST["round"](values["logits"])}

    net, x = tfsal.load(both, specs=SPEC), batch(2, 16, 16, 3)
    assert net.lost_gradients
    assert np.abs(tfsal.VanillaGradient(target=tfsal.ClassScore("logits"))(net, x)).max() > 0
    with pytest.raises(GradientError, match="replaces the gradient"):
        tfsal.VanillaGradient(target=tfsal.ClassScore("coarse"))(net, x)
