#include "answer.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "json.h"
#include "report.h"
#include "tensorflow/c/c_api.h"

static int CompareReals(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

// Linear between the two nearest ranks, as numpy.percentile.
static double Percentile(const double* sorted, int count, double percent) {
  double rank = (count - 1) * percent / 100;
  int below = (int)rank;
  int above = below + 1 < count ? below + 1 : below;
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}

static void PrintLatency(Json* json, double* latency_ms, int count) {
  qsort(latency_ms, count, sizeof *latency_ms, CompareReals);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += latency_ms[i];
  JsonOpen(json, "latency_ms", '{');
  JsonReal(json, "mean", sum / count);
  JsonReal(json, "p50", Percentile(latency_ms, count, 50));
  JsonReal(json, "p90", Percentile(latency_ms, count, 90));
  JsonReal(json, "p95", Percentile(latency_ms, count, 95));
  JsonReal(json, "p99", Percentile(latency_ms, count, 99));
  JsonReal(json, "min", latency_ms[0]);
  JsonReal(json, "max", latency_ms[count - 1]);
  JsonClose(json, '}');
}

// A path; a list of them for a string output of several elements or none; null
// when nothing is written.
static void PrintFiles(Json* json, const Options* options,
                       const OutputFiles* files, int output) {
  int first = 0;
  while (first < files->count && files->files[first].output != output) ++first;
  int end = first;
  while (end < files->count && files->files[end].output == output) ++end;
  if (!options->output_dir || end - first == 1) {
    JsonText(json, "file",
             options->output_dir ? files->files[first].path : NULL);
    return;
  }
  JsonOpen(json, "file", '[');
  for (int i = first; i < end; ++i) JsonText(json, NULL, files->files[i].path);
  JsonClose(json, ']');
}

static void PrintOutput(Json* json, const char* name, const TF_Tensor* tensor) {
  int rank = TF_NumDims(tensor);
  int64_t* dims = Allocate(rank, sizeof *dims);
  for (int i = 0; i < rank; ++i) dims[i] = TF_Dim(tensor, i);
  JsonOpen(json, name, '{');
  JsonText(json, "dtype", DTypeOf(TF_TensorType(tensor))->name);
  JsonShape(json, "shape", rank, dims);
  free(dims);
}

void PrintAnswer(const Options* options, const Signature* signature,
                 TF_Tensor* const* outputs, const OutputFiles* files,
                 const Timing* timing) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  Json json = {stdout, false};
  JsonOpen(&json, NULL, '{');
  JsonText(&json, "tensorflow", TF_Version());
  JsonText(&json, "bundle", options->bundle);
  JsonText(&json, "signature", signature->name);
  JsonReal(&json, "load_ms", timing->load_ms);
  JsonReal(&json, "first_ms", timing->first_ms);
  JsonInteger(&json, "repeat", options->repeat);
  if (options->repeat) PrintLatency(&json, timing->latency_ms, options->repeat);
  JsonReal(&json, "max_rss_mb", (double)usage.ru_maxrss / 1024);
  JsonOpen(&json, "outputs", '{');
  for (int i = 0; i < signature->num_outputs; ++i) {
    PrintOutput(&json, signature->outputs[i].name, outputs[i]);
    PrintFiles(&json, options, files, i);
    JsonClose(&json, '}');
  }
  JsonClose(&json, '}');
  JsonClose(&json, '}');
  putchar('\n');
}

static void PrintSpecs(Json* json, const char* key, const TensorSpec* specs,
                       int count, bool inputs) {
  JsonOpen(json, key, '{');
  for (int i = 0; i < count; ++i) {
    const TensorSpec* spec = &specs[i];
    JsonOpen(json, spec->name, '{');
    JsonText(json, "dtype", DTypeOf(spec->type)->name);
    if (spec->known_rank)
      JsonShape(json, "shape", spec->rank, spec->dims);
    else
      JsonText(json, "shape", NULL);
    if (inputs) JsonBool(json, "default", spec->fallback.at != NULL);
    JsonClose(json, '}');
  }
  JsonClose(json, '}');
}

void PrintSignatures(const SignatureList* list) {
  Json json = {stdout, false};
  JsonOpen(&json, NULL, '{');
  for (int i = 0; i < list->count; ++i) {
    const Signature* signature = &list->signatures[i];
    JsonOpen(&json, signature->name, '{');
    PrintSpecs(&json, "inputs", signature->inputs, signature->num_inputs, true);
    PrintSpecs(&json, "outputs", signature->outputs, signature->num_outputs,
               false);
    JsonClose(&json, '}');
  }
  JsonClose(&json, '}');
  putchar('\n');
}
