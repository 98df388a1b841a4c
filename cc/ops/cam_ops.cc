// The ops' definitions: inputs, outputs, shapes, and what they compute.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfsal {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Sets the map's shape; `activations` becomes what all inputs together know.
absl::Status MapShape(InferenceContext* c, ShapeHandle activations) {
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(activations, 3, &activations));
  ShapeHandle map = c->UnknownShape();
  if (c->RankKnown(activations)) {
    TF_RETURN_IF_ERROR(c->Subshape(activations, 0, -1, &map));
  }
  c->set_output(0, map);
  return absl::OkStatus();
}

absl::Status ElementwiseShape(InferenceContext* c) {
  ShapeHandle both;
  TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &both));
  return MapShape(c, both);
}

absl::Status WeightedShape(InferenceContext* c) {
  ShapeHandle both;
  TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->input(1), &both));
  TF_RETURN_IF_ERROR(MapShape(c, both));
  DimensionHandle examples = c->UnknownDim(), channels = c->UnknownDim();
  if (c->RankKnown(both)) {
    examples = c->Dim(both, 0);
    channels = c->Dim(both, -1);
  }
  c->set_output(1, c->Matrix(examples, channels));
  return absl::OkStatus();
}

absl::Status GivenWeightsShape(InferenceContext* c) {
  ShapeHandle activations, weights;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 3, &activations));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &weights));
  if (c->RankKnown(activations)) {
    DimensionHandle same;
    TF_RETURN_IF_ERROR(
        c->Merge(c->Dim(activations, 0), c->Dim(weights, 0), &same));
    TF_RETURN_IF_ERROR(
        c->Merge(c->Dim(activations, -1), c->Dim(weights, 1), &same));
  }
  return MapShape(c, activations);
}

// Inputs and attributes that all of them have.
#define TFSAL_CAM_OP(name)                                   \
  REGISTER_OP(name)                                          \
      .Attr("T: {half, bfloat16, float, double} = DT_FLOAT") \
      .Attr("Tsum: {float, double} = DT_FLOAT")              \
      .Attr("relu: bool = false")                            \
      .Input("activations: T")

TFSAL_CAM_OP("TfsalGradCam")
    .Input("gradients: T")
    .Output("cam: Tsum")
    .Output("weights: Tsum")
    .SetShapeFn(WeightedShape)
    .Doc(R"doc(
Grad-CAM: channels weighted by the mean of their gradient.

    weights[n, k] = mean_p gradients[n, p, k]
    cam[n, p]     = sum_k weights[n, k] activations[n, p, k]

with p over all spatial positions. Selvaraju et al. 2017 (arXiv:1610.02391),
equations 1 and 2. Reads each input once.

activations: `[examples, *spatial, channels]`, any number of spatial axes.
gradients: of the score at the activations, of the same shape.
cam: `[examples, *spatial]`.
weights: `[examples, channels]`.
T: type of the inputs.
Tsum: type of sums and results: double when T is double, else float.
relu: negative values of the map become 0.
)doc");

TFSAL_CAM_OP("TfsalGradCamPlusPlus")
    .Attr("alpha: {'paper', 'normalized', 'mean'} = 'paper'")
    .Input("gradients: T")
    .Output("cam: Tsum")
    .Output("weights: Tsum")
    .SetShapeFn(WeightedShape)
    .Doc(R"doc(
Grad-CAM++: channels weighted by their positive gradients, position by position.

    total[n, k]    = sum_p activations[n, p, k]
    alpha[n, p, k] = 1 / (2 + total[n, k] gradients[n, p, k])
    weights[n, k]  = sum_p alpha[n, p, k] relu(gradients[n, p, k])
    cam[n, p]      = sum_k weights[n, k] activations[n, p, k]

Chattopadhay et al. 2018 (arXiv:1710.11063), equation 19, divided by exp(score):
a positive factor for each example that no float could hold. Terms whose
denominator is 0 count 0. Reads activations twice and gradients once.

activations: `[examples, *spatial, channels]`, any number of spatial axes.
gradients: of the score (the logit) at the activations, of the same shape.
cam: `[examples, *spatial]`.
weights: `[examples, channels]`.
T: type of the inputs.
Tsum: type of sums and results: double when T is double, else float.
alpha: 'paper'; 'normalized': alpha divided by its sum over the positions with
  a positive gradient, as in the authors' code; 'mean': total is the mean.
relu: negative values of the map become 0.
)doc");

