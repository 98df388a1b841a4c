// What tfsal_run prints: the JSON of an answer and of --list.

#ifndef TFSAL_CC_SERVE_ANSWER_H_
#define TFSAL_CC_SERVE_ANSWER_H_

#include "options.h"
#include "outputs.h"
#include "tensorflow/c/tf_tensor.h"

typedef struct {
  double load_ms;
  double first_ms;
  double* latency_ms;  // one for each repeat
} Timing;

// Sorts timing->latency_ms.
void PrintAnswer(const Options* options, const Signature* signature,
                 TF_Tensor* const* outputs, const OutputFiles* files,
                 const Timing* timing);

void PrintSignatures(const SignatureList* list);

#endif  // TFSAL_CC_SERVE_ANSWER_H_
