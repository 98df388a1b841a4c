"""The reductions of activations A and gradients G at a layer to a class activation map.

Each is one fused op (cc/ops) where the op library is loaded and the graph need not be portable, and
its composite otherwise; results agree to float32 rounding.

Shapes: A and G are [N, *spatial, C] of any spatial rank; a map is [N, *spatial], channel weights
are [N, C]. Inputs are float16, bfloat16, float32 or float64; half precision is summed in float32,
and results are float32, or float64 for float64. `relu` makes negative values of the map 0. NaN and
infinity flow through. Differentiable.
"""

import tensorflow as tf

from tfsal.ops import cam_composites, fused
from tfsal.ops.precision import at_least_float32


def grad_cam(activations, gradients, relu=False):
    """Grad-CAM: sum_k w_k A_k with w_k the mean of G_k over positions.

    Selvaraju et al. 2017 (arXiv:1610.02391), equations 1 and 2.

    Returns:
      (map, weights).
    """
    return _reduce("TfsalGradCam", activations, gradients, relu=relu)


def grad_cam_plus_plus(activations, gradients, relu=False, alpha="paper"):
    """Grad-CAM++: sum_k w_k A_k with w_k the sum over positions of alpha_k relu(G_k).

    Chattopadhay et al. 2018 (arXiv:1710.11063), equation 19, divided by exp(score): a positive
    factor of each example that no float could hold. G is the gradient of the logit. With s_k the
    sum of A_k over positions, alpha_k = G_k^2 / (2 G_k^2 + s_k G_k^3) = 1 / (2 + s_k G_k); a term
    with a denominator of 0 counts 0.

    Args:
      activations, gradients, relu: see above.
      alpha: "paper"; "normalized": divided by its sum over the positions where G is positive, as
        in the authors' code; "mean": s_k is the mean, as in xplique.

    Returns:
      (map, weights).
    """
    return _reduce("TfsalGradCamPlusPlus", activations, gradients, relu=relu, alpha=alpha)


def x_grad_cam(activations, gradients, relu=False, epsilon=1e-7):
    """XGrad-CAM and Respond-CAM: sum_k w_k A_k with w_k = sum_p A_k G_k / (sum_p A_k + epsilon).

    Fu et al. 2020 (arXiv:2008.02312), equation 8; Zhao et al. 2018 (arXiv:1806.00102).

    Args:
      activations, gradients, relu: see above.
      epsilon: keeps a channel without activation from dividing by 0.

    Returns:
      (map, weights).
    """
    return _reduce("TfsalXGradCam", activations, gradients, relu=relu, epsilon=epsilon)


def hires_cam(activations, gradients, relu=False):
    """HiResCAM: sum_k G_k * A_k, elementwise.

    Draelos and Carin 2020 (arXiv:2011.08891), equation 4.

    Returns:
      The map.
    """
    return _reduce("TfsalHiResCam", activations, gradients, relu=relu)[0]


def layer_cam(activations, gradients, relu=False):
    """LayerCAM: sum_k ReLU(G_k) * A_k, elementwise.

    Jiang et al. 2021 (doi:10.1109/TIP.2021.3089943), equations 5 to 7.

    Returns:
      The map.
    """
    return _reduce("TfsalLayerCam", activations, gradients, relu=relu)[0]


def weighted_cam(activations, weights, relu=False):
    """CAM and Saliency Tubes: sum_k w_k A_k with weights that are given.

    Zhou et al. 2016 (arXiv:1512.04150), equation 2; Stergiou et al. 2019 (arXiv:1902.01078).

    Args:
      activations, relu: see above.
      weights: [N, C], float32, or float64 for float64 activations.

    Returns:
      The map.
    """
    return _reduce("TfsalWeightedCam", activations, weights, relu=relu)[0]


# Op: (its name in the library's module, composite).
_OPS = {
    "TfsalGradCam": ("tfsal_grad_cam", cam_composites.grad_cam),
    "TfsalGradCamPlusPlus": ("tfsal_grad_cam_plus_plus", cam_composites.grad_cam_plus_plus),
    "TfsalXGradCam": ("tfsal_x_grad_cam", cam_composites.x_grad_cam),
    "TfsalHiResCam": ("tfsal_hi_res_cam", cam_composites.hires_cam),
    "TfsalLayerCam": ("tfsal_layer_cam", cam_composites.layer_cam),
    "TfsalWeightedCam": ("tfsal_weighted_cam", cam_composites.weighted_cam),
}


def _reduce(op, activations, second, **attributes):
    name, composite = _OPS[op]
    ops = fused.ops()
    if ops is None:
        return composite(activations, second, **attributes)
    activations = tf.convert_to_tensor(activations)
    if op != "TfsalWeightedCam":
        if activations.dtype != second.dtype:  # Gradients in half precision were scaled back.
            activations, second = at_least_float32(activations), at_least_float32(second)
        # A weighted map's weights say it.
        attributes["Tsum"] = tf.float64 if activations.dtype == tf.float64 else tf.float32
    found = getattr(ops, name)(activations, second, **attributes)
    return found if isinstance(found, tuple) else (found, None)


def _register_gradient(op, composite):
    """The gradient of a fused op is that of its composite."""

    @tf.RegisterGradient(op)
    def gradient(node, *upstream):
        names = {"relu": node.get_attr("relu")}
        if op == "TfsalGradCamPlusPlus":
            names["alpha"] = node.get_attr("alpha").decode()
        if op == "TfsalXGradCam":
            names["epsilon"] = node.get_attr("epsilon")
        inputs = list(node.inputs)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = [x for x in composite(*inputs, **names) if x is not None]
        return tape.gradient(outputs, inputs, list(upstream))


for _op, (_, _composite) in _OPS.items():
    _register_gradient(_op, _composite)
