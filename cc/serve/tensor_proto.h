#ifndef TFSAL_CC_SERVE_TENSOR_PROTO_H_
#define TFSAL_CC_SERVE_TENSOR_PROTO_H_

#include "tensorflow/c/tf_tensor.h"
#include "wire.h"

// Builds the tensor of a serialized TensorProto, such as the default of an
// input. NULL if it is not a fixed-size number or bool, or does not add up.
TF_Tensor* TensorFromProto(Span proto);

#endif  // TFSAL_CC_SERVE_TENSOR_PROTO_H_
