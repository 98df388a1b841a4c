"""Keras 3 and tf_keras models, objects and files -> ModelGraph."""

import importlib.util
import re

import tensorflow as tf

from tfsal.errors import SourceError
from tfsal.graph.concrete import trace

_READ_IDS = frozenset(
    "Embedding ReversibleEmbedding StringLookup IntegerLookup TextVectorization Hashing".split()
)
_UNNAMED = re.compile(r"keras_tensor(_\d+)?$|input_\d+$|input_layer(_\d+)?$")


def is_keras_model(source) -> bool:
    """True for a Keras 3 or tf_keras model, without importing either."""
    return _family(source) is not None


def _family(source):
    for base in type(source).__mro__:
        package = base.__module__.partition(".")[0]
        if package in ("keras", "tf_keras") and base.__name__ == "Model":
            return package
    return None


def from_file(path, specs=None):
    """Loads a `.keras` or `.h5` file, by Keras 3 or else by tf_keras.

    Raises:
      SourceError: neither can read it; names what each of them said.
    """
    import keras

    loaders = {"Keras": keras.models.load_model}
    if importlib.util.find_spec("tf_keras"):
        import tf_keras

        loaders["tf_keras"] = tf_keras.models.load_model
    reasons = []
    for name, load_model in loaders.items():
        try:
            model = load_model(str(path), compile=False)
        except Exception as error:  # Keras raises whatever its layers raise.
            reasons.append(f"{name}: {str(error).strip().splitlines()[0]}")
        else:
            return from_model(model, specs, origin=f"the Keras file '{path}'")
    raise SourceError(
        f"'{path}' cannot be read as a Keras model. It may be damaged; if it has custom objects, "
        "load it with keras.models.load_model(custom_objects=...) and give the model. "
        f"({'; '.join(reasons)})"
    )


def from_model(model, specs=None, origin=None):
    """Makes a ModelGraph of a Keras model in inference mode.

    Args:
      model: functional, sequential or subclassed; its variables are shared.
      specs: tf.TensorSpecs of the inputs, for a subclassed model that was not called yet.
      origin: where it came from, in words.

    Raises:
      SourceError: the backend is not TensorFlow, or the shapes of the inputs are unknown.
    """
    family = _family(model)
    if family == "keras":
        import keras

        if keras.backend.backend() != "tensorflow":
            raise SourceError(
                f"This Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow "
                "before importing it."
            )
    origin = origin or f"the {family} model '{model.name}'"
    if specs is None:
        specs = _input_specs(model, family)
    flat = tf.nest.flatten(specs)

    def call(*feeds):
        return model(tf.nest.pack_sequence_as(specs, feeds), training=False)

    return trace(
        call,
        flat,
        origin=origin,
        input_names=_input_names(specs, flat),
        output_names=_output_names(model),
        keep=[model, *_tables(model)],
    )


def _input_specs(model, family):
    """tf.TensorSpecs of the inputs, in the structure that the model is called with."""
    if family == "tf_keras":
        saved = model.save_spec()
        if saved is not None:
            return saved[0][0]
    functional = getattr(model, "_functional", None) or model
    structure = getattr(functional, "_inputs_struct", None)
    if structure is not None:
        return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype, t.name), structure)
    # A subclassed model remembers the shapes of its first call, its batch size among them.
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if len(shapes) == 1:
        specs = _specs_of_shapes(next(iter(shapes.values())), model.input_dtype)
        _refuse_ids(model, tf.nest.flatten(specs))
        return specs
    raise SourceError(
        f"The inputs of the model '{model.name}' are unknown: it is subclassed and "
        f"{'has several arguments' if shapes else 'was not called yet'}. Give specs=, such as "
        "specs=tf.TensorSpec([None, 224, 224, 3], tf.float32, name='image')."
    )


def _refuse_ids(model, specs):
    """Keras remembers no dtypes of a subclassed model, and ids or words are not floats."""
    readers = [layer for layer in model._flatten_layers() if type(layer).__name__ in _READ_IDS]
    rows = [spec for spec in specs if spec.shape.rank is not None and spec.shape.rank <= 2]
    if readers and rows:
        raise SourceError(
            f"The inputs of the model '{model.name}' may be ids or words, which its layer "
            f"'{readers[0].name}' reads, and Keras does not remember their dtype. Give specs=, "
            f"such as specs=tf.TensorSpec({rows[0].shape.as_list()}, tf.int32, name='tokens')."
        )


def _specs_of_shapes(shapes, dtype):
    if isinstance(shapes, dict):
        return {key: _specs_of_shapes(shape, dtype) for key, shape in shapes.items()}
    if any(isinstance(size, (list, tuple)) for size in shapes):
        return [_specs_of_shapes(shape, dtype) for shape in shapes]
    return tf.TensorSpec([None, *shapes[1:]], dtype)


def _input_names(structure, flat):
    """Names of the flat inputs: keys of a dict, names the user gave, else 'inputs'."""
    if isinstance(structure, dict) and len(structure) == len(flat):
        return sorted(structure)
    given = [None if _UNNAMED.match(spec.name or "input_0") else spec.name for spec in flat]
    if len(flat) == 1:
        return [given[0] or "inputs"]
    return [name or f"inputs_{i}" for i, name in enumerate(given)]


def _output_names(model):
    """Names of the layers that make the outputs; None where the outputs are named already."""
    functional = getattr(model, "_functional", None) or model
    structure = getattr(functional, "_outputs_struct", getattr(functional, "_nested_outputs", None))
    if structure is None or isinstance(structure, dict):
        return None
    names = list(functional.output_names)
    return names if len(names) == len(tf.nest.flatten(structure)) else None


def _tables(model):
    """Lookup tables of the model's layers; an export must hold them beside the variables."""
    layers = model._flatten_layers() if hasattr(model, "_flatten_layers") else ()
    resource = tf.saved_model.experimental.TrackableResource
    return [v for layer in layers for v in vars(layer).values() if isinstance(v, resource)]
