"""Every method on Keras networks: against an eager tape, under XLA, in batches and in halves."""

import collections
import dataclasses
import functools
from typing import ClassVar

import networks
import numpy as np
import pytest
import tensorflow as tf
from everywhere import BY_TAPE, ELSEWHERE, METHODS
from reference import error, keras_answer

import tfsal
from tfsal import GradCAM, GradientTimesInput, HiResCAM, LayerCAM, VanillaGradient
from tfsal.methods.explain import explain

each_method = pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.name)
FAMILIES = ["functional", "1-D", "3-D", "vit"]


@pytest.fixture(scope="module")
def net_of(built):
    nets = {}

    def get(family):
        if family not in nets:
            nets[family] = tfsal.load(built(family))
        return nets[family]

    return get


@pytest.fixture(scope="module")
def tape_of(built, net_of):
    """Function of (family, class_index) -> the Answer about its images."""

    @functools.cache
    def get(family, class_index):
        return keras_answer(built(family), [images(net_of(family))], [class_index] * 3)

    return get


def images(net, count=3, seed=1):
    (info,) = net.inputs.values()
    return networks.batch(count, *info.shape[1:], seed=seed, dtype=info.dtype.name)


def on_features(kind):
    return kind(layer="features") if "layer" in kind.__dataclass_fields__ else kind()


def test_every_method_has_an_oracle():
    ours = {n for n, kind in tfsal.list_methods().items() if kind.__module__.startswith("tfsal.")}
    assert ours == BY_TAPE.keys() | ELSEWHERE


@each_method
@pytest.mark.parametrize("family", [*FAMILIES, "float64"])
@pytest.mark.parametrize("class_index", [-1, 1])
def test_equals_the_eager_tape(tape_of, net_of, family, kind, class_index):
    net = net_of(family)
    x, reference = images(net), tape_of(family, class_index)
    answer = on_features(kind).explain(net, x, class_index)
    tolerance = 1e-12 if family == "float64" else 1e-5
    (expected,) = BY_TAPE[kind.name](reference, [x])
    assert error(answer.attribution, expected) < tolerance
    assert error(answer.score, reference.score) < tolerance
    assert answer.attribution.dtype == (tf.float64 if family == "float64" else tf.float32)
    spatial = next(iter(net.inputs.values())).spatial
    shape = (16,) if family == "vit" and "cam" in kind.name else spatial
    assert answer.heatmap.shape == (3, *shape) and answer.heatmap.dtype == tf.float32


@each_method
def test_xla_computes_the_same(net_of, kind):
    net = net_of("functional")
    x, method = images(net), on_features(kind)
    graph = method.explain(net, x, jit_compile=False)
    xla = method.explain(net, x, jit_compile=True)
    assert error(xla.attribution, graph.attribution) < 1e-5
    assert error(xla.heatmap, graph.heatmap) < 1e-4
    assert error(xla.score, graph.score) < 1e-5
    np.testing.assert_array_equal(xla.class_index, graph.class_index)


@each_method
def test_an_example_alone_is_what_it_is_in_a_batch(net_of, kind):
    net = net_of("functional")
    x, classes = images(net, 4), [0, 3, -1, 2]
    method = on_features(kind)
    together = method.explain(net, x, classes)
    for i in range(4):
        alone = method.explain(net, x[i : i + 1], classes[i])
        assert error(alone.attribution[0], together.attribution[i]) < 1e-5
        assert error(alone.heatmap[0], together.heatmap[i]) < 1e-4
        assert alone.class_index[0] == together.class_index[i]


def test_a_class_index_for_every_example(net_of):
    net, method = net_of("functional"), GradCAM(layer="features", relu=False)
    x = np.repeat(images(net, 1), 5, axis=0)
    maps = method(net, x, np.arange(5))
    for i in range(5):
        assert error(maps[i], method(net, x[:1], i)[0]) < 1e-5
        assert all(error(maps[j], maps[i]) > 1e-2 for j in range(i))


@each_method
def test_top_1_is_the_default(net_of, kind):
    net, method = net_of("functional"), on_features(kind)
    x = images(net, 6)
    answer = method.explain(net, x)
    (probabilities,) = answer.outputs.values()
    top = np.argmax(probabilities, -1)
    np.testing.assert_array_equal(answer.class_index, top)
    np.testing.assert_array_equal(answer.attribution, method(net, x, top))
    np.testing.assert_array_equal(answer.attribution, method(net, x, -1))


