// tfsal.kernels.regions: segmentations and XRAI's ranking on NumPy arrays.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "cc/kernels/felzenszwalb.h"
#include "cc/kernels/xrai.h"
#include "cc/python/arrays.h"

namespace py = pybind11;

namespace {

using tfsal::CheckThreads;
using tfsal::Describe;
using tfsal::FelzenszwalbOptions;
using tfsal::ImageShape;
using tfsal::kNotReadable;
using tfsal::Readable;
using tfsal::SegmentsShape;
using tfsal::WithThreads;
using tfsal::XraiOptions;

void CheckReadable(const char* name, const py::array& a) {
  if (!Readable(a)) throw py::value_error(name + std::string(kNotReadable));
}

template <typename T>
py::array_t<int32_t> SegmentAs(const py::array& images, ImageShape shape,
                               const FelzenszwalbOptions& options,
                               int threads) {
  py::array_t<int32_t> labels(std::vector<py::ssize_t>{
      shape.examples, options.scale_count, shape.height, shape.width});
  const auto* data = static_cast<const T*>(images.data());
  int32_t* labels_data = labels.mutable_data();
  {
    py::gil_scoped_release release;
    WithThreads(threads, [&](tfsal::Parallel& parallel) {
      tfsal::Felzenszwalb(data, shape, options, labels_data, parallel);
    });
  }
  return labels;
}

py::array_t<int32_t> Felzenszwalb(const py::array& images,
                                  const std::vector<double>& scales,
                                  double sigma, int64_t min_size, int threads) {
  if (images.ndim() != 4) {
    throw py::value_error(
        "images are [examples, height, width, channels], not " +
        Describe(images));
  }
  CheckReadable("images", images);
  CheckThreads(threads);
  const ImageShape shape = {images.shape(0), images.shape(1), images.shape(2),
                            images.shape(3)};
  const FelzenszwalbOptions options = {
      scales.data(), static_cast<int64_t>(scales.size()), sigma, min_size};
  if (const char* error = FelzenszwalbError(shape, options))
    throw py::value_error(error);
  if (py::isinstance<py::array_t<float>>(images))
    return SegmentAs<float>(images, shape, options, threads);
  if (py::isinstance<py::array_t<double>>(images))
    return SegmentAs<double>(images, shape, options, threads);
  throw py::type_error("images are float32 or float64, not " +
                       std::string(py::str(images.dtype())));
}

py::tuple Xrai(const py::array& attribution, const py::array& labels,
               int64_t radius, int64_t min_pixel_diff, double area_threshold,
               const std::string& algorithm, int threads) {
  if (!py::isinstance<py::array_t<float>>(attribution) ||
      !py::isinstance<py::array_t<int32_t>>(labels)) {
    throw py::type_error("attribution is float32 and labels are int32, not " +
                         std::string(py::str(attribution.dtype())) + " and " +
                         std::string(py::str(labels.dtype())));
  }
  if (attribution.ndim() != 3 || labels.ndim() != 4 ||
      labels.shape(0) != attribution.shape(0) ||
      labels.shape(2) != attribution.shape(1) ||
      labels.shape(3) != attribution.shape(2)) {
    throw py::value_error(
        "attribution is [examples, height, width] and labels are [examples, "
        "scales, height, width], not " +
        Describe(attribution) + " and " + Describe(labels));
  }
  if (algorithm != "full" && algorithm != "fast") {
    throw py::value_error("algorithm is 'full' or 'fast', not '" + algorithm +
                          "'");
  }
  CheckReadable("attribution", attribution);
  CheckReadable("labels", labels);
  CheckThreads(threads);
  const SegmentsShape shape = {labels.shape(0), labels.shape(1),
                               labels.shape(2), labels.shape(3)};
  const XraiOptions options = {radius, min_pixel_diff, area_threshold,
                               algorithm == "fast"};
  if (const char* error = XraiError(shape, options))
    throw py::value_error(error);
  const auto* values = static_cast<const float*>(attribution.data());
  const auto* labels_data = static_cast<const int32_t*>(labels.data());
  const int64_t bad = FindBadLabel(labels_data, shape);
  if (bad >= 0) {
    throw py::value_error("labels are from 0 to " +
                          std::to_string(LabelsEnd(shape) - 1) + ", not " +
                          std::to_string(labels_data[bad]));
  }
  const std::vector<py::ssize_t> size = {shape.examples, shape.height,
                                         shape.width};
  py::array_t<float> map(size);
  py::array_t<int32_t> ranking(size);
  float* map_data = map.mutable_data();
  int32_t* ranking_data = ranking.mutable_data();
  {
    py::gil_scoped_release release;
    WithThreads(threads, [&](tfsal::Parallel& parallel) {
      tfsal::Xrai(values, labels_data, shape, options, map_data, ranking_data,
                  parallel);
    });
  }
  return py::make_tuple(map, ranking);
}

}  // namespace

PYBIND11_MODULE(regions, m) {
  m.doc() =
      "Segmentations of images, and XRAI's ranking of their regions, on NumPy "
      "arrays.\n\n"
      "threads: 0 is one per processor; results do not depend on it. Arrays "
      "are "
      "C-contiguous;\nnothing is copied, and the GIL is released. Raises "
      "ValueError for a wrong shape, value or\nlayout, TypeError for a wrong "
      "dtype.";
  const auto threads = py::arg("threads") = 0;
  m.def("felzenszwalb", &Felzenszwalb, py::arg("images"), py::arg("scales"),
        py::kw_only(), py::arg("sigma") = 0.8, py::arg("min_size") = 150,
        threads,
        "Graph segmentation (Felzenszwalb and Huttenlocher 2004) at several "
        "scales.\n\n"
        "images: [N, H, W, C], float32 or float64. scales: K numbers; the "
        "larger, the larger\nthe segments. sigma: of the blur, in pixels. "
        "min_size: smaller segments, in pixels,\njoin a neighbour. Returns "
        "labels [N, K, H, W] int32, numbered in the order of the\nsegments' "
        "first pixels, as skimage.segmentation.felzenszwalb does; edges of "
        "exactly the\nsame cost are taken in the order right, down, down and "
        "right, up and right.");
  m.def(
      "xrai", &Xrai, py::arg("attribution"), py::arg("labels"), py::kw_only(),
      py::arg("radius") = 5, py::arg("min_pixel_diff") = 50,
      py::arg("area_threshold") = 1., py::arg("algorithm") = "full", threads,
      "XRAI's ranking of regions (arXiv:1906.02825).\n\n"
      "attribution: [N, H, W] float32. labels: [N, K, H, W] int32, not "
      "negative, below 65536\nor H W, whichever is more. radius: of the disk "
      "that dilates each segment, in pixels.\nmin_pixel_diff: fewer new "
      "pixels make no region. area_threshold: 'full' stops when\nregions "
      "cover more than this part of the image. algorithm: 'full': always the "
      "segment\nwhose new pixels have the greatest mean; 'fast': the segments "
      "in the order of their\nmeans. Returns (map [N, H, W] float32, ranking "
      "[N, H, W] int32: 0 for the region that\nwas taken first, -1 for "
      "pixels that are in none). An example with NaN or infinity has a\nmap "
      "of NaN.");
}
