"""The guard: a bundle answers outside Python, in a TF1 session, before anyone gets it.

A Keras 3 model saved the usual way loads in Python and fails everywhere else with 'Could not find
variable'; the TF1 session takes the same road as the C API and TensorFlow Serving.
"""

import contextlib
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from tfsal.errors import ExportError, InputError
from tfsal.methods.question import check_feeds
from tfsal.quiet import quiet_logger

# For sizes that the model leaves open.
_OPEN_SIZE = 128


def example_feeds(net, example=None):
    """Returns one example, as NumPy arrays: {input name: [1, ...]}.

    Args:
      net: a ModelGraph.
      example: array or {input name: array} with at least one row; None makes up mid-grey images,
        zero indices and empty strings.

    Raises:
      InputError: the example does not fit the model.
    """
    if example is not None:
        feeds = {k: v.numpy() for k, v in check_feeds(net, example).items()}
        if any(v.ndim and not len(v) for v in feeds.values()):
            raise InputError("example= needs at least one row.")
        return {k: _first_row(net.inputs[k], v) for k, v in feeds.items()}
    return {
        name: made_up(name, i.dtype, i.shape.as_list() if i.shape.rank is not None else None)
        for name, i in net.inputs.items()
    }


def _first_row(info, value):
    open_batch = info.shape.rank and info.shape[0] is None
    return value[:1] if open_batch else value


def made_up(name, dtype, shape, open_size=_OPEN_SIZE):
    """Returns a mid-grey array (or zeros, or empty strings) [1, ...] for an input.

    Args:
      name: of the input, for the error.
      dtype: tf.DType.
      shape: sizes with None for open ones, or None for an unknown rank.
      open_size: in place of a None.

    Raises:
      InputError: the rank is unknown.
    """
    if shape is None:
        raise InputError(f"The input '{name}' has no known rank; give an example= to check with.")
    sizes = [1 if i == 0 and s is None else s or open_size for i, s in enumerate(shape)]
    if dtype == tf.string:
        return np.full(sizes, b"", dtype=object)
    return np.full(sizes, 0.5 if dtype.is_floating else 0, dtype.as_numpy_dtype)


def image_files(images):
    """PNG files of [N, H, W, 3 or 1] numbers in [0, 1], as an array [N] of bytes."""
    levels = np.round(np.clip(np.nan_to_num(images), 0, 1) * 255).astype(np.uint8)
    files = []
    for image in levels:
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png")
        files.append(file.getvalue())
    return np.array(files, object)


def made_up_feeds(signature, files=None):
    """Returns made-up values for the inputs without a default of a SignatureDef.

    Args:
      signature: the SignatureDef.
      files: name of the input that takes image files, or None.

    Raises:
      InputError: one takes strings or has no known rank, so that nothing can be made up.
    """
    feeds = {}
    for name, info in signature.inputs.items():
        if name in signature.defaults:
            continue
        if name == files:
            count = max(info.tensor_shape.dim[0].size, 1)
            feeds[name] = image_files(np.full([count, 8, 8, 3], 0.5))
            continue
        if info.dtype == tf.string.as_datatype_enum:
            raise InputError(f"The input '{name}' takes strings.")
        if info.WhichOneof("encoding") != "name":
            raise InputError(f"The input '{name}' is sparse or composite.")
        shape = tf.TensorShape(info.tensor_shape)
        sizes = shape.as_list() if shape.rank is not None else None
        feeds[name] = made_up(name, tf.as_dtype(info.dtype), sizes)
    return feeds


@contextlib.contextmanager
def opened(path):
    """Loads a SavedModel in a TF1 session.

    Args:
      path: directory of the SavedModel.

    Yields:
      A function of (signature name, {input name: array}) -> {output name: array}; inputs that are
      left out take their defaults.

    Raises:
      ExportError: it does not load; from the function: the signature fails, and why.
    """
    with quiet_logger(), tf.Graph().as_default(), tf.compat.v1.Session() as session:
        try:
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        except Exception as error:
            raise ExportError(f"'{path}' does not load outside Python: {error}") from error

        def answer(name, feeds):
            signature = meta.signature_def[name]
            # Hosts fill defaults in; a bundle saved again has them in the signature only.
            given = {key: tf.make_ndarray(value) for key, value in signature.defaults.items()}
            given.update({key: feeds[key] for key in signature.inputs if key in feeds})
            fed = {signature.inputs[key].name: value for key, value in given.items()}
            fetches = {key: info.name for key, info in signature.outputs.items()}
            try:
                return session.run(fetches, fed)
            except (tf.errors.OpError, ValueError, TypeError) as error:
                reason = getattr(error, "message", error)
                raise ExportError(
                    f"The signature '{name}' fails outside Python: {reason}"
                ) from error

        yield answer
