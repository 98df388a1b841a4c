"""The scores that can be explained: classes, one-logit heads, regions, functions, named outputs."""

import networks
import numpy as np
import oracles
import pytest
import tensorflow as tf
from reference import differentiate, error

import tfsal
from tfsal import ClassScore, GradCAM, GraphScore, RegionScore, VanillaGradient
from tfsal.errors import InputError, TargetError


def linear(units, squash=None, rank=2):
    """A ModelGraph of squash(x @ W), and W."""
    weights = oracles.draw(6, units)

    def model(x):
        value = x @ weights if rank == 2 else (x @ weights)[:, 0]
        return squash(value) if squash else value

    return oracles.load(model, 6), weights


# ---------------------------------------------------------------- one logit


@pytest.mark.parametrize("squash", [None, tf.sigmoid], ids=["logit", "sigmoid"])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_single_logit_stands_for_two_classes(squash, rank):
    net, weights = linear(1, squash, rank)
    x = oracles.draw(5, 6, seed=4)
    z = (x @ weights)[:, 0]
    assert z.min() < 0 < z.max()
    for wanted, sign in ((1, 1), (0, -1)):
        answer = VanillaGradient().explain(net, x, wanted)
        np.testing.assert_allclose(answer.score, sign * z, rtol=1e-6)
        np.testing.assert_allclose(answer.attribution, sign * np.tile(weights[:, 0], (5, 1)))
    top = VanillaGradient().explain(net, x)
    np.testing.assert_array_equal(top.class_index, (z > 0).astype(int))
    np.testing.assert_allclose(top.score, np.abs(z), rtol=1e-6)
    with pytest.raises(InputError, match="from 0 to 1"):
        VanillaGradient()(net, x, 2)


def test_a_slice_after_the_sigmoid_hides_no_logit():
    weights = oracles.draw(6, 1)
    net = oracles.load(lambda x: tf.sigmoid(x @ weights)[:, 0], 6)
    x = oracles.draw(5, 6, seed=4)
    z = (x @ weights)[:, 0]
    np.testing.assert_allclose(VanillaGradient().explain(net, x, 0).score, -z, rtol=1e-6)
    part = oracles.load(lambda x: tf.sigmoid(x @ oracles.draw(6, 3))[:, 1], 6)
    assert part.logits == part.output().tensor  # one of three is no logit of this output


def test_a_single_probability_and_its_complement():
    net, weights = linear(1, tf.sigmoid)
    x = oracles.draw(5, 6, seed=4)
    p = 1 / (1 + np.exp(-(x @ weights)[:, 0]))
    method = VanillaGradient(target=ClassScore(logits=False))
    np.testing.assert_allclose(method.explain(net, x, 1).score, p, rtol=1e-5)
    np.testing.assert_allclose(method.explain(net, x, 0).score, 1 - p, rtol=1e-5)
    np.testing.assert_array_equal(method.explain(net, x).class_index, (p > 0.5).astype(int))
    assert error(method(net, x, 0), -method(net, x, 1)) < 1e-6


# ---------------------------------------------------------------- logits


def test_probabilities_are_explained_when_asked_for():
    net, weights = linear(4, tf.nn.softmax)
    x = oracles.draw(3, 6, seed=1)

    def run(tensors):
        values = tf.nn.softmax(tensors[0] @ weights)
        return tensors[0], values

    reference = differentiate(run, [x], [2, 2, 2])
    answer = VanillaGradient(target=ClassScore(logits=False)).explain(net, x, 2)
    assert error(answer.attribution, reference.at_inputs[0]) < 1e-5
    assert error(answer.score, reference.score) < 1e-5
    logit = VanillaGradient()(net, x, 2)
    np.testing.assert_array_equal(logit, np.broadcast_to(weights[:, 2], (3, 6)))


@pytest.mark.parametrize("target", [ClassScore("age"), ClassScore("predictions")], ids=str)
def test_an_output_by_name(built, target):
    model = built("two inputs")
    net = tfsal.load(model)
    x = {"image": networks.batch(3, 16, 16, 3), "meta": networks.batch(3, 4, 1)[..., 0]}
    answer = VanillaGradient(target=target).explain(net, x, 1)
    with tf.GradientTape() as tape:
        tensors = [tf.constant(v) for v in x.values()]
        tape.watch(tensors)
        species, age = model(tensors)
        score = tf.math.log(species[:, 1] / species[:, 0]) if target.output != "age" else age[:, 0]
    if target.output == "age":
        assert error(answer.score, score) < 1e-5
        for name, gradient in zip(x, tape.gradient(score, tensors), strict=True):
            assert error(answer.attribution[name], gradient) < 1e-5
    else:  # Up to what softmax takes away: the difference of two logits.
        other = VanillaGradient(target=target).explain(net, x, 0)
        for name, gradient in zip(x, tape.gradient(score, tensors), strict=True):
            assert error(answer.attribution[name] - other.attribution[name], gradient) < 1e-5


# ---------------------------------------------------------------- regions


@pytest.fixture(scope="module")
def unet():
    return networks.unet()


@pytest.fixture(scope="module")
def segmenter(unet):
    return tfsal.load(unet), networks.batch(2, 16, 16, 3)


def region_reference(model, x, region, class_index):
    import keras

    head = model.get_layer("predictions")
    tapped = [model.get_layer("features").output, model.get_layer("up0").output]
    inner = keras.Model(model.inputs, tapped)

    def run(tensors):
        features, h = inner(tensors[0])
        logits = tf.nn.conv2d(h, head.kernel, 1, "SAME") + head.bias
        return features, tf.reduce_sum(logits * region[..., None], [1, 2])

    return differentiate(run, [x], [class_index] * len(x))


