"""Inlining, cutting and importing GraphDefs leaves what they compute as it was."""

import numpy as np
import pytest
import tensorflow as tf

import tfsal
from tfsal.graph.functions import adopt_library, extract, inline_calls, op_name
from tfsal.graph.normalize import normalize

X = np.linspace(-2, 2, 12).reshape(3, 4).astype("float32")


@tf.function
def twice(x):
    return tf.tanh(x) * 2.0


@tf.function
def several(x):
    left, right = tf.split(twice(x), 2, axis=1)
    return right, {"left": left, "count": tf.size(x)}


@tf.function
def looped(x):
    return tf.while_loop(lambda i, _: i < 3, lambda i, s: (i + 1, twice(s)), [0, x])[1]


@tf.function
def branched(x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: twice(x), lambda: several(x)[1]["left"])


@tf.function
def deep(x):
    for _ in range(30):
        x = twice(x) + 0.1
    return x


VARIABLE = tf.Variable(2.0)


@tf.function
def ordered(x):
    VARIABLE.assign(3.0)
    return x * VARIABLE


FUNCTIONS = {
    "calls in calls": lambda x: twice(twice(x)) + twice(x),
    "several results": lambda x: several(twice(x))[1]["left"] + several(x)[0],
    "argument returned as it is": tf.function(lambda x: tf.function(lambda y: y)(x)),
    "while": lambda x: looped(x) + twice(x),
    "cond": lambda x: branched(x)[:, :2] + twice(looped(x))[:, :2],
    "map_fn": lambda x: tf.map_fn(lambda row: twice(row) * tf.reduce_max(row), x),
    "deep": deep,
    "nothing to inline": lambda x: x + 1.0,
}


def concrete(function):
    return tf.function(function).get_concrete_function(tf.TensorSpec([3, 4], tf.float32, "x"))


def run(graph_def, output, x="x:0"):
    """Runs a GraphDef in a v1 session."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        (y,) = tf.import_graph_def(graph_def, {x: tf.constant(X)}, [output], name="")
        return session.run(y)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inlining_changes_no_number(name):
    function = concrete(FUNCTIONS[name])
    original = function.graph.as_graph_def()
    before = original.SerializeToString(deterministic=True)
    flat, renamed, _ = inline_calls(original)
    assert original.SerializeToString(deterministic=True) == before
    output = renamed[function.outputs[0].name]
    np.testing.assert_array_equal(run(flat, output), function(tf.constant(X)))
    assert not any("PartitionedCall" in n.op for n in flat.node)
    seen = set()
    for node in flat.node:
        assert {op_name(i) for i in node.input} <= seen, "topological order"
        assert node.name not in seen, "each name once"
        seen.add(node.name)


def test_names_that_collide():
    """Bodies inlined twice, and an outer op that has the name an inlined one would get."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [3, 4], name="x")
        called = twice(x)
        call = called.op.name
        with tf.name_scope(call + "/"):
            outer = tf.multiply(x, 5.0, name="mul")
        y = tf.add(called, outer, name="y")
    flat, renamed, _ = inline_calls(graph.as_graph_def())
    assert renamed[f"{call}/mul:0"] == f"{call}/mul:0"
    np.testing.assert_allclose(run(flat, "y:0"), np.tanh(X) * 2 + X * 5, rtol=1e-6)
    assert y.op.name == "y"


def test_effects_keep_their_order():
    flat, *_ = inline_calls(concrete(lambda x: ordered(x) + 0.0).graph.as_graph_def())
    nodes = {n.name: n for n in flat.node}
    (read,) = (n for n in flat.node if n.op == "ReadVariableOp")
    waits = [nodes[i[1:]].op for i in read.input if i[0] == "^"]
    assert waits == ["AssignVariableOp"]


def test_a_read_before_a_write_stays_before_it():
    variable = tf.Variable(2.0)

    @tf.function
    def read_then_write(x):
        before = variable.read_value()
        variable.assign(5.0)
        return x * before

    graph_def = concrete(read_then_write).graph.as_graph_def()
    flat, *_ = inline_calls(graph_def)
    normalize(flat)
    (write,) = (n for n in flat.node if n.op == "AssignVariableOp")
    by_name = {n.name: n.op for n in flat.node}
    assert "ReadVariableOp" in {by_name[i[1:]] for i in write.input if i[0] == "^"}


def test_a_node_without_inputs_waits_for_what_its_call_waits_for():
    """No input of it leads to the arguments of the call, through which others wait."""
    variable = tf.Variable(2.0)

    @tf.function
    def write():
        return variable.assign(3.0).read_value()

    @tf.function
    def read():
        return variable.read_value() * tf.random.uniform([])

    def both(x):
        with tf.control_dependencies([write()]):
            return x + read()

    flat, *_ = inline_calls(concrete(both).graph.as_graph_def())
    (draw,) = (n for n in flat.node if n.op == "RandomUniform")
    by_name = {n.name: n for n in flat.node}
    (constant,) = (by_name[op_name(i)] for i in draw.input if i[0] != "^")
    waits = {by_name[i[1:]].op for i in constant.input if i[0] == "^"}
    assert "AssignVariableOp" in waits


def test_unknown_op_is_named():
    graph_def = concrete(lambda x: x + 1.0).graph.as_graph_def()
    graph_def.node[-1].op = "NoSuchOp"
    with pytest.raises(tfsal.TfsalError, match=r"NoSuchOp.*load_op_library"):
        inline_calls(graph_def)


def test_extract_cuts_at_the_feeds():
    flat, renamed, _ = inline_calls(concrete(lambda x: twice(x + 1.0) + 3.0).graph.as_graph_def())
    tanh = next(n.name for n in flat.node if n.op == "Tanh")
    part, used = extract(flat, [renamed["Identity:0"]], {tanh + ":0", "x:0"})
    assert used == {tanh + ":0"}
    assert not {"Placeholder", "Tanh"} & {n.op for n in part.node}


def test_functions_are_imported_any_number_of_times():
    flat, *_ = inline_calls(concrete(looped).graph.as_graph_def())
    names = set()
    for _ in range(3):
        part = tf.compat.v1.GraphDef.FromString(flat.SerializeToString())
        adopt_library(part)
        found = {f.signature.name for f in part.library.function}
        assert found and not found & names
        names |= found
    assert not any(n.count("_tfsal") > 1 for n in names)


def test_a_loop_of_v1_stays_in_order():
    tf.compat.v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = tf.compat.v1.placeholder(tf.float32, [3, 4], name="x")
            y = tf.while_loop(lambda i, _: i < 3, lambda i, s: (i + 1, tf.tanh(s)), [0, x])[1]
            tf.identity(y, name="y")
    finally:
        tf.compat.v1.enable_control_flow_v2()
    flat, *_ = inline_calls(graph.as_graph_def())
    order = {n.name: i for i, n in enumerate(flat.node)}
    for node in flat.node:
        for i in map(op_name, node.input):
            closes = node.op == "Merge" and "NextIteration" in i
            assert (order[i] < order[node.name]) != closes
    np.testing.assert_allclose(run(flat, "y:0"), np.tanh(np.tanh(np.tanh(X))), rtol=1e-6)
