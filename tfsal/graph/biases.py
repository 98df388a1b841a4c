"""Biases of a graph: what is added to a tensor on the way to the score without coming from x.

Between them a ReLU network is linear, as long as no gate changes, so that its score is the sum of
the input times its gradient and of every bias times its own.
"""

import dataclasses

from tfsal.graph.functions import canonical

_ADDITIVE = frozenset(("Add", "AddV2", "BiasAdd", "Sub"))
_BATCH_NORMS = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))
# f(c x) = c f(x) for c > 0, so they have no bias of their own.
_HOMOGENEOUS = frozenset(("relu", "leaky_relu"))


@dataclasses.dataclass(frozen=True)
class Bias:
    """A place where a graph adds something.

    Attributes:
      kind: "constant"; "batch_norm", inside of the op, offset - mean * scale / deviation; or
        "activation", f(x) - f'(x) x, what a curved f has beside its slope.
      tensor: name of the sum, the tensor after the bias.
      parts: tensor names: of the constant; of scale, offset, mean and variance; of the input.
      negative: True where a constant is subtracted.
      channel_axis: axis of the tensor that a constant of rank 1 lies along.
      epsilon: of a batch norm, added to the variance.
    """

    kind: str
    tensor: str
    parts: tuple
    negative: bool = False
    channel_axis: int = -1
    epsilon: float = 0.0


def find_biases(graph_def, flow, activations):
    """Finds the biases on the way to a score.

    Args:
      graph_def: flat GraphDef.
      flow: the Flow from the inputs to the score.
      activations: Activations of the graph; what one is made of is no bias of its own.

    Returns:
      [Bias] in topological order.
    """
    inside = {part for a in activations for part in a.parts if part in flow}
    curved = {a.output: a for a in activations if a.kind not in _HOMOGENEOUS}
    found = []
    for node in graph_def.node:
        tensor = node.name + ":0"
        if tensor not in flow or not flow.inputs(tensor):
            continue
        inputs = [canonical(i) for i in node.input if i[0] != "^"]
        if tensor in curved:
            found.append(Bias("activation", tensor, (curved[tensor].input,)))
        if tensor in inside:
            continue
        if node.op in _ADDITIVE and sum(i in flow for i in inputs) == 1:
            (constant,) = (i for i in inputs if i not in flow)
            first = node.op == "BiasAdd" and node.attr["data_format"].s == b"NCHW"
            negative = node.op == "Sub" and constant == inputs[1]
            found.append(Bias("constant", tensor, (constant,), negative, 1 if first else -1))
        elif node.op in _BATCH_NORMS and not node.attr["is_training"].b:
            first = node.attr["data_format"].s.startswith(b"NC")
            epsilon = node.attr["epsilon"].f
            axis = 1 if first else -1
            found.append(Bias("batch_norm", tensor, tuple(inputs[1:5]), False, axis, epsilon))
    return found
