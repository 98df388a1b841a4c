// The element types that tfsal_run knows, and how numbers pass between them.

#ifndef TFSAL_CC_SERVE_DTYPE_H_
#define TFSAL_CC_SERVE_DTYPE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensorflow/c/tf_datatype.h"

typedef enum {
  kBool,
  kSigned,
  kUnsigned,
  kFloating,
  kComplex,
  kOther,  // strings, resources, quantized types: not an array of numbers
} DTypeKind;

typedef struct {
  TF_DataType type;
  const char* name;  // as NumPy and TensorFlow spell it
  const char* npy;   // `descr` of a .npy file without byte order, or NULL
  size_t size;       // bytes of one element, 0 if it has no fixed size
  DTypeKind kind;
} DType;

enum { kMaxRank = 64 };

// Never NULL: a type that is not in the table is called "unknown dtype".
const DType* DTypeOf(TF_DataType type);

// NULL if no type has this `descr`.
const DType* DTypeOfNpy(const char* descr);

// Number of elements of a shape. False if it, or the bytes of 16-byte
// elements, or any partial product, would overflow: TensorFlow aborts the
// process on such a shape even where another dimension is 0.
bool ElementCount(int rank, const int64_t* dims, int64_t* count);

// "[2, ?, 3]"; a dimension of -1 prints as "?". The caller frees it.
char* ShapeText(int rank, const int64_t* dims);

#endif  // TFSAL_CC_SERVE_DTYPE_H_
