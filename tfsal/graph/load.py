"""tfsal.load: one entrance for every kind of model."""

import os
import pathlib

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from tfsal.errors import SourceError
from tfsal.graph import frozen, keras_models, saved_model
from tfsal.graph.concrete import from_concrete_function, trace
from tfsal.graph.model_graph import ModelGraph

_ACCEPTED = (
    "tfsal.load takes a Keras or tf_keras model, a .keras or .h5 file, a SavedModel directory, a "
    "frozen .pb file or GraphDef (with inputs= and outputs=), a (session, inputs, outputs) of "
    "TF1, a ConcreteFunction, or a tf.function or callable (with specs=)"
)


def load(source, signature=None, inputs=None, outputs=None, specs=None, constants=None):
    """Turns any TensorFlow model into a ModelGraph. The model itself is left as it is.

    Args:
      source: the model:

        - a Keras 3 or tf_keras model object, functional, sequential, subclassed or nested;
        - a path to a `.keras` or `.h5` file;
        - a path to a SavedModel directory (TF2 or TF1);
        - a path to a frozen `.pb` file, or a GraphDef; needs `inputs` and `outputs`;
        - a TF1 tuple `(session, inputs, outputs)`;
        - a tf.types.experimental.ConcreteFunction;
        - a tf.function or any callable; needs `specs`, unless it has an input_signature;
        - a ModelGraph, which is returned as it is.
      signature: name of the signature of a SavedModel; default 'serving_default'.
      inputs: for a frozen graph, the tensor names to feed, or {name: tensor name}.
      outputs: for a frozen graph, the tensor names to return, or {name: tensor name}.
      specs: tf.TensorSpec, or a list or dict of them, batch first: how to trace a callable, or a
        subclassed Keras model that has not been called yet. Names of the specs become the names
        of the inputs.
      constants: for graphs with other placeholders, {tensor name: value}, such as
        {'is_training:0': False}.

    Returns:
      A ModelGraph.

    Raises:
      SourceError: the source is of no known kind, cannot be read, or lacks something; the message
        says what to add.
    """
    if isinstance(source, (str, os.PathLike)):
        return _load_path(pathlib.Path(source), signature, inputs, outputs, specs, constants)
    if isinstance(source, ModelGraph):
        return source
    _refuse(signature, "signature", "a SavedModel directory")
    if isinstance(source, graph_pb2.GraphDef):
        return frozen.from_graph_def(source, inputs, outputs, constants, "a GraphDef")
    if isinstance(source, tuple) and source and isinstance(source[0], tf.compat.v1.Session):
        return frozen.from_session(source, constants)
    _refuse(inputs or outputs, "inputs= / outputs", "a frozen graph")
    _refuse(constants, "constants", "a frozen graph or a TF1 session")
    if keras_models.is_keras_model(source):
        return keras_models.from_model(source, specs)
    if isinstance(source, tf.types.experimental.ConcreteFunction):
        return from_concrete_function(source, origin="a ConcreteFunction")
    if callable(source):
        return _from_callable(source, specs)
    raise SourceError(f"Cannot load a {type(source).__name__}. {_ACCEPTED}.")


def _load_path(path, signature, inputs, outputs, specs, constants) -> ModelGraph:
    if not path.exists():
        raise SourceError(f"There is no model at '{path}'.")
    if path.is_dir():
        if inputs is not None or outputs is not None:
            raise SourceError(
                "inputs= and outputs= (--input, --output) are for frozen graphs; for a SavedModel "
                "choose signature= (--signature)."
            )
        _refuse(constants, "constants", "a frozen graph")
        return saved_model.from_directory(path, signature)
    _refuse(signature, "signature", "a SavedModel directory")
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return keras_models.from_file(path, specs)
    if path.name == "saved_model.pb":
        raise SourceError(f"'{path}' is part of a SavedModel: give its directory '{path.parent}'.")
    if path.suffix == ".pb":
        return frozen.from_file(path, inputs, outputs, constants)
    raise SourceError(f"'{path}' is no model file tfsal knows. {_ACCEPTED}.")


def _from_callable(function, specs):
    if specs is None and getattr(function, "input_signature", None) is not None:
        return from_concrete_function(function.get_concrete_function(), origin="a tf.function")
    if specs is None:
        raise SourceError(
            f"Loading the callable {getattr(function, '__name__', function)!r} needs specs=, such "
            "as specs=tf.TensorSpec([None, 224, 224, 3], tf.float32, name='image')."
        )
    name = getattr(function, "__name__", type(function).__name__)
    return trace(function, specs, origin=f"the function '{name}'", keep=[function])


def _refuse(value, name, belongs_to):
    if value is not None:
        raise SourceError(f"{name}= is for {belongs_to}; this source has no use for it.")
