// The segments of an image, each dilated by a disk.
#ifndef TFSAL_CC_KERNELS_DILATION_H_
#define TFSAL_CC_KERNELS_DILATION_H_

#include <cstdint>
#include <vector>

#include "cc/kernels/pixel_sets.h"

namespace tfsal {

// Dilated segments: the words that hold a pixel of theirs.
struct Masks {
  std::vector<Word> words;
  std::vector<int64_t> ends;  // of each mask's words
  std::vector<Amount> amounts;
};

// labels: [height, width], 0 or more; the pixels of equal label are a segment.
// Segments that have fewer than min_pixels when dilated are left out.
Masks Dilate(const int32_t* labels, const PixelGrid& grid, int64_t radius,
             int64_t min_pixels, const Attribution& attribution);

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_DILATION_H_