def test_explain_returns_the_models_own_outputs(built, net_of):
    x = images(net_of("functional"))
    (outputs,) = GradCAM().explain(net_of("functional"), x).outputs.values()
    assert error(outputs, built("functional")(x)) < 1e-6


# ---------------------------------------------------------------- precision


@pytest.fixture(scope="module")
def half(built):
    model = networks.mixed()
    model.set_weights(built("residual").get_weights())
    return model


@each_method
def test_mixed_precision_is_close_to_float32(half, net_of, kind):
    net, method = net_of("residual"), on_features(kind)
    x = images(net)
    found = method(tfsal.load(half), x, 1)
    assert found.dtype == tf.float32
    assert error(found, method(net, x, 1)) < 1e-2


@pytest.mark.parametrize("size", [1e-6, 1.0, 10.0])
def test_half_precision_gradients_neither_vanish_nor_overflow(size):
    """float16 ends at 6e-8; the gradients here are `size` / 64 and `size`."""
    kernel, head = np.ones((1, 1, 2, 3)), np.ones((3, 4)) * size

    def model(x):
        h = tf.nn.conv2d(tf.cast(x, tf.float16), tf.constant(kernel, tf.float16), 1, "SAME")
        return tf.matmul(
            tf.cast(tf.reduce_mean(h, [1, 2]), tf.float32), tf.constant(head, tf.float32)
        )

    net = tfsal.load(model, specs=tf.TensorSpec([None, 8, 8, 2], tf.float32, "x"))
    found = VanillaGradient()(net, np.ones((2, 8, 8, 2), "float32"), 0)
    np.testing.assert_allclose(found, np.full((2, 8, 8, 2), 3 * size / 64), rtol=1e-2)


# ---------------------------------------------------------------- cost


def ops_of(net, method):
    @tf.function(input_signature=[info.spec for info in net.inputs.values()])
    def traced(*feeds):
        asked = {"class_index": tf.constant([-1])}
        return explain(method, net, dict(zip(net.inputs, feeds, strict=True)), asked)

    # TensorFlow prunes what no output needs, such as gradients for the filters.
    graph = traced.get_concrete_function().graph
    ops, stack = set(), [output.op for output in graph.outputs]
    while stack:
        op = stack.pop()
        if op not in ops:
            ops.add(op)
            stack.extend(tensor.op for tensor in op.inputs)
    return collections.Counter(op.type for op in ops)


@pytest.mark.parametrize(
    ("method", "backward"),
    [
        (GradCAM(), 0),
        (GradCAM(layer="features"), 0),
        (HiResCAM(layer="conv2d_2"), 1),
        (LayerCAM(layer="swish"), 3),
        (VanillaGradient(), 4),
        (GradientTimesInput(), 4),
    ],
    ids=str,
)
def test_costs_one_forward_and_no_more_backward_than_it_must(net_of, method, backward):
    ops = ops_of(net_of("functional"), method)
    assert ops["Conv2D"] == 4
    assert ops["Conv2DBackpropInput"] == backward
    assert ops["Conv2DBackpropFilter"] == 0


traces = []


@dataclasses.dataclass(frozen=True)
class Counted(GradCAM):
    """Grad-CAM that notes when it is traced."""

    note: ClassVar[list] = traces

    def attribute(self, request):
        self.note.append(1)
        return super().attribute(request)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_is_traced_once_for_all_batch_sizes(net_of, jit_compile):
    net = net_of("1-D")
    traces.clear()
    for count in (1, 4, 2):
        Counted()(net, images(net, count), 0, jit_compile=jit_compile)
        Counted()(net, images(net, count), [1] * count, jit_compile=jit_compile)
    assert len(traces) == 1
    Counted(relu=False)(net, images(net, 1), jit_compile=jit_compile)
    assert len(traces) == 2


def test_leaves_the_model_as_it_was(built):
    model = built("functional")
    x = networks.batch(3, 16, 16, 3)
    weights, config, before = model.get_weights(), model.get_config(), model(x).numpy()
    net = tfsal.load(model)
    for kind in METHODS:
        kind().explain(net, x)
    assert model.get_config() == config
    np.testing.assert_array_equal(model(x), before)
    for after, earlier in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(after, earlier)
