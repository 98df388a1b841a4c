// The inputs of a request: read, checked against the signature, converted.

#ifndef TFSAL_CC_SERVE_INPUTS_H_
#define TFSAL_CC_SERVE_INPUTS_H_

#include "meta_graph.h"
#include "npy.h"
#include "options.h"
#include "tensorflow/c/tf_tensor.h"

// What a file given by --input holds.
typedef struct {
  const char* name;
  const char* path;
  bool raw;
  NpyArray array;  // when not raw
  char* bytes;     // when raw
  size_t size;
  int64_t nan;  // index of the first NaN in `array`, or -1
} InputFile;

// Reads and checks every file, before the model is loaded.
InputFile* ReadInputs(const Options* options);
void FreeInputs(InputFile* files, int count);

// One tensor for each input of the signature, in its order. Fails if the files
// are not what the signature takes. String tensors point into `files`.
TF_Tensor** MakeFeeds(const Signature* signature, const InputFile* files,
                      int count);

// "image float32 [?, 8, 8, 3], class_index int32 [?] (has a default)"; the
// caller frees it.
char* DescribeInputs(const Signature* signature);

#endif  // TFSAL_CC_SERVE_INPUTS_H_
