// A SavedModel, loaded and ready to answer.

#ifndef TFSAL_CC_SERVE_SESSION_H_
#define TFSAL_CC_SERVE_SESSION_H_

#include "meta_graph.h"
#include "tensorflow/c/c_api.h"

typedef struct {
  TF_Graph* graph;
  TF_Session* session;
  TF_Buffer* meta_graph;
  SignatureList signatures;
} Bundle;

// Makes the custom ops of a library known; call it before LoadBundle.
void LoadOpLibrary(const char* path);

// `threads` is the size of TensorFlow's two thread pools, or 0 for its own
// choice. Fails with TensorFlow's message.
Bundle LoadBundle(const char* path, int threads);
void FreeBundle(Bundle* bundle);

// The places in the graph where a signature's inputs and outputs are.
typedef struct {
  const Signature* signature;
  TF_Output* inputs;
  TF_Output* outputs;
} Call;

Call PrepareCall(const Bundle* bundle, const Signature* signature);
void FreeCall(Call* call);

// Runs the signature once. `outputs` receives new tensors, for the caller to
// delete.
void RunCall(const Bundle* bundle, const Call* call, TF_Tensor* const* inputs,
             TF_Tensor** outputs);

#endif  // TFSAL_CC_SERVE_SESSION_H_
