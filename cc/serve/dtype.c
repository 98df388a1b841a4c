#include "dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static const DType kTypes[] = {
    {TF_FLOAT, "float32", "f4", 4, kFloating},
    {TF_DOUBLE, "float64", "f8", 8, kFloating},
    {TF_HALF, "float16", "f2", 2, kFloating},
    {TF_BFLOAT16, "bfloat16", NULL, 2, kFloating},
    {TF_INT8, "int8", "i1", 1, kSigned},
    {TF_INT16, "int16", "i2", 2, kSigned},
    {TF_INT32, "int32", "i4", 4, kSigned},
    {TF_INT64, "int64", "i8", 8, kSigned},
    {TF_UINT8, "uint8", "u1", 1, kUnsigned},
    {TF_UINT16, "uint16", "u2", 2, kUnsigned},
    {TF_UINT32, "uint32", "u4", 4, kUnsigned},
    {TF_UINT64, "uint64", "u8", 8, kUnsigned},
    {TF_BOOL, "bool", "b1", 1, kBool},
    {TF_COMPLEX64, "complex64", "c8", 8, kComplex},
    {TF_COMPLEX128, "complex128", "c16", 16, kComplex},
    {TF_STRING, "string", NULL, 0, kOther},
    {TF_RESOURCE, "resource", NULL, 0, kOther},
    {TF_VARIANT, "variant", NULL, 0, kOther},
    {TF_QINT8, "qint8", NULL, 0, kOther},
    {TF_QUINT8, "quint8", NULL, 0, kOther},
    {TF_QINT32, "qint32", NULL, 0, kOther},
};
enum { kTypeCount = sizeof kTypes / sizeof kTypes[0] };

const DType* DTypeOf(TF_DataType type) {
  static const DType kUnknown = {0, "unknown dtype", NULL, 0, kOther};
  for (int i = 0; i < kTypeCount; ++i)
    if (kTypes[i].type == type) return &kTypes[i];
  return &kUnknown;
}

const DType* DTypeOfNpy(const char* descr) {
  for (int i = 0; i < kTypeCount; ++i)
    if (kTypes[i].npy && !strcmp(kTypes[i].npy, descr)) return &kTypes[i];
  return NULL;
}

bool ElementCount(int rank, const int64_t* dims, int64_t* count) {
  int64_t product = 1;
  bool empty = false;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] < 0) return false;
    if (dims[i] == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, dims[i], &product) ||
               product > INT64_MAX / 16) {
      return false;
    }
  }
  *count = empty ? 0 : product;
  return true;
}

char* ShapeText(int rank, const int64_t* dims) {
  char* text = NULL;
  size_t length = 0;
  FILE* out = open_memstream(&text, &length);
  if (!out) Fail(kExitFailed, "out of memory");
  fputc('[', out);
  for (int i = 0; i < rank; ++i) {
    if (i) fputs(", ", out);
    if (dims[i] < 0)
      fputc('?', out);
    else
      fprintf(out, "%" PRId64, dims[i]);
  }
  fputc(']', out);
  fclose(out);
  return text;
}
