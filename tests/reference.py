"""The oracle: a model run eagerly under a GradientTape, with none of tfsal's code."""

import contextlib
import typing

import numpy as np
import tensorflow as tf

import tfsal
from tfsal.methods.request import Request

ALIVE = 1e-4


class Answer(typing.NamedTuple):
    """What a model says: of N examples, the explained score and its gradients."""

    activations: np.ndarray
    score: np.ndarray
    at_layer: np.ndarray
    at_inputs: list
    grad_cam: np.ndarray


def differentiate(run, inputs, class_index):
    """Eager reference.

    Args:
      run: function from a list of tensors to (activations of the layer, logits [N, K]).
      inputs: list of arrays.
      class_index: [N] ints, -1 for top-1.
    """
    inputs = [tf.constant(x) for x in inputs]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        activations, logits = run(inputs)
        if logits.shape[-1] == 1:
            logits = tf.concat([-logits, logits], axis=-1)
        top = tf.argmax(logits, axis=-1, output_type=tf.int32)
        classes = tf.where(tf.constant(class_index) < 0, top, class_index)
        score = tf.gather(logits, classes, axis=-1, batch_dims=1)
    at_layer = tape.gradient(score, activations).numpy()
    at_inputs = [tape.gradient(score, x).numpy() for x in inputs]
    a = activations.numpy()
    # An input of scale 60 has gradients 60 times smaller.
    scaled = [g * np.abs(x).max() for g, x in zip(at_inputs, inputs, strict=True)]
    for name, value in (("layer", at_layer), *(("input", g) for g in scaled)):
        if not np.abs(value).max() > ALIVE:
            raise AssertionError(f"The reference gradient at the {name} is dead: {value.max()}")
    weights = at_layer.mean(tuple(range(1, a.ndim - 1)), keepdims=True)
    cam = np.maximum((a * weights).sum(-1), 0)
    return Answer(a, score.numpy(), at_layer, at_inputs, cam)


def keras_answer(model, inputs, class_index, layer="features", logits="predictions"):
    """The reference for a Keras 3 or tf_keras model; `logits` is the layer that squashes."""
    return differentiate(keras_run(model, layer, logits), inputs, class_index)


def keras_run(model, layer, logits):
    """Function from a list of tensors to (activations of the layer, logits)."""
    taken = {layer: None, logits: None}
    parts = [*model._flatten_layers(), *getattr(model, "operations", ())]
    layers = {x.name: x for x in parts if x.name in taken}

    def run(tensors):
        with contextlib.ExitStack() as stack:
            stack.enter_context(_linear(layers[logits]))
            for name in taken:
                stack.enter_context(_tapped(layers[name], name, taken))
            model(tensors[0] if len(tensors) == 1 else tensors, training=False)
        return taken[layer], taken[logits]

    return run


@contextlib.contextmanager
def _linear(layer):
    squash, layer.activation = layer.activation, lambda x: x
    yield
    layer.activation = squash


@contextlib.contextmanager
def _tapped(layer, name, taken):
    call = layer.call

    def tapped(*args, **kwargs):
        taken[name] = call(*args, **kwargs)
        return taken[name]

    layer.call = tapped
    yield
    del layer.call


def tfsal_answer(net, inputs, class_index, layer="features", target=None):
    """The same numbers by tfsal, everything through what its methods use."""
    target = target or class_score(net)
    feeds = feeds_of(net, inputs)
    wanted = tf.constant(class_index)
    tensor = net.resolve(layer)

    @tf.function(autograph=False)
    def ask():
        given = {name: tf.constant(value) for name, value in feeds.items()}
        request = Request(net, target, given, wanted)
        (at_layer,) = request.gradients([tensor])
        return net.apply(feeds, [layer])[0], request.score, at_layer

    activations, score, at_layer = (t.numpy() for t in ask())
    gradients = tfsal.VanillaGradient(target=target)(net, feeds, class_index)
    at_inputs = [gradients[k].numpy() for k in feeds] if len(feeds) > 1 else [gradients.numpy()]
    cam = tfsal.GradCAM(layer=layer, target=target)(net, feeds, class_index).numpy()
    return Answer(activations, score, at_layer, at_inputs, cam)


def feeds_of(net, inputs):
    """{input name: array}, matched by shape: sources name and order their inputs differently."""
    return {
        name: x
        for x in inputs
        for name, info in net.inputs.items()
        if info.shape.is_compatible_with(x.shape)
    }


def class_score(net):
    """The target that explains the classes of a model, the last of its outputs of most values."""
    output = max(net.outputs.values(), key=lambda info: info.shape[-1] or 0)
    return tfsal.ClassScore(output=output.name)


def error(mine, reference):
    """max|a-b| / max|b|."""
    mine, reference = np.asarray(mine, np.float64), np.asarray(reference, np.float64)
    assert mine.shape == reference.shape, f"{mine.shape} instead of {reference.shape}"
    return float(np.abs(mine - reference).max() / np.abs(reference).max())


def errors(mine, reference):
    """{what: error} of two Answers."""
    found = {
        name: error(getattr(mine, name), getattr(reference, name))
        for name in ("activations", "score", "at_layer", "grad_cam")
    }
    pairs = zip(mine.at_inputs, reference.at_inputs, strict=True)
    return found | {f"at_inputs[{i}]": error(a, b) for i, (a, b) in enumerate(pairs)}


def assert_same(mine, reference, tolerance=1e-5):
    """Every number of two Answers within a relative error; NaN fails."""
    found = errors(mine, reference)
    print({k: f"{v:.1e}" for k, v in found.items()})
    assert all(v <= tolerance for v in found.values()), found
