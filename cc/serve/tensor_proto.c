#include "tensor_proto.h"

#include <string.h>

#include "dtype.h"
#include "meta_graph.h"

// Where elements are being written.
typedef struct {
  char* data;
  size_t element_size;
  int64_t count, capacity;
} Elements;

static bool Append(Elements* elements, const void* value) {
  if (elements->count == elements->capacity) return false;
  memcpy(elements->data + elements->count++ * elements->element_size, value,
         elements->element_size);
  return true;
}

// The *_val fields: floats and doubles have a fixed size, every other type is
// a varint whose low bytes are the element; each is packed or single.
static bool AppendValues(Elements* elements, Field field, WireType element) {
  uint64_t value;
  if (field.type == kVarint)
    return element == kVarint && Append(elements, &field.value);
  if (element == kVarint) {
    while (field.bytes.at < field.bytes.end)
      if (!NextVarint(&field.bytes, &value) || !Append(elements, &value))
        return false;
    return true;
  }
  size_t size = element == kFixed32 ? 4 : 8;
  if (size != elements->element_size) return false;
  for (; SpanSize(field.bytes) >= size; field.bytes.at += size)
    if (!Append(elements, field.bytes.at)) return false;
  return true;
}

static bool ReadValues(Span proto, Elements* elements) {
  Field field;
  while (NextField(&proto, &field)) {
    bool read = true;
    switch (field.number) {
      case 4:  // tensor_content
        read = SpanSize(field.bytes) ==
               (size_t)elements->capacity * elements->element_size;
        if (read) {
          memcpy(elements->data, field.bytes.at, SpanSize(field.bytes));
          elements->count = elements->capacity;
        }
        break;
      case 5:  // float_val
        read = AppendValues(elements, field, kFixed32);
        break;
      case 6:  // double_val
        read = AppendValues(elements, field, kFixed64);
        break;
      case 7:   // int_val
      case 10:  // int64_val
      case 11:  // bool_val
      case 13:  // half_val
      case 16:  // uint32_val
      case 17:  // uint64_val
        read = AppendValues(elements, field, kVarint);
        break;
    }
    if (!read) return false;
  }
  return true;
}

// "If fewer values are given than the shape holds, the last one repeats":
// tensor.proto. With none at all, every element is zero.
static void RepeatLast(Elements* elements) {
  size_t size = elements->element_size;
  if (!elements->capacity) return;  // and no data that memset could take
  if (!elements->count)
    memset(elements->data, 0, (size_t)elements->capacity * size);
  else
    while (elements->count < elements->capacity)
      Append(elements, elements->data + (elements->count - 1) * size);
}

TF_Tensor* TensorFromProto(Span proto) {
  TF_DataType type = 0;
  Span shape = {NULL, NULL}, in = proto;
  Field field;
  while (NextField(&in, &field)) {
    if (field.number == 1) type = (TF_DataType)field.value;
    if (field.number == 2) shape = field.bytes;
  }
  const DType* dtype = DTypeOf(type);
  int rank;
  int64_t dims[kMaxRank], count;
  if (!dtype->size || dtype->kind == kComplex ||
      !ReadShape(shape, &rank, dims) || !ElementCount(rank, dims, &count))
    return NULL;
  TF_Tensor* tensor =
      TF_AllocateTensor(type, dims, rank, (size_t)count * dtype->size);
  if (!tensor) return NULL;
  Elements elements = {TF_TensorData(tensor), dtype->size, 0, count};
  if (ReadValues(proto, &elements)) {
    RepeatLast(&elements);
    return tensor;
  }
  TF_DeleteTensor(tensor);
  return NULL;
}