def corner():
    region = np.zeros((2, 16, 16), "float32")
    region[:, 2:7, 1:6] = 1
    return region


@pytest.mark.parametrize("class_index", [-1, 3])
@pytest.mark.parametrize("region", [None, corner()], ids=["whole", "part"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_region_of_a_dense_output(unet, segmenter, class_index, region, jit_compile):
    net, x = segmenter
    weights = np.ones((2, 16, 16), "float32") if region is None else region
    reference = region_reference(unet, x, weights, class_index)
    target = RegionScore()
    for method, expected in (
        (GradCAM(layer="features", target=target), reference.grad_cam),
        (VanillaGradient(target=target), reference.at_inputs[0]),
    ):
        answer = method.explain(net, x, class_index, region=region, jit_compile=jit_compile)
        assert error(answer.attribution, expected) < 1e-5
        assert error(answer.score, reference.score) < 1e-5


def test_a_region_changes_the_map_and_may_differ_between_examples(segmenter):
    net, x = segmenter
    method = VanillaGradient(target=RegionScore())
    whole, part = method(net, x, 1), method(net, x, 1, region=corner())
    assert error(part, whole) > 0.1
    mixed = np.stack([np.ones((16, 16)), corner()[1]])
    both = method(net, x, 1, region=mixed)
    assert error(both[0], whole[0]) < 1e-5 and error(both[1], part[1]) < 1e-5
    assert error(method(net, x, 1, region=corner()[:1]), part) < 1e-5


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.ones((2, 8, 8)), "positions of the output"),
        (np.ones((16, 16)), "positions of the output"),
        (np.ones((3, 16, 16)), "3 .*2 examples"),
        (np.full((2, 16, 16), np.nan), "NaN"),
    ],
)
def test_a_region_that_does_not_fit(segmenter, region, message):
    net, x = segmenter
    with pytest.raises(InputError, match=message):
        VanillaGradient(target=RegionScore())(net, x, 1, region=region)


def test_a_region_needs_a_dense_output_and_a_class_does_not(segmenter, built):
    net, x = segmenter
    with pytest.raises(TargetError, match="RegionScore"):
        GradCAM()(net, x, 1)
    classifier = tfsal.load(built("functional"))
    with pytest.raises(TargetError, match="ClassScore"):
        VanillaGradient(target=RegionScore())(classifier, x, 1)
    with pytest.raises(InputError, match="no region"):
        GradCAM()(classifier, x, 1, region=corner())


# ---------------------------------------------------------------- functions


def cross_entropy(outputs, class_index):
    (probabilities,) = outputs.values()
    chosen = tf.one_hot(class_index, tf.shape(probabilities)[-1])
    return -tf.math.log(tf.reduce_sum(probabilities * chosen, -1))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_loss(built, jit_compile):
    model = built("functional")
    x, classes = networks.batch(3, 16, 16, 3), [4, 0, 1]
    with tf.GradientTape() as tape:
        image = tf.constant(x)
        tape.watch(image)
        loss = tf.keras.losses.sparse_categorical_crossentropy(tf.constant(classes), model(image))
    method = VanillaGradient(target=GraphScore(cross_entropy))
    answer = method.explain(tfsal.load(model), x, classes, jit_compile=jit_compile)
    assert error(answer.score, loss) < 1e-5
    assert error(answer.attribution, tape.gradient(loss, image)) < 1e-5


def test_a_function_of_several_outputs(built):
    net = tfsal.load(built("two inputs"))
    x = {"image": networks.batch(2, 16, 16, 3), "meta": np.ones((2, 4), "float32")}

    def both(outputs, class_index):
        return outputs["age"][:, 0] * outputs["predictions"][:, 0]

    answer = VanillaGradient(target=GraphScore(both)).explain(net, x)
    assert error(answer.score, both(answer.outputs, None)) < 1e-6
    np.testing.assert_array_equal(answer.class_index, [-1, -1])
    chosen = VanillaGradient(target=GraphScore(both, output="predictions")).explain(net, x)
    top = np.argmax(chosen.outputs["predictions"], -1)
    np.testing.assert_array_equal(chosen.class_index, top)


@pytest.mark.parametrize(
    "fn", [lambda o, c: list(o.values())[0], lambda o, c: c, lambda o, c: tf.constant(1.0)]
)
def test_a_function_must_return_one_number_per_example(fn):
    net, _ = linear(3)
    with pytest.raises(TargetError, match="one floating-point score per example"):
        VanillaGradient(target=GraphScore(fn))(net, oracles.draw(2, 6), 0)


def test_an_unknown_output_lists_those_there_are(built):
    net = tfsal.load(built("two inputs"))
    x = {"image": networks.batch(1, 16, 16, 3), "meta": np.ones((1, 4), "float32")}
    for target, message in ((ClassScore("ages"), "No output 'ages'"), (ClassScore(), "several")):
        with pytest.raises(TargetError, match=f"{message}.*predictions, age"):
            VanillaGradient(target=target)(net, x, 0)


def test_an_integer_output_has_no_gradient():
    net = oracles.load(lambda x: tf.cast(x * 10, tf.int32), 6)
    with pytest.raises(TargetError, match="int32, which has no gradient"):
        VanillaGradient()(net, oracles.draw(1, 6), 0)
