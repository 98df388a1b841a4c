// The outputs of a request: checked, and written all or none.

#ifndef TFSAL_CC_SERVE_OUTPUTS_H_
#define TFSAL_CC_SERVE_OUTPUTS_H_

#include <stdbool.h>
#include <stdint.h>

#include "meta_graph.h"
#include "tensorflow/c/tf_tensor.h"

// One file that an output goes to. A string output has one for each element.
typedef struct {
  int output;       // its place in the signature
  int64_t element;  // of a string output, else -1
  char* path;
  char* temporary;  // while it is being written
  bool is_new;      // nothing had that path before
} OutputFile;

typedef struct {
  int count;
  OutputFile* files;  // in the order of the outputs
} OutputFiles;

// Fails if the answer of an explanation says that a class index was out of
// range: tfsal's signatures answer -2 for such a row, and a map of NaN.
void RefuseWrongClass(const Signature* signature, TF_Tensor* const* outputs);

// Writes every output under `dir`, which is made if missing. If one cannot be
// written, no new file stays behind, and the process fails; it also dies of a
// SIGINT, SIGTERM or SIGHUP only with all files in place or none.
OutputFiles WriteOutputs(const Signature* signature, TF_Tensor* const* outputs,
                         const char* dir);
void FreeOutputFiles(OutputFiles* files);

#endif  // TFSAL_CC_SERVE_OUTPUTS_H_
