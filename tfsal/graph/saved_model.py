"""SavedModel directory -> ModelGraph."""

import re

import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from tfsal.errors import SourceError
from tfsal.graph import frozen
from tfsal.graph.concrete import from_concrete_function
from tfsal.graph.constants import lift_constants
from tfsal.graph.functions import op_name
from tfsal.kernels import library

_REF_VARIABLES = frozenset(("Variable", "VariableV2"))
_TABLE = re.compile("(Mutable)?(HashTable|DenseHashTable|HashTableOfTensors)(V2)?$")


def from_directory(path, signature=None):
    """Loads one signature of a SavedModel, written by TensorFlow 2 or 1.

    Raises:
      SourceError: no SavedModel is there, it cannot be read, or it lacks the signature.
    """
    if not any((path / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise SourceError(f"'{path}' holds no saved_model.pb, so it is no SavedModel.")
    try:
        loaded = _load(path)
    except Exception as error:
        raise SourceError(_reason(path, error)) from error
    signatures = loaded.signatures
    name = _choose(path, signatures, signature)
    function = signatures[name]
    origin = f"the SavedModel '{path}', signature '{name}'"
    if any(n.op in _REF_VARIABLES for n in function.graph.as_graph_def().node):
        net = _from_reference_variables(path, name, origin)
    else:
        net = from_concrete_function(
            function,
            origin=origin,
            keep=[loaded],
            saved=loaded,
            saved_defaults=_defaults(path),
        )
    net.path = path.absolute()
    return net


def _load(path):
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:
        ours = f"Op type not registered '{library.PREFIX}" in str(error)
        if not ours or library.unusable():
            raise
        return tf.saved_model.load(str(path))


def _defaults(path):
    """{signature: {input: TensorProto}} for the inputs that have a default."""
    proto = loader_impl.parse_saved_model(str(path))
    signatures = proto.meta_graphs[0].signature_def
    return {name: dict(s.defaults) for name, s in signatures.items() if s.defaults}


def _choose(path, signatures, wanted):
    if not signatures:
        raise SourceError(
            f"The SavedModel '{path}' has no signatures. Load it with tf.saved_model.load and "
            "give its function to tfsal.load with specs=."
        )
    name = wanted or ("serving_default" if "serving_default" in signatures else None)
    if name is None and len(signatures) == 1:
        name = next(iter(signatures))
    if name not in signatures:
        wrong = f"has no signature '{name}'" if name else "has several signatures"
        raise SourceError(
            f"The SavedModel '{path}' {wrong}. Choose one of: {', '.join(sorted(signatures))}."
        )
    return name


def _reason(path, error):
    text = str(error).strip().split("\n")[0]
    if "Op type not registered" in str(error):
        return (
            f"The SavedModel '{path}' needs an op that this TensorFlow does not have: {text} "
            "Load the library that defines it first: tf.load_op_library(PATH)."
        )
    return f"The SavedModel '{path}' cannot be read; it may be damaged or incomplete: {text}"


def _from_reference_variables(path, name, origin):
    """Loads a TF1 SavedModel with reference variables, which TensorFlow 2 cannot save again.

    Their values become tf.Variables, once for all signatures, and every signature is made anew.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        wanted = [o.name for s in meta.signature_def.values() for o in s.outputs.values()]
        graph_def = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), [op_name(t) for t in wanted]
        )
    _refuse_tables(graph_def, path)
    captures = lift_constants(graph_def)
    saved = tf.Module()
    saved.lifted = list(captures.values())
    nets = {
        key: frozen.from_lifted(
            graph_def,
            {k: v.name for k, v in signature.inputs.items()},
            {k: v.name for k, v in signature.outputs.items()},
            captures,
            origin,
        )
        for key, signature in meta.signature_def.items()
        if signature.outputs and not key.startswith("__")
    }
    saved.signatures = {key: net.as_function() for key, net in nets.items()}
    nets[name].saved = saved
    return nets[name]


def _refuse_tables(graph_def, path):
    """A table belongs to the session it was filled in, which is closed."""
    tables = [n.name for n in graph_def.node if _TABLE.match(n.op)]
    if tables:
        raise SourceError(
            f"The SavedModel '{path}' reads the lookup table '{tables[0]}' and has reference "
            "variables of TensorFlow 1, whose tables cannot be carried over. Save it again with "
            "TensorFlow 2, or in TensorFlow 1 with resource variables (use_resource=True)."
        )
