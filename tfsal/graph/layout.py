"""Which tensors have their channels in the second axis, as models made for cuDNN do.

Shapes do not tell: [N, 8, 8, 8] may be either. The ops that convolve, pool and normalise do, by
their attribute `data_format`; from them the layout is carried to the tensors around them.
"""

import tensorflow as tf

from tfsal.graph.functions import op_name

# Axes of the result are those of the inputs that have the same rank.
_KEEP_AXES = frozenset(
    "BiasAdd Add AddV2 AddN Sub Mul RealDiv Div DivNoNan Maximum Minimum Neg Abs Square Sqrt Rsqrt "
    "Pow Exp Expm1 Log Log1p SquaredDifference Reciprocal Identity IdentityN Cast StopGradient "
    "CheckNumerics Mean Sum Max Min Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh "
    "Erf Erfc ClipByValue Select SelectV2 Softmax ConcatV2 Pad PadV2 MirrorPad".split()
)


def channels_first(graph_def, producers, shapes):
    """Finds the tensors whose axes are [N, C, *positions].

    Args:
      graph_def: the flat GraphDef.
      producers: {tensor name: tensor names it is computed from}, in topological order.
      shapes: {tensor name: static tf.TensorShape}.

    Returns:
      A set of tensor names.
    """
    nodes = {n.name: n for n in graph_def.node}
    first = {t: _declared(t, nodes.get(op_name(t)), shapes[t].rank) for t in producers}
    links = [
        (source, tensor, rule)
        for tensor, sources in producers.items()
        for source in sources
        if (rule := _rule(nodes[op_name(tensor)], nodes, shapes[source].rank, shapes[tensor].rank))
    ]
    for source, tensor, rule in (*links, *reversed(links), *links):
        back = {after: before for before, after in rule.items()}
        for known, unknown, layouts in ((source, tensor, rule), (tensor, source, back)):
            if first.get(unknown) is None and first.get(known) in layouts:
                first[unknown] = layouts[first[known]]
    return {t for t, is_first in first.items() if is_first}


def _declared(tensor, node, rank):
    """True or False where the op says which axis holds the channels, else None."""
    if node is None or "data_format" not in node.attr or not tensor.endswith(":0"):
        return None
    return node.attr["data_format"].s.startswith(b"NC") if rank and rank > 2 else None


def _rule(node, nodes, before, after):
    """{is an input channels first: is the result}, for the layouts the op carries on."""
    if not before or not after or min(before, after) < 3:
        return {}
    if before == after and (node.op in _KEEP_AXES or "data_format" in node.attr):
        return {True: True, False: False}
    if node.op == "Transpose":
        order, middle = _constant(node.input[1], nodes), list(range(2, before))
        to_last = {True: False} if order == [0, *middle, 1] else {}
        to_first = {False: True} if order == [0, before - 1, *range(1, before - 1)] else {}
        return {**to_last, **to_first}
    if node.op in ("Squeeze", "ExpandDims"):
        given = node.attr["squeeze_dims"].list.i if node.op == "Squeeze" else None
        axes = list(given) if given is not None else _constant(node.input[1], nodes)
        rank = max(before, after)
        axes = [axis % rank for axis in axes or [1, rank - 1]]
        return {
            is_first: is_first
            for is_first in (True, False)
            if _channels(is_first, rank) not in axes
        }
    return {}


def _channels(is_first, rank):
    return 1 if is_first else rank - 1


def _constant(name, nodes):
    """The value of a constant as a list, or None."""
    node = nodes.get(op_name(name))
    while node is not None and node.op == "Identity":
        node = nodes.get(op_name(node.input[0]))
    if node is None or node.op != "Const":
        return None
    return tf.make_ndarray(node.attr["value"].tensor).ravel().tolist()
