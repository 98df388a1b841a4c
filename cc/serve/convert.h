// Numbers of one type turned into another, never silently into other numbers.

#ifndef TFSAL_CC_SERVE_CONVERT_H_
#define TFSAL_CC_SERVE_CONVERT_H_

#include <stdbool.h>
#include <stdint.h>

#include "dtype.h"

// Whether an array of type `from` may feed an input of type `to` at all: equal
// types, any real number to a float, any integer to an integer.
bool CanConvert(const DType* from, const DType* to);

// Converts `count` elements, rounding to nearest even. Returns the index of
// the first value that `to` cannot hold (an integer out of range, a finite
// float that would become infinite), or -1 when all were converted.
int64_t ConvertElements(const DType* from, const void* source, const DType* to,
                        void* target, int64_t count);

// The index of the first NaN, or -1.
int64_t FindNaN(const DType* dtype, const void* data, int64_t count);

// The element as text, for messages.
char* ElementText(const DType* dtype, const void* data, int64_t index);

#endif  // TFSAL_CC_SERVE_CONVERT_H_
