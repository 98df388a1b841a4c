"""class_indices: K classes of each example from one evaluation of the model."""

import collections

import networks
import numpy as np
import pytest
import tensorflow as tf
from reference import error

import tfsal
from tfsal.errors import InputError
from tfsal.methods.explain import explain

X = networks.batch(3, 16, 16, 3)
CLASSES = np.array([[0, 1], [2, -1], [-1, 3]])


@pytest.fixture(scope="module")
def net(built):
    return tfsal.load(built("functional"))


@pytest.mark.parametrize("kind", [tfsal.GradCAM, tfsal.GradCAMPlusPlus, tfsal.VanillaGradient])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_each_column_is_that_class_alone(net, kind, jit_compile):
    both = kind().explain(net, X, class_indices=CLASSES, jit_compile=jit_compile)
    assert both.attribution.shape[:2] == (3, 2) and both.heatmap.shape == (3, 2, 16, 16)
    for k in range(2):
        one = kind().explain(net, X, CLASSES[:, k])
        assert error(both.attribution[:, k], one.attribution) < 1e-5
        assert error(both.heatmap[:, k], one.heatmap) < 1e-4
        assert error(both.score[:, k], one.score) < 1e-5
        np.testing.assert_array_equal(both.class_index[:, k], one.class_index)
    assert error(next(iter(both.outputs.values())), next(iter(one.outputs.values()))) < 1e-5


def test_classes_for_all_examples(net):
    method = tfsal.GradCAM()
    every = method(net, X, class_indices=[0, 1, 2])
    assert every.shape == (3, 3, 6, 6)
    np.testing.assert_array_equal(every, method(net, X, class_indices=[[0, 1, 2]] * 3))
    assert method(net, X, class_indices=[4]).shape == (3, 1, 6, 6)
    assert method(net, X[:0], class_indices=[0, 1]).shape == (0, 2, 6, 6)


def test_the_model_is_evaluated_once(net):
    @tf.function(input_signature=[info.spec for info in net.inputs.values()])
    def traced(*feeds):
        asked = {"class_indices": tf.constant([[0, 1, 2]])}
        return explain(tfsal.GradCAM(), net, dict(zip(net.inputs, feeds, strict=True)), asked)

    graph = traced.get_concrete_function().graph
    assert collections.Counter(op.type for op in graph.get_operations())["Conv2D"] == 4


def test_inside_a_tf_function(net):
    @tf.function
    def traced(x, classes):
        return tfsal.GradCAM()(net, x, class_indices=classes)

    found = traced(X, tf.constant(CLASSES))
    assert error(found, tfsal.GradCAM()(net, X, class_indices=CLASSES)) < 1e-5
    with pytest.raises(InputError, match="with K known"):
        tf.function(traced.python_function, autograph=False).get_concrete_function(
            tf.TensorSpec([3, 16, 16, 3]), tf.TensorSpec([None, None], tf.int32)
        )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([[0, 1], [1, 2]], "2 entries for 3 examples"),
        ([0, 5], "class_indices 5 is out of range"),
        ([0, -2], "class_indices -2 is out of range"),
        ([0.5, 1], "float64"),
        ([], "K 1 or more"),
        (3, "a list of K ints"),
    ],
)
def test_classes_that_do_not_fit(net, classes, message):
    with pytest.raises(InputError, match=message):
        tfsal.GradCAM()(net, X, class_indices=classes)


def test_one_class_or_several(net):
    with pytest.raises(InputError, match="not both"):
        tfsal.GradCAM()(net, X, 0, class_indices=[0, 1])
    with pytest.raises(InputError, match="there is class_indices="):
        tfsal.GradCAM()(net, X, CLASSES)
