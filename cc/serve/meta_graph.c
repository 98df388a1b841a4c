#include "meta_graph.h"

#include <stdlib.h>
#include <string.h>

#include "report.h"

// A map<string, Message> entry is a message { key = 1; value = 2; }.
typedef struct {
  Span key, value;
} MapEntry;

static MapEntry ReadMapEntry(Span in) {
  MapEntry entry = {{NULL, NULL}, {NULL, NULL}};
  Field field;
  while (NextField(&in, &field)) {
    if (field.number == 1) entry.key = field.bytes;
    if (field.number == 2) entry.value = field.bytes;
  }
  return entry;
}

// TensorShapeProto { repeated Dim { int64 size = 1; } dim = 2;
//                    bool unknown_rank = 3; }
bool ReadShape(Span proto, int* rank, int64_t* dims) {
  *rank = 0;
  Field field;
  while (NextField(&proto, &field)) {
    if (field.number == 3 && field.value) return false;
    if (field.number != 2) continue;
    if (*rank == kMaxRank) return false;
    int64_t size = 0;
    Field part;
    while (NextField(&field.bytes, &part))
      if (part.number == 1) size = (int64_t)part.value;
    dims[(*rank)++] = size;
  }
  return true;
}

// TensorInfo { string name = 1; DataType dtype = 2; TensorShapeProto
//              tensor_shape = 3; CooSparse = 4; CompositeTensor = 5; }
static TensorSpec ReadTensorInfo(MapEntry entry) {
  TensorSpec spec = {.name = SpanText(entry.key)};
  Span tensor = {NULL, NULL};
  Field field;
  while (NextField(&entry.value, &field)) {
    if (field.number == 1) tensor = field.bytes;
    if (field.number == 2) spec.type = (TF_DataType)field.value;
    if (field.number == 3)
      spec.known_rank = ReadShape(field.bytes, &spec.rank, spec.dims);
  }
  if (!spec.known_rank) spec.rank = 0;
  spec.tensor = SpanText(tensor);
  return spec;
}

static int CountFields(Span in, int number) {
  int count = 0;
  Field field;
  while (NextField(&in, &field)) count += field.number == number;
  return count;
}

// Both TensorSpec and Signature begin with their name.
static int CompareNames(const void* a, const void* b) {
  return strcmp(*(char* const*)a, *(char* const*)b);
}

static TensorSpec* ReadSpecs(Span signature_def, int number, int* count) {
  TensorSpec* specs =
      Allocate(CountFields(signature_def, number), sizeof *specs);
  *count = 0;
  Field field;
  while (NextField(&signature_def, &field))
    if (field.number == number)
      specs[(*count)++] = ReadTensorInfo(ReadMapEntry(field.bytes));
  qsort(specs, *count, sizeof *specs, CompareNames);
  return specs;
}

// SignatureDef { map<string, TensorInfo> inputs = 1, outputs = 2;
//                string method_name = 3; map<string, TensorProto> defaults = 4;
//              }
static Signature ReadSignature(MapEntry entry) {
  Signature signature = {.name = SpanText(entry.key)};
  signature.inputs = ReadSpecs(entry.value, 1, &signature.num_inputs);
  signature.outputs = ReadSpecs(entry.value, 2, &signature.num_outputs);
  Field field;
  while (NextField(&entry.value, &field)) {
    if (field.number != 4) continue;
    MapEntry fallback = ReadMapEntry(field.bytes);
    char* name = SpanText(fallback.key);
    for (int i = 0; i < signature.num_inputs; ++i)
      if (!strcmp(signature.inputs[i].name, name))
        signature.inputs[i].fallback = fallback.value;
    free(name);
  }
  return signature;
}

static void FreeSignature(Signature* signature) {
  for (int i = 0; i < signature->num_inputs; ++i) {
    free(signature->inputs[i].name);
    free(signature->inputs[i].tensor);
  }
  for (int i = 0; i < signature->num_outputs; ++i) {
    free(signature->outputs[i].name);
    free(signature->outputs[i].tensor);
  }
  free(signature->inputs);
  free(signature->outputs);
  free(signature->name);
}

SignatureList ReadSignatures(Span meta_graph) {
  enum { kSignatureDef = 5 };  // of MetaGraphDef
  SignatureList list = {0, NULL};
  list.signatures =
      Allocate(CountFields(meta_graph, kSignatureDef), sizeof *list.signatures);
  Field field;
  while (NextField(&meta_graph, &field)) {
    if (field.number != kSignatureDef) continue;
    Signature signature = ReadSignature(ReadMapEntry(field.bytes));
    // `__saved_model_init_op` and `__saved_model_train_op` are hooks for
    // loaders that TensorFlow keeps among the signatures; they answer nothing.
    if (!strncmp(signature.name, "__saved_model_", 14))
      FreeSignature(&signature);
    else
      list.signatures[list.count++] = signature;
  }
  qsort(list.signatures, list.count, sizeof *list.signatures, CompareNames);
  return list;
}

void FreeSignatures(SignatureList* list) {
  for (int i = 0; i < list->count; ++i) FreeSignature(&list->signatures[i]);
  free(list->signatures);
  *list = (SignatureList){0, NULL};
}

const Signature* FindSignature(const SignatureList* list, const char* name) {
  for (int i = 0; i < list->count; ++i)
    if (!strcmp(list->signatures[i].name, name)) return &list->signatures[i];
  return NULL;
}

const TensorSpec* FindSpec(const TensorSpec* specs, int count,
                           const char* name) {
  for (int i = 0; i < count; ++i)
    if (!strcmp(specs[i].name, name)) return &specs[i];
  return NULL;
}

// tfsal puts `tfsal_` before a name until it is longer than the model's own.
static const char* WithoutPrefix(const char* name) {
  while (!strncmp(name, "tfsal_", 6)) name += 6;
  return name;
}

const TensorSpec* FindTfsalOutput(const Signature* signature,
                                  const char* name) {
  const TensorSpec* longest = NULL;
  for (int i = 0; i < signature->num_outputs; ++i) {
    const TensorSpec* spec = &signature->outputs[i];
    if (!strcmp(WithoutPrefix(spec->name), name) &&
        (!longest || strlen(spec->name) > strlen(longest->name)))
      longest = spec;
  }
  return longest;
}

bool IsExplanation(const Signature* signature) {
  bool attribution = false;
  for (int i = 0; i < signature->num_outputs; ++i) {
    const char* name = WithoutPrefix(signature->outputs[i].name);
    attribution |=
        !strcmp(name, "attribution") || !strncmp(name, "attribution/", 12);
  }
  return attribution && FindTfsalOutput(signature, "class_index") &&
         FindTfsalOutput(signature, "score");
}
