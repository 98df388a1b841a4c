// tfsal.kernels.cam: the kernels on NumPy arrays.
#include "cc/kernels/cam.h"

#include <algorithm>
#include <string>
#include <vector>

#include "cc/python/arrays.h"

namespace py = pybind11;

namespace {

using tfsal::CamShape;
using tfsal::CheckThreads;
using tfsal::Describe;
using tfsal::kNotReadable;
using tfsal::Readable;
using tfsal::Sum;
using tfsal::WithThreads;

// Raises ValueError or TypeError for what the kernels must not be given.
CamShape Check(const char* name, const py::array& a) {
  if (a.ndim() < 3) {
    throw py::value_error(std::string(name) +
                          " is [examples, *spatial, channels], not " +
                          Describe(a));
  }
  if (!Readable(a)) {
    throw py::value_error(name + std::string(kNotReadable));
  }
  int64_t positions = 1;
  for (py::ssize_t i = 1; i + 1 < a.ndim(); ++i) positions *= a.shape(i);
  return {a.shape(0), positions, a.shape(a.ndim() - 1)};
}

CamShape CheckPair(const py::array& a, const py::array& g) {
  const CamShape shape = Check("activations", a);
  Check("gradients", g);
  const bool same = a.ndim() == g.ndim() && a.dtype().is(g.dtype()) &&
                    std::equal(a.shape(), a.shape() + a.ndim(), g.shape());
  if (!same) {
    throw py::value_error("activations " + Describe(a) + " and gradients " +
                          Describe(g) + " differ in shape or dtype");
  }
  return shape;
}

// Calls run(T()) with the kernels' type of the array's elements.
template <typename Run>
py::object ForType(const py::array& a, const Run& run) {
  const std::string name = py::str(a.dtype());
  if (name == "float32") return run(float());
  if (name == "float64") return run(double());
  if (name == "float16") return run(tfsal::Half());
  if (name == "bfloat16") return run(tfsal::BFloat16());
  throw py::type_error(
      "activations are float16, bfloat16, float32 or float64, "
      "not " +
      name);
}

template <typename S>
py::array_t<S> Map(const py::array& a) {
  return py::array_t<S>(
      std::vector<py::ssize_t>(a.shape(), a.shape() + a.ndim() - 1));
}

template <typename S>
py::array_t<S> Weights(const CamShape& shape) {
  return py::array_t<S>(
      std::vector<py::ssize_t>{shape.examples, shape.channels});
}

// A reduction that also returns the channels' weights;
// kernel(a, g, shape, cam, weights, parallel).
template <typename Kernel>
py::object Weighted(const py::array& a, const py::array& g, int threads,
                    const Kernel& kernel) {
  const CamShape shape = CheckPair(a, g);
  CheckThreads(threads);
  return ForType(a, [&](auto type) -> py::object {
    using T = decltype(type);
    auto cam = Map<Sum<T>>(a);
    auto weights = Weights<Sum<T>>(shape);
    const auto* a_data = static_cast<const T*>(a.data());
    const auto* g_data = static_cast<const T*>(g.data());
    auto* cam_data = cam.mutable_data();
    auto* weights_data = weights.mutable_data();
    {
      py::gil_scoped_release release;
      WithThreads(threads, [&](tfsal::Parallel& parallel) {
        kernel(a_data, g_data, shape, cam_data, weights_data, parallel);
      });
    }
    return py::make_tuple(cam, weights);
  });
}

// kernel(a, g, shape, cam, parallel).
template <typename Kernel>
py::object Elementwise(const py::array& a, const py::array& g, int threads,
                       const Kernel& kernel) {
  const CamShape shape = CheckPair(a, g);
  CheckThreads(threads);
  return ForType(a, [&](auto type) -> py::object {
    using T = decltype(type);
    auto cam = Map<Sum<T>>(a);
    const auto* a_data = static_cast<const T*>(a.data());
    const auto* g_data = static_cast<const T*>(g.data());
    auto* cam_data = cam.mutable_data();
    {
      py::gil_scoped_release release;
      WithThreads(threads, [&](tfsal::Parallel& parallel) {
        kernel(a_data, g_data, shape, cam_data, parallel);
      });
    }
    return cam;
  });
}

tfsal::PlusPlusAlpha Alpha(const std::string& name) {
  if (name == "paper") return tfsal::PlusPlusAlpha::kPaper;
  if (name == "normalized") return tfsal::PlusPlusAlpha::kNormalized;
  if (name == "mean") return tfsal::PlusPlusAlpha::kMean;
  throw py::value_error("alpha is 'paper', 'normalized' or 'mean', not '" +
                        name + "'");
}

py::object GradCam(const py::array& a, const py::array& g, bool relu,
                   int threads) {
  return Weighted(a, g, threads,
                  [relu](auto* a, auto* g, CamShape shape, auto* cam,
                         auto* weights, tfsal::Parallel& parallel) {
                    tfsal::GradCam(a, g, shape, relu, cam, weights, parallel);
                  });
}

py::object GradCamPlusPlus(const py::array& a, const py::array& g,
                           const std::string& alpha, bool relu, int threads) {
  const tfsal::PlusPlusAlpha kind = Alpha(alpha);
  return Weighted(a, g, threads,
                  [kind, relu](auto* a, auto* g, CamShape shape, auto* cam,
                               auto* weights, tfsal::Parallel& parallel) {
                    tfsal::GradCamPlusPlus(a, g, shape, kind, relu, cam,
                                           weights, parallel);
                  });
}

py::object XGradCam(const py::array& a, const py::array& g, double epsilon,
                    bool relu, int threads) {
  return Weighted(a, g, threads,
                  [epsilon, relu](auto* a, auto* g, CamShape shape, auto* cam,
                                  auto* weights, tfsal::Parallel& parallel) {
                    tfsal::XGradCam(a, g, shape, epsilon, relu, cam, weights,
                                    parallel);
                  });
}

py::object HiResCam(const py::array& a, const py::array& g, bool relu,
                    int threads) {
  return Elementwise(a, g, threads,
                     [relu](auto* a, auto* g, CamShape shape, auto* cam,
                            tfsal::Parallel& parallel) {
                       tfsal::HiResCam(a, g, shape, relu, cam, parallel);
                     });
}

py::object LayerCam(const py::array& a, const py::array& g, bool relu,
                    int threads) {
  return Elementwise(a, g, threads,
                     [relu](auto* a, auto* g, CamShape shape, auto* cam,
                            tfsal::Parallel& parallel) {
                       tfsal::LayerCam(a, g, shape, relu, cam, parallel);
                     });
}

py::object WeightedCam(const py::array& a, const py::array& weights, bool relu,
                       int threads) {
  const CamShape shape = Check("activations", a);
  CheckThreads(threads);
  return ForType(a, [&](auto type) -> py::object {
    using T = decltype(type);
    const bool fits = weights.ndim() == 2 &&
                      weights.shape(0) == shape.examples &&
                      weights.shape(1) == shape.channels && Readable(weights) &&
                      py::isinstance<py::array_t<Sum<T>>>(weights);
    if (!fits) {
      throw py::value_error(
          "weights are C-contiguous, aligned [examples, channels], float32, or "
          "float64 "
          "for float64 activations: for " +
          Describe(a) + " not " + Describe(weights));
    }
    auto cam = Map<Sum<T>>(a);
    const auto* a_data = static_cast<const T*>(a.data());
    const auto* w_data = static_cast<const Sum<T>*>(weights.data());
    auto* cam_data = cam.mutable_data();
    {
      py::gil_scoped_release release;
      WithThreads(threads, [&](tfsal::Parallel& parallel) {
        tfsal::WeightedCam(a_data, w_data, shape, relu, cam_data, parallel);
      });
    }
    return cam;
  });
}

}  // namespace