TFSAL_CAM_OP("TfsalXGradCam")
    .Attr("epsilon: float = 1e-7")
    .Input("gradients: T")
    .Output("cam: Tsum")
    .Output("weights: Tsum")
    .SetShapeFn(WeightedShape)
    .Doc(R"doc(
XGrad-CAM and Respond-CAM: channels weighted by their activation's mean gradient.

    weights[n, k] = sum_p activations[n, p, k] gradients[n, p, k]
                    / (sum_p activations[n, p, k] + epsilon)
    cam[n, p]     = sum_k weights[n, k] activations[n, p, k]

Fu et al. 2020 (arXiv:2008.02312), equation 8; Zhao et al. 2018
(arXiv:1806.00102). Reads activations twice and gradients once.

activations: `[examples, *spatial, channels]`, any number of spatial axes.
gradients: of the score at the activations, of the same shape.
cam: `[examples, *spatial]`.
weights: `[examples, channels]`.
T: type of the inputs.
Tsum: type of sums and results: double when T is double, else float.
epsilon: keeps channels without activation from dividing by 0.
relu: negative values of the map become 0.
)doc");

TFSAL_CAM_OP("TfsalHiResCam")
    .Input("gradients: T")
    .Output("cam: Tsum")
    .SetShapeFn(ElementwiseShape)
    .Doc(R"doc(
HiResCAM: activations times gradients, summed over channels.

    cam[n, p] = sum_k gradients[n, p, k] activations[n, p, k]

Draelos and Carin 2020 (arXiv:2011.08891), equation 4. Reads each input once.

activations: `[examples, *spatial, channels]`, any number of spatial axes.
gradients: of the score at the activations, of the same shape.
cam: `[examples, *spatial]`.
T: type of the inputs.
Tsum: type of sums and results: double when T is double, else float.
relu: negative values of the map become 0.
)doc");

TFSAL_CAM_OP("TfsalLayerCam")
    .Input("gradients: T")
    .Output("cam: Tsum")
    .SetShapeFn(ElementwiseShape)
    .Doc(R"doc(
LayerCAM: activations times positive gradients, summed over channels.

    cam[n, p] = sum_k relu(gradients[n, p, k]) activations[n, p, k]

Jiang et al. 2021 (doi:10.1109/TIP.2021.3089943), equations 5 to 7. Reads each
input once.

activations: `[examples, *spatial, channels]`, any number of spatial axes.
gradients: of the score at the activations, of the same shape.
cam: `[examples, *spatial]`.
T: type of the inputs.
Tsum: type of sums and results: double when T is double, else float.
relu: negative values of the map become 0.
)doc");

TFSAL_CAM_OP("TfsalWeightedCam")
    .Input("weights: Tsum")
    .Output("cam: Tsum")
    .SetShapeFn(GivenWeightsShape)
    .Doc(R"doc(
CAM and Saliency Tubes: activations summed with channel weights that are given.

    cam[n, p] = sum_k weights[n, k] activations[n, p, k]

Stergiou et al. 2019 (arXiv:1902.01078). Reads the activations once.

activations: `[examples, *spatial, channels]`, any number of spatial axes.
weights: `[examples, channels]`, such as the last dense layer's for one class.
cam: `[examples, *spatial]`.
T: type of the activations.
Tsum: type of weights, sums and results: double when T is double, else float.
relu: negative values of the map become 0.
)doc");

#undef TFSAL_CAM_OP

}  // namespace
}  // namespace tfsal
