"""Gates: ops behind the activations of a graph whose gradient can be chosen afterwards."""

import contextlib

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfsal.graph.functions import op_name


def add_gates(graph_def, activations, dtype):
    """Puts a gate behind each activation.

    A gate is an IdentityN of the activation's output and input, under the name that the
    activation's op had. Values are what they were, and what else uses the ops that an activation
    is made of is untouched.

    Args:
      graph_def: flat GraphDef in topological order, not modified.
      activations: Activations in it.
      dtype: function from a tensor name to its tf.DType.

    Returns:
      (the GraphDef with gates, the names of the gates).
    """
    by_output = {op_name(a.output): a for a in activations}
    names = {n.name for n in graph_def.node}
    out = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        new = out.node.add()
        new.CopyFrom(node)
        activation = by_output.get(node.name)
        if activation is None:
            continue
        new.name = _free(node.name + "/activation", names)
        gate = out.node.add(name=node.name, op="IdentityN", input=[new.name, activation.input])
        both = (activation.output, activation.input)
        gate.attr["T"].list.type.extend(dtype(t).as_datatype_enum for t in both)
    return out, frozenset(by_output)


def _free(name, names):
    while name in names:
        name += "_"
    names.add(name)
    return name


@contextlib.contextmanager
def gradient_of_gates(ops, rule):
    """While open, `tf.gradients` takes the gates for what `rule` makes of them.

    TensorFlow looks at this attribute of an op before anything that is written in the graph, so
    nothing of a rule is saved with it.

    Args:
      ops: the gates' tf.Operations.
      rule: function from the gradient [N, ...] with respect to an activation's output to
        (the gradient that the activation is differentiated with, the gradient with respect to its
        input that takes the place of that); None for no such share.
    """

    def gradient(op, from_output, _):
        shares = rule(tf.convert_to_tensor(from_output))
        return [
            share if share is None else tf.cast(share, value.dtype)
            for share, value in zip(shares, op.inputs, strict=True)
        ]

    for op in ops:
        op._gradient_function = gradient
    try:
        yield
    finally:
        for op in ops:
            op._gradient_function = None
