// The definitions of the ops on regions: segmentation, and XRAI's ranking.
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfsal {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status FelzenszwalbShape(InferenceContext* c) {
  ShapeHandle images, scales, sigma;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &images));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &scales));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 0, &sigma));
  c->set_output(0, c->MakeShape({c->Dim(images, 0), c->Dim(scales, 0),
                                 c->Dim(images, 1), c->Dim(images, 2)}));
  return absl::OkStatus();
}

absl::Status XraiShape(InferenceContext* c) {
  ShapeHandle attribution, labels, threshold;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &attribution));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &labels));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 0, &threshold));
  const ShapeHandle of_labels =
      c->MakeShape({c->Dim(labels, 0), c->Dim(labels, 2), c->Dim(labels, 3)});
  ShapeHandle map;
  TF_RETURN_IF_ERROR(c->Merge(attribution, of_labels, &map));
  c->set_output(0, map);
  c->set_output(1, map);
  return absl::OkStatus();
}

REGISTER_OP("TfsalFelzenszwalb")
    .Attr("T: {float, double} = DT_FLOAT")
    .Attr("min_size: int >= 0 = 150")
    .Input("images: T")
    .Input("scales: double")
    .Input("sigma: double")
    .Output("labels: int32")
    .SetShapeFn(FelzenszwalbShape)
    .Doc(R"doc(
Felzenszwalb's graph segmentation of images, at several scales.

Pixels are joined along the edges between 8-connected neighbours, from the
least cost to the greatest. The cost of an edge is the Euclidean distance of its
pixels' channels after a Gaussian blur. Two segments a and b are joined by an
edge of

    cost < min(inner[a] + scale / 255 / size[a], inner[b] + scale / 255 / size[b])

where inner is the greatest cost that joined pixels of the segment. Then, in the
same order, segments with fewer than min_size pixels are joined to a neighbour.
Felzenszwalb and Huttenlocher 2004 (doi:10.1023/B:VISI.0000022288.19776.77), with
the result of skimage.segmentation.felzenszwalb, label for label, except that
edges of exactly the same cost are taken in the order right, down, down and
right, up and right, each row by row. One blur and one sort for all scales.

images: `[examples, height, width, channels]`, of any values.
scales: `[scales]`, finite and not negative; the larger, the larger the segments.
sigma: of the blur, in pixels, from 0 to 1000.
labels: `[examples, scales, height, width]`, 0, 1, ... in the order of the
  segments' first pixels, row by row.
min_size: in pixels.
)doc");

REGISTER_OP("TfsalXrai")
    .Attr("radius: int >= 0 = 5")
    .Attr("min_pixel_diff: int >= 1 = 50")
    .Attr("algorithm: {'full', 'fast'} = 'full'")
    .Input("attribution: float")
    .Input("labels: int32")
    .Input("area_threshold: double")
    .Output("map: float")
    .Output("ranking: int32")
    .SetShapeFn(XraiShape)
    .Doc(R"doc(
XRAI: regions ranked by their attribution.

The pixels of equal label at one scale are a segment. Each segment is dilated by
a disk. Regions are then taken one after the other, each as those pixels of a
segment that no region has covered before. Kapishnikov et al. 2019
(arXiv:1906.02825), with the parameters of the authors' package `saliency`.

attribution: `[examples, height, width]`.
labels: `[examples, scales, height, width]`, not negative, and below 65536 or
  height * width, whichever is more.
area_threshold: from 0 to 1; 'full' stops when the regions cover more than this
  part of the image.
map: `[examples, height, width]`: the mean attribution of each pixel's region,
  and of all pixels in no region for those. Its sum is the attribution's. NaN for
  an example whose attribution has NaN or infinity.
ranking: `[examples, height, width]`: 0 for the region that was taken first, 1
  for the second, ..., -1 for pixels in no region.
radius: of the disk, in pixels.
min_pixel_diff: segments with fewer uncovered pixels make no region.
algorithm: 'full' takes the segment whose uncovered pixels have the greatest
  mean, again and again; 'fast' takes the segments in the order of the mean over
  all of their pixels.
)doc");

}  // namespace
}  // namespace tfsal
