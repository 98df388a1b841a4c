"""Makes a flat GraphDef fit to be differentiated, compiled by XLA and served anywhere.

Nothing here changes what the model computes: devices, colocation and ordering of pure reads are
dropped, custom gradients are judged, grouped convolutions become ops that every host has.
"""

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import op_def_registry, ops

from tfsal.graph.functions import called_functions, canonical, op_name, output_index

_PURE = frozenset(
    "NoOp Const Identity IdentityN Placeholder PlaceholderWithDefault VarHandleOp ReadVariableOp "
    "Assert CheckNumerics".split()
)
_V1_LOOP = frozenset(("Enter", "Exit", "NextIteration", "LoopCond"))
_V1_CONTROL_FLOW = _V1_LOOP | {"Switch", "Merge"}
# Their registered gradient is zero or nothing: a custom gradient over them is what trains them.
_STEPS = frozenset("Round Rint Floor FloorDiv Ceil Sign StopGradient".split())
_FLOATS = frozenset(d.as_datatype_enum for d in (tf.float16, tf.bfloat16, tf.float32, tf.float64))


def normalize(graph_def):
    """Cleans a flat GraphDef in place.

    Returns:
      Names of the ops whose custom gradient was lost: the model replaced the derivative of
      something that has none, and the replacement cannot be carried over. To differentiate
      through one would be silently wrong.
    """
    lost_functions = _functions_with_lost_gradients(graph_def.library.function)
    lost = _lost_gradients(graph_def.node)
    lost |= {n.name for n in graph_def.node if called_functions(n, lost_functions)}
    for nodes in (graph_def.node, *(f.node_def for f in graph_def.library.function)):
        for node in nodes:
            node.device = ""
            for key in ("_class", "_gradient_op_type"):
                if key in node.attr:
                    del node.attr[key]
    _drop_pure_control_inputs(graph_def)
    return lost


def _functions_with_lost_gradients(functions):
    """Names of the functions that hold such an op, themselves or in a function they call."""
    found = {f.signature.name for f in functions if _lost_gradients(f.node_def)}
    while True:
        callers = {
            f.signature.name
            for f in functions
            if any(called_functions(node, found) for node in f.node_def)
        }
        if callers <= found:
            return found
        found |= callers


def _lost_gradients(nodes):
    """Names of the ops with a custom gradient where the forward ops' own gradient will not do.

    `tf.custom_gradient` writes IdentityN([*results, *arguments]) with a `_gradient_op_type`. When
    everything between arguments and results is differentiable (silu, stable softplus), the natural
    derivative is the same function and the attribute can go.
    """
    by_name = {n.name: n for n in nodes}
    custom = [n for n in nodes if n.op == "IdentityN" and "_gradient_op_type" in n.attr]
    used = {n.name: {0} for n in custom}
    for tensor in (i for n in nodes for i in n.input if i[0] != "^"):
        if op_name(tensor) in used:
            used[op_name(tensor)].add(output_index(tensor))
    return {n.name for n in custom if not _is_natural(n, used[n.name], by_name)}


def _is_natural(identity, results, by_name):
    """True when the results, given by their positions, come from the arguments differentiably."""
    arguments = {op_name(t) for i, t in enumerate(identity.input) if i not in results}
    stack, seen = [op_name(identity.input[i]) for i in results], set()
    while stack:
        name = stack.pop()
        if name in seen or name in arguments or name not in by_name:
            continue
        seen.add(name)
        node = by_name[name]
        if node.op in _PURE and not node.input:
            continue
        to_integer = node.op == "Cast" and node.attr["DstT"].type not in _FLOATS
        if to_integer or not has_gradient(node.op):
            return False
        stack.extend(op_name(i) for i in node.input if i[0] != "^")
    return True


def has_gradient(op_type):
    """True when TensorFlow can differentiate this op type."""
    if op_type in _PURE:
        return True
    if op_type in _STEPS or op_type in _V1_LOOP:
        return False  # Of v1 loops an imported graph no longer says which ops make them up.
    try:
        return ops.gradient_registry.lookup(op_type) is not None
    except LookupError:
        return False


