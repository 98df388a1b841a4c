"""Which layer a class activation map is drawn on when the user names none.

The output, after normalisation and activation, of the last convolution or of the merge that joins
branches, that still has positions and lies on every way from the inputs to the score. Pooling ends
the search. For a dense output (segmentation) no inner layer needs to be on every way, because skip
connections go around it: there it is the deepest such tensor of the lowest resolution.
"""

import math

CONVOLUTIONS = frozenset(
    "Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2 "
    "_FusedConv2D BatchToSpaceND".split()
)
_ATTENTION = frozenset(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"))
_SELECT = frozenset(("StridedSlice", "Slice", "GatherV2", "GatherNd"))
# What may stand between a convolution and its "output after normalisation and activation".
_ELEMENTWISE = frozenset(
    "BiasAdd Add AddV2 AddN Sub Mul RealDiv Div Maximum Minimum Neg Abs Square Sqrt Rsqrt Pow Exp "
    "Log Log1p SquaredDifference Reciprocal Identity IdentityN Cast StopGradient Squeeze ExpandDims "
    "Reshape Mean Sum FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Relu Relu6 LeakyRelu Elu "
    "Selu Softplus Softsign Sigmoid Tanh Erf Erfc ClipByValue Select SelectV2".split()
)


def default_layer(flow, tensors):
    """Finds the default layer.

    Args:
      flow: Flow to the score.
      tensors: {tensor name: TensorInfo}.

    Returns:
      A tensor name, or None when no tensor qualifies.
    """
    dense = any(tensors[sink].is_map for sink in flow.sinks)
    candidates = flow.order if dense else _before_token_selection(flow, tensors)
    anchors = [
        t
        for before, t in zip([None, *candidates], candidates, strict=False)
        if tensors[t].is_map and _is_anchor(t, None if dense else before, flow, tensors)
    ]
    if not anchors:
        return None
    if dense:
        anchors = _lowest_resolution(anchors, tensors)
    return _after_activation(anchors[-1], flow, tensors)


def _is_anchor(tensor, before, flow, tensors):
    if tensors[tensor].op in CONVOLUTIONS:
        return True
    if before is None:
        return False
    merges = len(set(flow.inputs(tensor))) > 1
    ops = {tensors[t].op for t in flow.between(before, tensor)}
    return merges or bool(ops & CONVOLUTIONS)


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


def _lowest_resolution(anchors, tensors):
    def positions(tensor):
        return math.prod(size or math.inf for size in tensors[tensor].spatial)

    lowest = min(positions(t) for t in anchors)
    return [t for t in anchors if positions(t) == lowest]


def _after_activation(tensor, flow, tensors):
    """Follows the ways on while they only normalise, activate or add a skip connection."""
    while True:
        following = flow.next_common(tensor)
        if following is None or not _same_map(tensors[tensor], tensors[following]):
            return tensor
        between = {tensors[t].op for t in flow.between(tensor, following)}
        if not {tensors[following].op, *between} <= _ELEMENTWISE:
            return tensor
        tensor = following


def _same_map(a, b):
    """Same positions and channels; a 1-D convolution runs as a 2-D one with a size of 1."""
    sizes_a = [s for s in a.spatial if s != 1]
    return b.is_map and sizes_a == [s for s in b.spatial if s != 1] and a.shape[-1] == b.shape[-1]