PYBIND11_MODULE(cam, m) {
  m.doc() =
      "Class activation maps of NumPy arrays, in one pass over memory.\n\n"
      "activations and gradients: [examples, *spatial, channels], both "
      "float16,\nbfloat16 (ml_dtypes), float32 or float64, C-contiguous. "
      "Results are float32,\nor float64 for float64. relu: negative values "
      "become 0. threads: 0 is one per\nprocessor; results do not depend on "
      "it. Nothing is copied, and the GIL is\nreleased. Raises ValueError for "
      "a wrong shape or layout, TypeError for a wrong\ndtype.";
  m.def("instruction_set", &tfsal::InstructionSet,
        "Returns the instructions in use: 'avx512', 'avx2' or 'baseline'.\n\n"
        "The environment variable TFSAL_ISA, read once, can ask for less.");
  const auto a = py::arg("activations");
  const auto g = py::arg("gradients");
  const auto relu = py::arg("relu") = false;
  const auto threads = py::arg("threads") = 0;
  m.def("grad_cam", &GradCam, a, g, py::kw_only(), relu, threads,
        "Grad-CAM (arXiv:1610.02391, eq. 1 and 2).\n\n"
        "Returns (cam [examples, *spatial], weights [examples, channels]).");
  m.def("grad_cam_plus_plus", &GradCamPlusPlus, a, g, py::kw_only(),
        py::arg("alpha") = "paper", relu, threads,
        "Grad-CAM++ (arXiv:1710.11063, eq. 19), divided by exp(score).\n\n"
        "alpha: 'paper', 'normalized' (over positions, as in the authors' "
        "code) or 'mean'\n(the mean of the activations in place of their sum). "
        "Returns (cam, weights).");
  m.def("x_grad_cam", &XGradCam, a, g, py::kw_only(), py::arg("epsilon") = 1e-7,
        relu, threads,
        "XGrad-CAM (arXiv:2008.02312, eq. 8) and Respond-CAM "
        "(arXiv:1806.00102).\n\n"
        "epsilon: added to each channel's sum of activations. Returns (cam, "
        "weights).");
  m.def("hires_cam", &HiResCam, a, g, py::kw_only(), relu, threads,
        "HiResCAM (arXiv:2011.08891, eq. 4). Returns cam [examples, "
        "*spatial].");
  m.def("layer_cam", &LayerCam, a, g, py::kw_only(), relu, threads,
        "LayerCAM (doi:10.1109/TIP.2021.3089943, eq. 5 to 7). Returns cam "
        "[examples, *spatial].");
  m.def("weighted_cam", &WeightedCam, a, py::arg("weights"), py::kw_only(),
        relu, threads,
        "CAM and Saliency Tubes (arXiv:1902.01078): given weights [examples, "
        "channels].\n\nReturns cam [examples, *spatial].");
}
