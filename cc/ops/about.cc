// What the library says of itself to a program that has it open.
#include "cc/kernels/cam.h"

// The build says it, because TensorFlow's installed headers do not.
#ifndef TFSAL_TENSORFLOW
#define TFSAL_TENSORFLOW "unknown"
#endif

#define TFSAL_EXPORT extern "C" __attribute__((visibility("default"), used))

// To be read from the file before it is loaded: a library that was built for
// another TensorFlow may not load at all.
TFSAL_EXPORT const char tfsal_built_for[] =
    "tfsal: built for TensorFlow " TFSAL_TENSORFLOW;

TFSAL_EXPORT const char* tfsal_instruction_set() {
  return tfsal::InstructionSet();
}
