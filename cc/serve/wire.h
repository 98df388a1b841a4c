// The protobuf wire format, read in place: just enough for a MetaGraphDef.
// https://protobuf.dev/programming-guides/encoding

#ifndef TFSAL_CC_SERVE_WIRE_H_
#define TFSAL_CC_SERVE_WIRE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes that belong to someone else. `at` is NULL for a field that was absent.
typedef struct {
  const uint8_t* at;
  const uint8_t* end;
} Span;

typedef enum { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 } WireType;

typedef struct {
  int number;
  WireType type;
  uint64_t value;  // kVarint
  Span bytes;      // payload of every other type
} Field;

// Takes one varint off the front. False if there is none, whole.
bool NextVarint(Span* in, uint64_t* value);

// Takes one field off the front. False at the end, and where the bytes are
// malformed, which nothing that TensorFlow has parsed before us is.
bool NextField(Span* in, Field* field);

// The bytes as a C string that the caller frees.
char* SpanText(Span span);

static inline size_t SpanSize(Span span) {
  return (size_t)(span.end - span.at);
}

#endif  // TFSAL_CC_SERVE_WIRE_H_
