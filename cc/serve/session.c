#include "session.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

// ConfigProto { int32 intra_op_parallelism_threads = 2;
//               int32 inter_op_parallelism_threads = 5; }
static void SetThreads(TF_SessionOptions* options, int threads) {
  uint8_t low = (uint8_t)(threads & 0x7f) | 0x80;  // a varint of two bytes
  uint8_t high = (uint8_t)(threads >> 7);
  uint8_t config[] = {2 << 3, low, high, 5 << 3, low, high};
  TF_Status* status = TF_NewStatus();
  TF_SetConfig(options, config, sizeof config, status);
  if (TF_GetCode(status) != TF_OK)
    Fail(kExitFailed, "cannot set the threads: %s", TF_Message(status));
  TF_DeleteStatus(status);
}

void LoadOpLibrary(const char* path) {
  // A bare name would be looked for in the system's folders.
  char* file = strchr(path, '/') ? strdup(path) : Format("./%s", path);
  TF_Status* status = TF_NewStatus();
  TF_Library* library = TF_LoadLibrary(file, status);
  if (TF_GetCode(status) != TF_OK)
    Fail(kExitFailed, "cannot load the op library %s: %s", path,
         TF_Message(status));
  TF_DeleteLibraryHandle(library);  // the ops stay
  TF_DeleteStatus(status);
  free(file);
}

Bundle LoadBundle(const char* path, int threads) {
  static const char* const kTags[] = {"serve"};
  Bundle bundle = {.graph = TF_NewGraph(), .meta_graph = TF_NewBuffer()};
  TF_SessionOptions* options = TF_NewSessionOptions();
  if (threads) SetThreads(options, threads);
  TF_Status* status = TF_NewStatus();
  bundle.session = TF_LoadSessionFromSavedModel(
      options, NULL, path, kTags, 1, bundle.graph, bundle.meta_graph, status);
  if (TF_GetCode(status) != TF_OK) {
    const char* message = TF_Message(status);
    bool unknown = strstr(message, "Op type not registered") != NULL;
    Fail(kExitFailed, "cannot load the SavedModel %s: %s%s", path, message,
         unknown ? "\nIf a library has that op: --op-library FILE.so" : "");
  }
  TF_DeleteStatus(status);
  TF_DeleteSessionOptions(options);
  const uint8_t* at = bundle.meta_graph->data;
  bundle.signatures =
      ReadSignatures((Span){at, at + bundle.meta_graph->length});
  return bundle;
}

void FreeBundle(Bundle* bundle) {
  FreeSignatures(&bundle->signatures);
  TF_Status* status = TF_NewStatus();
  TF_CloseSession(bundle->session, status);
  TF_DeleteSession(bundle->session, status);
  TF_DeleteStatus(status);
  TF_DeleteGraph(bundle->graph);
  TF_DeleteBuffer(bundle->meta_graph);
}

static TF_Output FindInGraph(TF_Graph* graph, const TensorSpec* spec) {
  if (!*spec->tensor)
    Fail(kExitFailed,
         "'%s' is a sparse or composite tensor, which no .npy file can hold",
         spec->name);
  char* operation = strdup(spec->tensor);
  char* colon = strrchr(operation, ':');
  if (colon) *colon = '\0';
  TF_Output output = {TF_GraphOperationByName(graph, operation),
                      colon ? atoi(colon + 1) : 0};
  free(operation);
  if (!output.oper || output.index < 0 ||
      output.index >= TF_OperationNumOutputs(output.oper))
    Fail(kExitFailed, "'%s' names the tensor %s, which the graph does not have",
         spec->name, spec->tensor);
  return output;
}

Call PrepareCall(const Bundle* bundle, const Signature* signature) {
  Call call = {.signature = signature};
  call.inputs = Allocate(signature->num_inputs, sizeof *call.inputs);
  call.outputs = Allocate(signature->num_outputs, sizeof *call.outputs);
  for (int i = 0; i < signature->num_inputs; ++i)
    call.inputs[i] = FindInGraph(bundle->graph, &signature->inputs[i]);
  for (int i = 0; i < signature->num_outputs; ++i)
    call.outputs[i] = FindInGraph(bundle->graph, &signature->outputs[i]);
  return call;
}

void FreeCall(Call* call) {
  free(call->inputs);
  free(call->outputs);
}

void RunCall(const Bundle* bundle, const Call* call, TF_Tensor* const* inputs,
             TF_Tensor** outputs) {
  TF_Status* status = TF_NewStatus();
  TF_SessionRun(bundle->session, NULL, call->inputs, inputs,
                call->signature->num_inputs, call->outputs, outputs,
                call->signature->num_outputs, NULL, 0, NULL, status);
  if (TF_GetCode(status) != TF_OK)
    Fail(kExitFailed, "signature '%s' failed: %s", call->signature->name,
         TF_Message(status));
  TF_DeleteStatus(status);
}
