"""A SavedModel that asks a lot of tfsal_run, and what its tests share."""

import numpy as np
import tensorflow as tf

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split() + (
    "float16 float32 float64 complex64 complex128".split()
)
TENSOR_DTYPES = [*DTYPES, "bfloat16"]


def _identity(dtype):
    @tf.function(input_signature=[tf.TensorSpec(None, dtype, "x")])
    def identity(x):
        return {"y": tf.identity(x)}

    return identity


@tf.function(input_signature=[tf.TensorSpec(None, dtype, dtype) for dtype in DTYPES])
def _identities(*tensors):
    return {dtype: tf.identity(tensor) for dtype, tensor in zip(DTYPES, tensors, strict=False)}


def _explain(x, class_index, attribution):
    """A linear model of 3 classes, "explained" by its weights times the input."""
    weights = tf.reshape(tf.sin(tf.range(48, dtype=tf.float32)), [16, 3])
    logits = tf.reshape(x, [-1, 16]) @ weights
    asked = class_index + tf.zeros_like(logits[:, 0], tf.int32)
    top = tf.argmax(logits, 1, output_type=tf.int32)
    index = tf.where(asked == -1, top, tf.where((asked < -1) | (asked > 2), -2, asked))
    return {
        attribution: x * tf.reshape(tf.gather(tf.transpose(weights), index % 3), tf.shape(x)),
        "class_index": index,
        "score": tf.gather(logits, index % 3, axis=1, batch_dims=1),
        "probabilities": tf.nn.softmax(logits),
    }


_IMAGE = tf.TensorSpec([None, 4, 4, 1], tf.float32, "x")
_CLASS = tf.TensorSpec([None], tf.int32, "class_index")


class Models(tf.Module):
    def __init__(self):
        super().__init__()
        generator = np.random.default_rng(0)
        self.weights = [
            tf.Variable(generator.normal(size=s).astype("f4")) for s in [(3, 3, 3, 4), (4, 2)]
        ]
        self.identities = {dtype: _identity(dtype) for dtype in TENSOR_DTYPES}

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, "image")])
    def network(self, image):
        features = tf.nn.relu(tf.nn.conv2d(image, self.weights[0], 1, "SAME"))
        logits = tf.reduce_mean(features, [1, 2]) @ self.weights[1]
        return {"logits": logits, "features/last": features, "count": tf.shape(image)[0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float64, "x"),
            tf.TensorSpec([None, 3], tf.int64, "n"),
        ]
    )
    def wide(self, x, n):
        return {"root": tf.sqrt(tf.abs(x)) / 3, "product": n * n - 7, "odd": n % 2 == 1}

    @tf.function(input_signature=[_IMAGE, _CLASS])
    def explain(self, x, class_index=tf.constant([-1])):
        return _explain(x, class_index, "attribution/left")

    @tf.function(input_signature=[_IMAGE, _CLASS])
    def collide(self, x, class_index=tf.constant([-1])):
        """The model has a `class_index` of its own, so tfsal's outputs are prefixed."""
        ours = {f"tfsal_{k}": v for k, v in _explain(x, class_index, "attribution").items()}
        return {**ours, "class_index": tf.fill(tf.shape(x)[:1], -2)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype, name)
            for name, dtype in [
                ("f", tf.float32), ("i", tf.int32), ("l", tf.int64), ("b", tf.bool)
            ]
        ]
    )  # fmt: skip
    def defaults(
        self,
        f=tf.constant([0.1]),
        i=tf.constant([-7, 8, 9]),
        n=tf.constant([-(2**40)], tf.int64),
        b=tf.constant([True]),
    ):
        return {"f": f * 1.0, "i": i + 0, "l": n + 0, "b": tf.logical_not(b)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "data")])
    def strings(self, data):
        return {
            "size": tf.strings.length(data),
            "echo": tf.identity(data),
            "many": tf.stack(["one", "", "th\0ree"]),
            "none": tf.zeros([0], tf.string),
        }

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "data")])
    def string_scalar(self, data):
        return {"echo": data + "!"}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, n) for n in "ab"])
    def pairs(self, a, b):
        return {"dot": a @ tf.transpose(b)}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def same_file(self, x):
        return {"a/b": x, "a.b": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def odd_names(self, x):
        return {"../é b": x, "z": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "size")])
    def big(self, size):
        return {"a": tf.zeros([2]), "b": tf.zeros([size]), "c": tf.zeros([2])}


def refused(done, *words, code=1):
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("tfsal_run: ") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def identical(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()
