// XRAI's ranking of an image's regions, from an attribution of its pixels and
// segmentations of it at several scales. No TensorFlow here.
//
// Kapishnikov et al. 2019 (arXiv:1906.02825), with the parameters of the
// authors' package `saliency`.
#ifndef TFSAL_CC_KERNELS_XRAI_H_
#define TFSAL_CC_KERNELS_XRAI_H_

#include <cstdint>

#include "cc/kernels/parallel.h"

namespace tfsal {

struct SegmentsShape {
  int64_t examples;
  int64_t scales;
  int64_t height;
  int64_t width;
};

struct XraiOptions {
  int64_t radius = 5;  // of the disk that dilates each segment, in pixels
  int64_t min_pixel_diff = 50;  // fewer new pixels make no region
  // Full stops when the regions cover more than this part of the image.
  double area_threshold = 1;
  bool fast = false;
};

// What cannot be ranked, in one line, or nullptr. To be asked before anything
// is allocated.
const char* XraiError(SegmentsShape shape, const XraiOptions& options);

// Labels of a segmentation are from 0 to less than this.
int64_t LabelsEnd(SegmentsShape shape);

// The place of a label that is none, or -1.
int64_t FindBadLabel(const int32_t* labels, SegmentsShape shape);

// attribution: [examples, height, width]. labels: [examples, scales, height,
// width], checked with FindBadLabel(). The pixels of equal label at one scale
// are a segment, connected or not. Each segment is dilated by a disk; then
// regions are taken one after the other, each as the pixels of a segment that
// none has covered before:
//   full: of the segment whose pixels that are still uncovered have the
//     greatest mean attribution, again and again;
//   fast: of the segments in the order of their mean attribution, all pixels
//     of each counted.
// Of equal ones, that of the first scale and least label comes first. Segments
// with fewer than min_pixel_diff such pixels are left out.
//
// map: [examples, height, width], each pixel its region's mean attribution, and
// the mean of what is left over where there is no region: the sum is that of
// the attribution. ranking: of the same shape, 0 for the first region, and -1
// for what is left over. An example with NaN or infinity has a map of NaN and a
// ranking of -1. Sums are exact to 2^-62 of the largest attribution times the
// number of pixels, so that results do not depend on any order, nor on the
// number of threads.
void Xrai(const float* attribution, const int32_t* labels, SegmentsShape shape,
          const XraiOptions& options, float* map, int32_t* ranking,
          Parallel& parallel);

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_XRAI_H_
