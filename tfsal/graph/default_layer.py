"""Which layer a class activation map is drawn on when the user names none.

The output, after normalisation and activation, of the last convolution or of the merge that joins
branches, that still has positions and lies on every path from the inputs to the score. Pooling ends
the search. For a dense output (segmentation) no inner layer needs to be on every path, because skip
connections go around it: there it is the deepest such tensor of the lowest resolution.
"""

import math

from tfsal.graph.functions import op_name

CONVOLUTIONS = frozenset(
    "Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2 "
    "_FusedConv2D BatchToSpaceND".split()
)
_ATTENTION = frozenset(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"))
_SELECT = frozenset(("StridedSlice", "Slice", "GatherV2", "GatherNd"))
# What may stand between a convolution and its "output after normalisation and activation".
_ELEMENTWISE = frozenset(
    "BiasAdd Add AddV2 AddN Sub Mul RealDiv Div Maximum Minimum Neg Abs Square Sqrt Rsqrt Pow Exp "
    "Log Log1p SquaredDifference Reciprocal Identity IdentityN Cast StopGradient Squeeze "
    "ExpandDims Reshape Mean Sum FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Relu Relu6 "
    "LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Erf Erfc ClipByValue Select SelectV2".split()
)


def default_layer(flow, tensors, convolutions, sized):
    """Finds the default layer.

    Args:
      flow: Flow to the score.
      tensors: {tensor name: TensorInfo}.
      convolutions: names of the ops that convolve, loops over a convolution among them.
      sized: function that returns `tensors` with as few unknown sizes as possible.

    Returns:
      A tensor name, or None when no tensor qualifies.
    """
    dense = any(tensors[sink].is_map for sink in flow.sinks)
    if dense:
        maps = [t for t in flow.order if tensors[t].is_map and op_name(t) in convolutions]
        anchors = _lowest_resolution(maps, sized())
    else:
        anchors = _anchors(flow, tensors, convolutions)
    found, end = None, -1
    for anchor in anchors:
        # Joins inside a normalisation belong to the layer before it.
        if flow.position[anchor] > end:
            found, end = _after_activation(anchor, flow, tensors)
    return found


def _anchors(flow, tensors, convolutions):
    """Maps of the trunk that merge branches, or are the first after a convolution."""
    anchors, before, convolved = [], None, False
    for tensor in _before_token_selection(flow, tensors):
        inner = flow.between(before, tensor)
        convolved |= any(op_name(t) in convolutions for t in (*inner, tensor))
        merges = len(set(flow.inputs(tensor))) > 1
        if tensors[tensor].is_map and (convolved or merges):
            anchors.append(tensor)
            convolved = False
        before = tensor
    return anchors


def _before_token_selection(flow, tensors):
    """The trunk, cut where only one token would receive a gradient.

    A head that reads the class token leaves every other token without influence from the last
    attention on; what comes before that attention still spreads over all positions.
    """
    trunk = flow.trunk
    for tensor in trunk:
        sources = flow.inputs(tensor)
        selects = tensors[tensor].op in _SELECT and not tensors[tensor].is_map
        if selects and sources and tensors[sources[0]].is_map:
            end = flow.position[tensor]
            mixing = [t for t in flow.order[:end] if tensors[t].op in _ATTENTION]
            if mixing:
                last = flow.position[mixing[-1]]
                return [t for t in trunk if flow.position[t] < last]
    return trunk


def _lowest_resolution(maps, tensors):
    def positions(tensor):
        return math.prod(size or math.inf for size in tensors[tensor].spatial)

    lowest = min(map(positions, maps), default=0)
    return [t for t in maps if positions(t) == lowest]


def _after_activation(tensor, flow, tensors):
    """Follows the paths on while they only normalise, activate or add a skip connection.

    Returns:
      (the last tensor with the same positions and channels, how far the paths were followed).
    """
    found = current = tensor
    while (following := flow.next_common(current)) is not None:
        between = {tensors[t].op for t in flow.between(current, following)}
        if not {tensors[following].op, *between} <= _ELEMENTWISE:
            break
        current = following
        if _same_map(tensors[found], tensors[current]):
            found = current
    return found, flow.position[current]


def _same_map(a, b):
    """Same positions and channels; a 1-D convolution runs as a 2-D one with a size of 1."""
    sizes_a, sizes_b = ([s for s in t.spatial if s != 1] for t in (a, b))
    same = b.is_map and sizes_a == sizes_b and a.shape[-1] == b.shape[-1]
    return same and b.shape.rank <= a.shape.rank
