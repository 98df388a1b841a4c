// The reductions of activations A and gradients G at a layer to a class
// activation map, one pass over memory each. No TensorFlow here.
//
// A and G are dense and row-major, [examples, positions, channels]: any number
// of spatial axes is one axis of positions. A map `cam` is [examples,
// positions], `weights` are [examples, channels]. Inputs may be double, float,
// Half or BFloat16; sums and results are Sum<T>. NaN and infinity flow through
// as in the formula. Results do not depend on the number of threads. Besides
// the outputs, no more than 130 sums per channel are allocated for an example,
// and 2 for each thread.
#ifndef TFSAL_CC_KERNELS_CAM_H_
#define TFSAL_CC_KERNELS_CAM_H_

#include <cstdint>

#include "cc/kernels/parallel.h"
#include "cc/kernels/types.h"

namespace tfsal {

struct CamShape {
  int64_t examples;
  int64_t positions;
  int64_t channels;
};

// Grad-CAM, Selvaraju et al. 2017 (arXiv:1610.02391), eq. 1 and 2:
//   w_k = mean_p G_pk,  cam_p = sum_k w_k A_pk.
// Reads A once and G once. relu: negative values of the map become 0.
template <typename T>
void GradCam(const T* a, const T* g, CamShape shape, bool relu, Sum<T>* cam,
             Sum<T>* weights, Parallel& parallel);

// How Grad-CAM++ weighs positions, with s_k = sum_p A_pk.
enum class PlusPlusAlpha {
  kPaper,       // alpha = 1 / (2 + s G), eq. 19
  kNormalized,  // ... divided by its sum over positions where G > 0, as in the
                // authors' code
  kMean,        // ... with the mean of A instead of its sum, as in xplique
};

// Grad-CAM++, Chattopadhay et al. 2018 (arXiv:1710.11063), eq. 19 divided by
// exp(score), which no float could hold:
//   w_k = sum_p alpha_pk relu(G_pk),  cam_p = sum_k w_k A_pk.
// Terms with a denominator of 0 count 0. Reads A twice and G once.
template <typename T>
void GradCamPlusPlus(const T* a, const T* g, CamShape shape,
                     PlusPlusAlpha alpha, bool relu, Sum<T>* cam,
                     Sum<T>* weights, Parallel& parallel);

// XGrad-CAM, Fu et al. 2020 (arXiv:2008.02312), eq. 8, and Respond-CAM, Zhao et
// al. 2018 (arXiv:1806.00102):
//   w_k = sum_p A_pk G_pk / (sum_p A_pk + epsilon),  cam_p = sum_k w_k A_pk.
// Reads A twice and G once.
template <typename T>
void XGradCam(const T* a, const T* g, CamShape shape, double epsilon, bool relu,
              Sum<T>* cam, Sum<T>* weights, Parallel& parallel);

// HiResCAM, Draelos and Carin 2020 (arXiv:2011.08891), eq. 4:
//   cam_p = sum_k G_pk A_pk.
// Reads A once and G once.
template <typename T>
void HiResCam(const T* a, const T* g, CamShape shape, bool relu, Sum<T>* cam,
              Parallel& parallel);

// LayerCAM, Jiang et al. 2021 (doi:10.1109/TIP.2021.3089943), eq. 5 to 7:
//   cam_p = sum_k relu(G_pk) A_pk.
// Reads A once and G once.
template <typename T>
void LayerCam(const T* a, const T* g, CamShape shape, bool relu, Sum<T>* cam,
              Parallel& parallel);

// CAM and Saliency Tubes, Stergiou et al. 2019 (arXiv:1902.01078): channel
// weights that are given, [examples, channels].
//   cam_p = sum_k w_k A_pk.
// Reads A once.
template <typename T>
void WeightedCam(const T* a, const Sum<T>* weights, CamShape shape, bool relu,
                 Sum<T>* cam, Parallel& parallel);

// The instructions that the kernels use on this processor: "avx512", "avx2" or
// "baseline". The environment variable TFSAL_ISA, read once, can ask for less.
const char* InstructionSet();

}  // namespace tfsal

#endif  // TFSAL_CC_KERNELS_CAM_H_
