"""Frozen graphs and TF1 sessions -> ModelGraph."""

import difflib

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2

from tfsal.errors import SourceError
from tfsal.graph.constants import fix_placeholders, lift_constants
from tfsal.graph.functions import canonical, op_name
from tfsal.graph.model_graph import ModelGraph


def from_file(path, inputs, outputs, constants):
    """Loads a frozen `.pb` file.

    Raises:
      SourceError: the file holds no GraphDef; see also from_graph_def.
    """
    graph_def = graph_pb2.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise SourceError(f"'{path}' holds no GraphDef; it may be damaged.") from error
    if not graph_def.node:
        raise SourceError(f"'{path}' holds a graph without nodes; is it a frozen graph?")
    return from_graph_def(graph_def, inputs, outputs, constants, f"the frozen graph '{path}'")


def from_graph_def(graph_def, inputs, outputs, constants, origin):
    """Makes a ModelGraph of a GraphDef whose weights are constants.

    Args:
      graph_def: the GraphDef; not modified.
      inputs: tensor names to feed, or {name: tensor name}.
      outputs: tensor names to return, or {name: tensor name}.
      constants: {tensor name of another placeholder: value}, or None.
      origin: where the graph came from, in words.

    Raises:
      SourceError: names are missing or unknown (the candidates are listed), or the graph is not
        one TensorFlow can import.
    """
    if not inputs or not outputs:
        placeholders = [n.name + ":0" for n in graph_def.node if n.op == "Placeholder"]
        consumed = {op_name(i) for n in graph_def.node for i in n.input}
        ends = [n.name + ":0" for n in graph_def.node if n.name not in consumed]
        raise SourceError(
            "A frozen graph needs inputs= and outputs=, the names of the tensors to feed and to "
            f"return. Its placeholders: {', '.join(placeholders[:10]) or 'none'}. Tensors that "
            f"nothing consumes: {', '.join(ends[-10:])}."
        )
    graph_def, original = graph_pb2.GraphDef(), graph_def
    graph_def.CopyFrom(original)
    fix_placeholders(graph_def, constants or {})
    return from_lifted(
        graph_def, _named(inputs), _named(outputs), lift_constants(graph_def), origin
    )


def from_lifted(graph_def, inputs, outputs, captures, origin):
    """Makes a ModelGraph of a GraphDef whose weights were lifted to variables.

    Args:
      graph_def: the GraphDef.
      inputs, outputs: {name: tensor name}.
      captures: {tensor name of a resource placeholder: tf.Variable}.
      origin: where the graph came from, in words.
    """
    specs = _specs(graph_def, inputs, outputs)
    return ModelGraph(
        graph_def,
        {name: (tensor, specs[tensor]) for name, tensor in inputs.items()},
        outputs,
        {tensor: variable.handle for tensor, variable in captures.items()},
        origin=origin,
        variables=captures.values(),
    )


def _named(names):
    """{name: tensor name} of tensor names; the name is that of the op."""
    if isinstance(names, dict):
        return {name: canonical(tensor) for name, tensor in names.items()}
    names = [names] if isinstance(names, str) else names
    return {op_name(t).rpartition("/")[2]: canonical(t) for t in names}


def _specs(graph_def, inputs, outputs):
    """{tensor name: tf.TensorSpec} of the inputs; checks every name, too."""
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise SourceError(f"TensorFlow cannot import this graph: {error}") from error
    specs = {}
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        for name, tensor in names.items():
            try:
                found = graph.get_tensor_by_name(tensor)
            except (KeyError, ValueError) as error:
                known = [n.name + ":0" for n in graph_def.node]
                near = difflib.get_close_matches(tensor, known, n=5, cutoff=0.3)
                raise SourceError(
                    f"{kind}: there is no tensor '{tensor}' in this graph. Nearest names: "
                    f"{', '.join(near) or 'none'}."
                ) from error
            specs[tensor] = tf.TensorSpec(found.shape, found.dtype, name)
    return specs


def from_session(source, constants):
    """Makes a ModelGraph of a TF1 `(session, inputs, outputs)`; variables are read once.

    Args:
      source: (tf.compat.v1.Session, inputs, outputs); inputs and outputs are tensors, tensor
        names, or {name: tensor or tensor name}.
      constants: {tensor name of another placeholder: value}, or None.

    Raises:
      SourceError: the tuple has another form, or variables are not initialised.
    """
    if len(source) != 3:
        raise SourceError("A TF1 source is a tuple (session, inputs, outputs).")
    session, inputs, outputs = source
    inputs, outputs = _tensor_names(inputs), _tensor_names(outputs)
    wanted = outputs.values() if isinstance(outputs, dict) else outputs
    try:
        graph_def = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), [op_name(t) for t in wanted]
        )
    except (tf.errors.FailedPreconditionError, AssertionError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise SourceError(
            "The session cannot be frozen; are the variables initialised, and do the outputs "
            f"exist? TensorFlow says: {reason}"
        ) from error
    return from_graph_def(graph_def, inputs, outputs, constants, "a TF1 session")


def _tensor_names(tensors):
    if isinstance(tensors, dict):
        return {k: t if isinstance(t, str) else t.name for k, t in tensors.items()}
    tensors = tensors if isinstance(tensors, (list, tuple)) else [tensors]
    return [t if isinstance(t, str) else t.name for t in tensors]
