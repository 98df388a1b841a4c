#include "inputs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "report.h"
#include "tensor_proto.h"
#include "tensorflow/c/tf_tstring.h"

InputFile* ReadInputs(const Options* options) {
  InputFile* files = Allocate(options->num_inputs, sizeof *files);
  for (int i = 0; i < options->num_inputs; ++i) {
    const InputOption* option = &options->inputs[i];
    InputFile* file = &files[i];
    *file = (InputFile){.name = option->name,
                        .path = option->path,
                        .raw = option->raw,
                        .nan = -1};
    if (file->raw) {
      file->bytes = ReadBytes(file->path, &file->size);
    } else {
      file->array = ReadNpy(file->path);
      file->nan =
          FindNaN(file->array.dtype, file->array.data, file->array.count);
    }
  }
  return files;
}

void FreeInputs(InputFile* files, int count) {
  for (int i = 0; i < count; ++i) {
    free(files[i].bytes);
    free(files[i].array.data);
  }
  free(files);
}

static char* DescribeSpec(const TensorSpec* spec) {
  char* shape = spec->known_rank ? ShapeText(spec->rank, spec->dims)
                                 : Format("of any shape");
  char* text = Format("%s %s %s%s", spec->name, DTypeOf(spec->type)->name,
                      shape, spec->fallback.at ? " (has a default)" : "");
  free(shape);
  return text;
}

char* DescribeInputs(const Signature* signature) {
  char* all = Format("%s", signature->num_inputs ? "" : "none");
  for (int i = 0; i < signature->num_inputs; ++i) {
    char* one = DescribeSpec(&signature->inputs[i]);
    char* longer = Format("%s%s%s", all, i ? ", " : "", one);
    free(all);
    free(one);
    all = longer;
  }
  return all;
}

static void CheckNames(const Signature* signature, const InputFile* files,
                       int count) {
  for (int i = 0; i < count; ++i)
    if (!FindSpec(signature->inputs, signature->num_inputs, files[i].name))
      Fail(kExitFailed, "signature '%s' has no input '%s'; its inputs: %s",
           signature->name, files[i].name, DescribeInputs(signature));
}

static void CheckShape(const TensorSpec* spec, const NpyArray* array) {
  if (!spec->known_rank) return;
  bool fits = array->rank == spec->rank;
  for (int i = 0; fits && i < spec->rank; ++i)
    fits = spec->dims[i] < 0 || spec->dims[i] == array->dims[i];
  if (!fits)
    Fail(kExitFailed, "input '%s' takes the shape %s, not %s", spec->name,
         ShapeText(spec->rank, spec->dims),
         ShapeText(array->rank, array->dims));
}

static _Noreturn void FailDType(const TensorSpec* spec, const DType* given) {
  const DType* wanted = DTypeOf(spec->type);
  const char* hint = "";
  if (wanted->type == TF_STRING)
    hint = "; give an array of bytes ('S'), or a file's with NAME=@FILE";
  else if (given->kind == kFloating && wanted->kind != kOther)
    hint = "; floats are never turned into another kind of number";
  Fail(kExitFailed, "input '%s' is %s and cannot take %s%s", spec->name,
       wanted->name, given->name, hint);
}

// NumPy fills strings up with zeros, which are not part of them.
static void ViewStrings(const NpyArray* array, TF_TString* strings) {
  const char* at = array->data;
  for (int64_t k = 0; k < array->count; ++k, at += array->size) {
    size_t size = array->size;
    while (size && !at[size - 1]) --size;
    TF_StringInit(&strings[k]);
    TF_StringAssignView(&strings[k], at, size);
  }
}

static TF_Tensor* ArrayFeed(const TensorSpec* spec, const InputFile* file) {
  const NpyArray* array = &file->array;
  const DType* wanted = DTypeOf(spec->type);
  if (!CanConvert(array->dtype, wanted)) FailDType(spec, array->dtype);
  CheckShape(spec, array);
  bool strings = spec->type == TF_STRING;
  size_t size =
      (size_t)array->count * (strings ? sizeof(TF_TString) : wanted->size);
  TF_Tensor* tensor =
      TF_AllocateTensor(spec->type, array->dims, array->rank, size);
  if (!tensor) Fail(kExitFailed, "out of memory: %zu bytes", size);
  if (strings) {
    ViewStrings(array, TF_TensorData(tensor));
    return tensor;
  }
  int64_t misfit = ConvertElements(array->dtype, array->data, wanted,
                                   TF_TensorData(tensor), array->count);
  if (misfit >= 0)
    Fail(kExitFailed,
         "input '%s' is %s, which cannot hold %s, element %" PRId64 " of %s",
         spec->name, wanted->name,
         ElementText(array->dtype, array->data, misfit), misfit, file->path);
  return tensor;
}

