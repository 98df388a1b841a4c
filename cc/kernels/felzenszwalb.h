// Felzenszwalb's graph segmentation of images at several scales, from one blur
// and one sort of the edges. No TensorFlow here.
//
// Felzenszwalb and Huttenlocher 2004, "Efficient graph-based image
// segmentation" (doi:10.1023/B:VISI.0000022288.19776.77), as
// skimage.segmentation.felzenszwalb defines it, label for label for up to 7
// channels, with one thing settled that is open there: edges of exactly the
// same cost come in the order right, down, down and right, up and right, each
// row by row.
#ifndef TFSAL_CC_KERNELS_FELZENSZWALB_H_
#define TFSAL_CC_KERNELS_FELZENSZWALB_H_

#include <cstdint>

#include "cc/kernels/parallel.h"

namespace tfsal {

struct ImageShape {
  int64_t examples;
  int64_t height;
  int64_t width;
  int64_t channels;
};

struct FelzenszwalbOptions {
  const double* scales;  // [scale_count]: the larger, the larger the segments
  int64_t scale_count;
  double sigma;      // of the Gaussian that blurs the image, in pixels; 0: none
  int64_t min_size;  // in pixels: smaller segments join a neighbour
};

// What cannot be segmented, in one line, or nullptr. To be asked before
// anything is allocated.
const char* FelzenszwalbError(ImageShape shape,
                              const FelzenszwalbOptions& options);

// images: [examples, height, width, channels], dense; labels: [examples,
// scale_count, height, width], 0, 1, ... in the order of the segments' first
// pixels, row by row. Any values are segmented; edges that cost NaN come last.
// Results do not depend on the number of threads. Up to 8 (channels + 16) bytes
// a pixel are allocated for an example, and 32 for each scale in work.
template <typename T>  // float or double
void Felzenszwalb(const T* images, ImageShape shape,
                  const FelzenszwalbOptions& options, int32_t* labels,
                  Parallel& parallel);

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_FELZENSZWALB_H_
