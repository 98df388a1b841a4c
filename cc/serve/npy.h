// NumPy's .npy files: little-endian, C order, versions 1 to 3.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#ifndef TFSAL_CC_SERVE_NPY_H_
#define TFSAL_CC_SERVE_NPY_H_

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "dtype.h"

typedef struct {
  const DType* dtype;
  int rank;
  int64_t dims[kMaxRank];
  int64_t count;  // number of elements
  size_t size;    // bytes of one; of strings, the longest
  void* data;     // count * size bytes, freed by the caller
} NpyArray;

// Reads a whole file, or fails with a message that names it. The size that the
// header claims is compared with the size of the file before any memory is
// taken, so a hostile header costs nothing.
NpyArray ReadNpy(const char* path);

// Reads a whole file as bytes, with a zero after the last.
char* ReadBytes(const char* path, size_t* size);

// Writes a .npy file. False, with errno set, if any of it could not be written.
bool WriteNpy(FILE* file, const DType* dtype, int rank, const int64_t* dims,
              const void* data, size_t size);

#endif  // TFSAL_CC_SERVE_NPY_H_
