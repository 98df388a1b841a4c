"""Constants of frozen graphs: placeholders that are given a value, weights that turn variables."""

import numpy as np
import pytest
import tensorflow as tf

import tfsal
from tfsal.errors import SourceError
from tfsal.graph.constants import fix_placeholders, lift_constants


@pytest.fixture
def graph_def():
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 64], name="x")
        scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
        keep = tf.compat.v1.placeholder_with_default(1.0, [], name="keep")
        big = tf.constant(rng.normal(size=[64, 32]).astype("float32"), name="big")
        half = tf.constant(rng.normal(size=[64, 64]).astype("float16"), name="half")
        table = tf.constant(rng.integers(0, 9, [64, 32]), name="table")
        h = tf.matmul(x, big) * scale * keep + tf.constant(2.0, name="small")
        h += tf.reduce_sum(tf.cast(half, tf.float32)) + tf.reduce_sum(tf.cast(table, tf.float32))
        tf.identity(h, name="y")
    return graph.as_graph_def()


def test_large_float_constants_become_variables(graph_def):
    big = next(n for n in graph_def.node if n.name == "big")
    value = tf.make_ndarray(big.attr["value"].tensor)
    lifted = lift_constants(graph_def)
    assert {name: v.dtype.base_dtype for name, v in lifted.items()} == {
        "big/resource:0": tf.float32,
        "half/resource:0": tf.float16,
    }
    np.testing.assert_array_equal(lifted["big/resource:0"], value)
    assert not any(v.trainable for v in lifted.values())
    ops = {n.name: n.op for n in graph_def.node}
    assert ops["big"] == "ReadVariableOp" and ops["table"] == ops["small"] == "Const"


def test_a_loaded_graph_computes_the_same(graph_def):
    x = np.random.default_rng(1).normal(size=[3, 64]).astype("float32")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        (y,) = tf.import_graph_def(graph_def, return_elements=["y:0"], name="")
        expected = session.run(y, {"x:0": x, "scale:0": 0.5})
    before = graph_def.SerializeToString(deterministic=True)
    net = tfsal.load(graph_def, inputs="x", outputs="y", constants={"scale": 0.5})
    assert len(net.variables) == 2
    np.testing.assert_allclose(net.as_function()(tf.constant(x))["y"], expected, rtol=1e-6)
    assert graph_def.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ["scale", "scale:0", "keep"])
def test_a_value_replaces_a_placeholder(graph_def, name):
    fix_placeholders(graph_def, {name: 3})
    node = next(n for n in graph_def.node if n.name == name.removesuffix(":0"))
    assert node.op == "Const" and not node.input
    assert tf.make_ndarray(node.attr["value"].tensor) == np.float32(3)


@pytest.mark.parametrize(
    "constants, match",
    [
        ({"nothing": 1}, "'nothing' is no placeholder.*x, scale, keep"),
        ({"big:0": 1}, "'big:0' is no placeholder"),
        ({"scale": "much"}, "'much' is no float32 for 'scale'"),
    ],
)
def test_wrong_constants(graph_def, constants, match):
    with pytest.raises(SourceError, match=match):
        tfsal.load(graph_def, inputs="x", outputs="y", constants=constants)
