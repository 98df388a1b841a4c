"""Warm-up requests: TensorFlow Serving runs them before it answers anyone."""

import numpy as np
import tensorflow as tf

from tfsal.errors import ExportError

_LIMIT = 1000  # TensorFlow Serving refuses a model with more.


def write_warmup(path, requests, batch_sizes):
    """Writes one request for each signature and batch size.

    Args:
      path: directory of the SavedModel.
      requests: {signature name: {input name: array [1, ...]}}.
      batch_sizes: batch sizes to warm up.

    Raises:
      ExportError: tensorflow-serving-api is missing, or there would be too many requests.
    """
    predict_pb2, log_pb2 = serving_protos()
    if len(requests) * len(batch_sizes) > _LIMIT:
        raise ExportError(f"TensorFlow Serving takes at most {_LIMIT} warm-up requests.")
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, feeds in requests.items():
            for size in batch_sizes:
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = name
                for key, value in feeds.items():
                    batch = np.repeat(value, size, axis=0) if value.ndim else value
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(batch))
                log = log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())


def serving_protos():
    """Returns the modules (predict_pb2, prediction_log_pb2) of tensorflow-serving-api.

    Raises:
      ExportError: it is not installed; says how.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ExportError(
            "Warm-up requests need tensorflow-serving-api: pip install --no-deps "
            "tensorflow-serving-api==2.21.0 (its pinned protobuf does not fit TensorFlow's)."
        ) from error
    return predict_pb2, prediction_log_pb2