// The strings of all files of that name: a vector, or a scalar where the
// signature takes one.
static TF_Tensor* StringFeed(const TensorSpec* spec, const InputFile* files,
                             int count) {
  if (spec->type != TF_STRING)
    Fail(kExitFailed, "input '%s' is %s, and @FILE is for strings; give %s=%s",
         spec->name, DTypeOf(spec->type)->name, spec->name, "FILE.npy");
  NpyArray shape = {.rank = 1};
  for (int i = 0; i < count; ++i)
    if (!strcmp(files[i].name, spec->name)) ++shape.count;
  shape.dims[0] = shape.count;
  if (spec->known_rank && spec->rank == 0 && shape.count == 1) shape.rank = 0;
  CheckShape(spec, &shape);
  TF_Tensor* tensor =
      TF_AllocateTensor(TF_STRING, shape.dims, shape.rank,
                        (size_t)shape.count * sizeof(TF_TString));
  if (!tensor) Fail(kExitFailed, "out of memory");
  TF_TString* string = TF_TensorData(tensor);
  for (int i = 0; i < count; ++i) {
    if (strcmp(files[i].name, spec->name)) continue;
    TF_StringInit(string);
    // A view: TF_DeleteTensor does not free what its strings own.
    TF_StringAssignView(string++, files[i].bytes, files[i].size);
  }
  return tensor;
}

static TF_Tensor* DefaultFeed(const Signature* signature,
                              const TensorSpec* spec) {
  if (!spec->fallback.at)
    Fail(kExitFailed, "signature '%s' needs the input '%s'; its inputs: %s",
         signature->name, spec->name, DescribeInputs(signature));
  TF_Tensor* tensor = TensorFromProto(spec->fallback);
  if (!tensor || TF_TensorType(tensor) != spec->type)
    Fail(kExitFailed,
         "the default of input '%s' cannot be read; give it with --input",
         spec->name);
  return tensor;
}

// Every row of an explanation is one example, so the inputs that leave their
// first dimension open must agree on it. One row of what has a default is
// broadcast by the graph. Signatures that are not tfsal's may pair inputs as
// they like.
static void CheckBatch(const Signature* signature, TF_Tensor* const* feeds) {
  int first = -1;
  for (int i = 0; i < signature->num_inputs; ++i) {
    const TensorSpec* spec = &signature->inputs[i];
    if (TF_NumDims(feeds[i]) == 0 || (spec->rank && spec->dims[0] >= 0) ||
        (TF_Dim(feeds[i], 0) == 1 && spec->fallback.at))
      continue;
    if (first < 0) first = i;
    if (TF_Dim(feeds[i], 0) != TF_Dim(feeds[first], 0))
      Fail(kExitFailed,
           "inputs '%s' and '%s' must have the same first dimension, not "
           "%" PRId64 " and %" PRId64,
           signature->inputs[first].name, spec->name, TF_Dim(feeds[first], 0),
           TF_Dim(feeds[i], 0));
  }
}

static void RefuseNaN(const TensorSpec* spec, const InputFile* file) {
  if (file->nan < 0 || DTypeOf(spec->type)->kind != kFloating) return;
  const NpyArray* array = &file->array;
  int64_t per_row = array->rank ? array->count / array->dims[0] : 1;
  Fail(kExitFailed, "input '%s' has a NaN in row %" PRId64 " (%s)", spec->name,
       file->nan / per_row, file->path);
}

static const InputFile* FindFile(const InputFile* files, int count,
                                 const char* name) {
  for (int i = 0; i < count; ++i)
    if (!strcmp(files[i].name, name)) return &files[i];
  return NULL;
}

TF_Tensor** MakeFeeds(const Signature* signature, const InputFile* files,
                      int count) {
  CheckNames(signature, files, count);
  bool explanation = IsExplanation(signature);
  TF_Tensor** feeds = Allocate(signature->num_inputs, sizeof *feeds);
  for (int i = 0; i < signature->num_inputs; ++i) {
    const TensorSpec* spec = &signature->inputs[i];
    const InputFile* file = FindFile(files, count, spec->name);
    if (!file) {
      feeds[i] = DefaultFeed(signature, spec);
    } else if (file->raw) {
      feeds[i] = StringFeed(spec, files, count);
    } else {
      feeds[i] = ArrayFeed(spec, file);
      if (explanation) RefuseNaN(spec, file);
    }
  }
  if (explanation) CheckBatch(signature, feeds);
  return feeds;
}