def _drop_pure_control_inputs(graph_def):
    """Drops control inputs that only order pure reads; they keep dead code alive.

    What writes, or has another effect, still waits for the reads that come before it.
    v1 control flow needs its control inputs to know which frame a constant belongs to.
    """
    by_name = {n.name: n for n in graph_def.node}
    if any(n.op in _V1_CONTROL_FLOW for n in graph_def.node):
        return
    memo = {}

    def pure(name):
        if name not in memo:
            node = by_name[name]
            memo[name] = node.op in _PURE and all(pure(i[1:]) for i in node.input if i[0] == "^")
        return memo[name]

    for node in graph_def.node:
        if _has_effect(node):
            continue
        kept = [i for i in node.input if i[0] != "^" or not pure(i[1:])]
        del node.input[:]
        node.input.extend(kept)


def _has_effect(node):
    op_def = op_def_registry.get(node.op)
    return node.op not in _PURE and (op_def is None or op_def.is_stateful)


def rewrite_grouped_convolutions(graph_def, shape):
    """Rewrites grouped convolutions to ops that TensorFlow runs, and differentiates, on a CPU.

    Keras 3 hides them in functions that must be compiled by XLA, which a stock server has off.
    One group per channel becomes a depthwise convolution, others are split and concatenated.

    Args:
      graph_def: flat GraphDef, not modified.
      shape: function from tensor name to its static tf.TensorShape.

    Returns:
      The rewritten GraphDef, or None when there is nothing to rewrite.
    """
    out = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    changed = False
    for node in graph_def.node:
        groups = _groups(node, shape)
        if groups == 1:
            out.node.add().CopyFrom(node)
            continue
        changed = True
        filters = shape(canonical(node.input[1]))
        if node.op == "Conv2D" and _fits_depthwise(node, filters):
            _add_depthwise(out, node, filters, groups)
        else:
            _add_split(out, node, groups)
    return out if changed else None


def _groups(node, shape):
    if node.op not in ("Conv2D", "Conv3D") or node.attr["data_format"].s.startswith(b"NC"):
        return 1
    inputs, filters = shape(canonical(node.input[0])), shape(canonical(node.input[1]))
    if inputs.rank is None or filters.rank is None or not inputs[-1] or not filters[-2]:
        return 1
    return inputs[-1] // filters[-2]


def _fits_depthwise(node, filters):
    """TensorFlow's CPU kernel wants equal strides, no dilation and no explicit padding."""
    _, height, width, _ = node.attr["strides"].list.i
    dilated = any(d != 1 for d in node.attr["dilations"].list.i)
    plain = node.attr["padding"].s in (b"SAME", b"VALID") and height == width and not dilated
    return plain and filters[-2] == 1 and filters.is_fully_defined()


def _add_depthwise(out, node, filters, groups):
    """Filters [h, w, 1, groups * m] read as [h, w, groups, m] give the same output channels."""
    height, width, _, channels = filters.as_list()
    shape = _add_constant(
        out, node.name + "/depthwise/shape", [height, width, groups, channels // groups]
    )
    filter_name = node.name + "/depthwise/filter"
    reshape = out.node.add(name=filter_name, op="Reshape", input=[node.input[1], shape])
    reshape.attr["T"].CopyFrom(node.attr["T"])
    reshape.attr["Tshape"].type = tf.int32.as_datatype_enum
    new = out.node.add(
        name=node.name, op="DepthwiseConv2dNative", input=[node.input[0], filter_name]
    )
    for key in ("T", "strides", "padding", "data_format"):
        if key in node.attr:
            new.attr[key].CopyFrom(node.attr[key])


def _add_split(out, node, groups):
    """One convolution for each group; the last axis is the channels of input, filter and output."""
    prefix = node.name + "/groups"
    axis = _add_constant(out, prefix + "/axis", -1)
    for part, source in zip(("input", "filter"), node.input[:2], strict=True):
        split = out.node.add(name=f"{prefix}/{part}", op="Split", input=[axis, source])
        split.attr["T"].CopyFrom(node.attr["T"])
        split.attr["num_split"].i = groups
    for i in range(groups):
        new = out.node.add()
        new.CopyFrom(node)
        new.name = f"{prefix}/{i}"
        del new.input[:]
        new.input.extend((f"{prefix}/input:{i}", f"{prefix}/filter:{i}"))
    parts = [f"{prefix}/{i}" for i in range(groups)]
    concat = out.node.add(name=node.name, op="ConcatV2", input=[*parts, axis])
    concat.attr["T"].CopyFrom(node.attr["T"])
    concat.attr["N"].i = groups
    concat.attr["Tidx"].type = tf.int32.as_datatype_enum


def _add_constant(out, name, value):
    node = out.node.add(name=name, op="Const")
    node.attr["dtype"].type = tf.int32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int32))
    return name
