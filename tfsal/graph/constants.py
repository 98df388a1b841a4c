"""Constants of a frozen graph: feeding placeholders with them, and lifting them to variables."""

import numpy as np
import tensorflow as tf

from tfsal.errors import SourceError
from tfsal.graph.functions import canonical

# Smaller ones cost nothing to store twice, and XLA needs shapes and axes as constants.
_LIFT_FROM_BYTES = 4096


def fix_placeholders(graph_def, constants):
    """Replaces placeholders by constants, in place.

    Args:
      graph_def: GraphDef.
      constants: {tensor or op name of a placeholder: value}.

    Raises:
      SourceError: a name is no placeholder of the graph, or its value does not fit.
    """
    placeholders = {
        n.name: n for n in graph_def.node if n.op in ("Placeholder", "PlaceholderWithDefault")
    }
    for name, value in constants.items():
        node = placeholders.get(canonical(name).removesuffix(":0"))
        if node is None:
            raise SourceError(
                f"constants: '{name}' is no placeholder of this graph. Its placeholders: "
                f"{', '.join(placeholders) or 'none'}."
            )
        dtype = tf.as_dtype(node.attr["dtype"].type)
        try:
            tensor = tf.make_tensor_proto(value, dtype)
        except (TypeError, ValueError) as error:
            raise SourceError(f"constants: {value!r} is no {dtype.name} for '{name}'.") from error
        node.op = "Const"
        del node.input[:]
        node.attr.clear()
        node.attr["dtype"].type = dtype.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tensor)


def lift_constants(graph_def):
    """Turns the large float constants of a graph into variables, in place.

    A frozen graph holds its weights as constants. Left there, every signature of an export would
    hold its own copy, and a large model would meet protobuf's limit of 2 GB.

    Returns:
      {name of the new resource placeholder tensor: tf.Variable}.
    """
    variables = {}
    for node in list(graph_def.node):
        dtype = tf.as_dtype(node.attr["dtype"].type) if node.op == "Const" else None
        if dtype is None or not dtype.is_floating:
            continue
        if node.attr["value"].ByteSize() < _LIFT_FROM_BYTES:
            continue
        value = tf.make_ndarray(node.attr["value"].tensor)
        variable = tf.Variable(np.asarray(value), trainable=False, name=node.name)
        handle = graph_def.node.add(name=node.name + "/resource", op="Placeholder")
        handle.attr["dtype"].type = tf.resource.as_datatype_enum
        handle.attr["shape"].shape.CopyFrom(tf.TensorShape([]).as_proto())
        node.op = "ReadVariableOp"
        node.input[:] = [handle.name]
        node.attr.clear()
        node.attr["dtype"].type = dtype.as_datatype_enum
        variables[canonical(handle.name)] = variable
    return variables
