// The signatures of a SavedModel, read from its serialized MetaGraphDef.
//
// TensorFlow's C API hands the MetaGraphDef over as bytes and has no function
// that reads it; linking protobuf for four messages would be worse.

#ifndef TFSAL_CC_SERVE_META_GRAPH_H_
#define TFSAL_CC_SERVE_META_GRAPH_H_

#include <stdbool.h>
#include <stdint.h>

#include "dtype.h"
#include "wire.h"

// One input or output of a signature.
typedef struct {
  char* name;    // what a request calls it
  char* tensor;  // "operation:index" in the graph; empty if not dense
  TF_DataType type;
  bool known_rank;
  int rank;
  int64_t dims[kMaxRank];  // -1 where any size will do
  Span fallback;           // TensorProto used when a request leaves it out
} TensorSpec;

typedef struct {
  char* name;
  int num_inputs, num_outputs;
  TensorSpec* inputs;  // sorted by name, as are the outputs and signatures
  TensorSpec* outputs;
} Signature;

typedef struct {
  int count;
  Signature* signatures;
} SignatureList;

// `meta_graph` must outlive the list: the defaults point into it.
SignatureList ReadSignatures(Span meta_graph);
void FreeSignatures(SignatureList* list);

// NULL if there is none of that name.
const Signature* FindSignature(const SignatureList* list, const char* name);
const TensorSpec* FindSpec(const TensorSpec* specs, int count,
                           const char* name);

// The output that tfsal calls `name`. A model with an output of that name
// keeps it, and tfsal's own is then `tfsal_NAME`. NULL if there is neither.
const TensorSpec* FindTfsalOutput(const Signature* signature, const char* name);

// Whether the signature is one that tfsal exported: it answers `class_index`,
// `score` and `attribution` (or `attribution/INPUT`).
bool IsExplanation(const Signature* signature);

// Reads a TensorShapeProto. False if its rank is unknown or over kMaxRank.
bool ReadShape(Span proto, int* rank, int64_t* dims);

#endif  // TFSAL_CC_SERVE_META_GRAPH_H_
