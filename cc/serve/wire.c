#include "wire.h"

#include <string.h>

#include "report.h"

bool NextVarint(Span* in, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
    uint8_t byte = *in->at++;
    *value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

static bool TakeBytes(Span* in, uint64_t size, Span* taken) {
  if (size > SpanSize(*in)) return false;
  taken->at = in->at;
  taken->end = in->at += size;
  return true;
}

bool NextField(Span* in, Field* field) {
  uint64_t key, size;
  if (!NextVarint(in, &key)) return false;
  *field = (Field){.number = (int)(key >> 3), .type = (WireType)(key & 7)};
  switch (field->type) {
    case kVarint:
      return NextVarint(in, &field->value);
    case kFixed64:
      return TakeBytes(in, 8, &field->bytes);
    case kFixed32:
      return TakeBytes(in, 4, &field->bytes);
    case kBytes:
      return NextVarint(in, &size) && TakeBytes(in, size, &field->bytes);
  }
  return false;
}

char* SpanText(Span span) {
  size_t size = span.at ? SpanSize(span) : 0;
  char* text = Allocate(size + 1, 1);
  if (size) memcpy(text, span.at, size);
  return text;
}
