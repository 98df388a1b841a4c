#include "convert.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report.h"

// Any element of a real type, exactly. An unsigned value is held as signed
// where it fits.
typedef struct {
  DTypeKind kind;
  int64_t i;
  uint64_t u;
  double f;
} Number;

// The 16-bit floats: one sign bit, then exponent, then mantissa.
typedef struct {
  int exponent_bits, mantissa_bits;
} SmallFloat;
static const SmallFloat kHalf = {5, 10}, kBfloat16 = {8, 7};

static double DecodeSmall(SmallFloat format, uint16_t bits) {
  int bias = (1 << (format.exponent_bits - 1)) - 1;
  int exponent = (bits & 0x7fff) >> format.mantissa_bits;
  int mantissa = bits & ((1 << format.mantissa_bits) - 1);
  double value;
  if (exponent == (1 << format.exponent_bits) - 1)
    value = mantissa ? NAN : INFINITY;
  else if (exponent == 0)
    value = ldexp(mantissa, 1 - bias - format.mantissa_bits);
  else
    value = ldexp(mantissa | 1 << format.mantissa_bits,
                  exponent - bias - format.mantissa_bits);
  return bits & 0x8000 ? -value : value;
}

static uint16_t EncodeSmall(SmallFloat format, double value) {
  int bias = (1 << (format.exponent_bits - 1)) - 1;
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  uint16_t infinity = 0x7fff >> format.mantissa_bits << format.mantissa_bits;
  if (isnan(value)) return sign | infinity | 1 << (format.mantissa_bits - 1);
  if (isinf(value)) return sign | infinity;
  int exponent;
  frexp(value, &exponent);  // |value| = [0.5, 1) * 2^exponent
  exponent -= 1;
  if (exponent < 1 - bias || value == 0) exponent = 1 - bias;
  // Round the mantissa to an integer. For a normal number it has one bit more
  // than is stored, and that bit, like the carry when it rounds up to the next
  // power of two, adds itself to the exponent field below.
  int64_t mantissa =
      llrint(ldexp(fabs(value), format.mantissa_bits - exponent));
  int64_t bits =
      ((int64_t)(exponent + bias - 1) << format.mantissa_bits) + mantissa;
  return sign | (bits < infinity ? (uint16_t)bits : infinity);
}

static Number LoadFloat(const DType* dtype, const char* at) {
  Number number = {.kind = kFloating};
  if (dtype->size == 8) {
    memcpy(&number.f, at, 8);
  } else if (dtype->size == 4) {
    float value;
    memcpy(&value, at, 4);
    number.f = value;
  } else {
    uint16_t bits;
    memcpy(&bits, at, 2);
    number.f = DecodeSmall(dtype->type == TF_HALF ? kHalf : kBfloat16, bits);
  }
  return number;
}

static Number Load(const DType* dtype, const void* data, int64_t index) {
  const char* at = (const char*)data + (size_t)index * dtype->size;
  if (dtype->kind == kFloating) return LoadFloat(dtype, at);
  Number number = {.kind = kSigned};
  memcpy(&number.u, at, dtype->size);
  int unused_bits = 64 - 8 * (int)dtype->size;
  if (dtype->kind == kSigned)
    number.i = (int64_t)(number.u << unused_bits) >> unused_bits;
  else if (number.u <= INT64_MAX)
    number.i = (int64_t)number.u;
  else
    number.kind = kUnsigned;
  return number;
}

static bool StoreInteger(const DType* dtype, void* at, Number number) {
  int unused_bits = 64 - 8 * (int)dtype->size;
  bool is_signed = dtype->kind == kSigned;
  uint64_t max = is_signed ? (uint64_t)INT64_MAX >> unused_bits
                           : UINT64_MAX >> unused_bits;
  if (number.kind == kSigned && number.i < 0) {
    if (!is_signed || number.i < -(int64_t)max - 1) return false;
    number.u = (uint64_t)number.i;
  } else if (number.u > max) {
    return false;
  }
  memcpy(at, &number.u, dtype->size);
  return true;
}

static bool StoreFloat(const DType* dtype, void* at, Number number) {
  double value = number.kind == kFloating ? number.f
                 : number.kind == kSigned ? (double)number.i
                                          : (double)number.u;
  if (dtype->size == 8) {
    memcpy(at, &value, 8);
    return true;
  }
  if (dtype->size == 4) {
    // From the integer itself: by way of a double it would be rounded twice.
    float narrow = number.kind == kFloating ? (float)number.f
                   : number.kind == kSigned ? (float)number.i
                                            : (float)number.u;
    memcpy(at, &narrow, 4);
    return !isinf(narrow) || isinf(value);
  }
  SmallFloat format = dtype->type == TF_HALF ? kHalf : kBfloat16;
  uint16_t bits = EncodeSmall(format, value);
  memcpy(at, &bits, 2);
  return !isinf(DecodeSmall(format, bits)) || isinf(value);
}

static bool IsInteger(const DType* dtype) {
  return dtype->kind == kSigned || dtype->kind == kUnsigned;
}

bool CanConvert(const DType* from, const DType* to) {
  if (from == to) return true;
  if (to->kind == kFloating) return from->kind == kFloating || IsInteger(from);
  return IsInteger(from) && IsInteger(to);
}

int64_t ConvertElements(const DType* from, const void* source, const DType* to,
                        void* target, int64_t count) {
  if (from == to) {
    if (count) memcpy(target, source, (size_t)count * from->size);
    return -1;
  }
  char* at = target;
  for (int64_t k = 0; k < count; ++k, at += to->size) {
    Number number = Load(from, source, k);
    bool fits = to->kind == kFloating ? StoreFloat(to, at, number)
                                      : StoreInteger(to, at, number);
    if (!fits) return k;
  }
  return -1;
}

int64_t FindNaN(const DType* dtype, const void* data, int64_t count) {
  if (dtype->kind != kFloating) return -1;
  for (int64_t k = 0; k < count; ++k)
    if (isnan(Load(dtype, data, k).f)) return k;
  return -1;
}

char* ElementText(const DType* dtype, const void* data, int64_t index) {
  Number number = Load(dtype, data, index);
  if (number.kind == kFloating) return Format("%.9g", number.f);
  if (number.kind == kSigned) return Format("%" PRId64, number.i);
  return Format("%" PRIu64, number.u);
}
