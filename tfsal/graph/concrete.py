"""ConcreteFunction -> ModelGraph; every live source and every SavedModel signature ends here."""

import re

import tensorflow as tf

from tfsal.errors import SourceError
from tfsal.graph.model_graph import ModelGraph


def from_concrete_function(
    function,
    *,
    origin,
    input_names=None,
    output_names=None,
    keep=(),
    saved=None,
    saved_defaults=None,
):
    """Makes a ModelGraph of a ConcreteFunction.

    Args:
      function: the ConcreteFunction; kept alive.
      origin: where it came from, in words.
      input_names: names for its flat inputs; default: those of its arguments.
      output_names: names for its flat outputs; default: the keys of a dict, or 'output_0', ...
      keep: further objects to keep alive.
      saved, saved_defaults: see ModelGraph.

    Raises:
      SourceError: it returns nothing.
    """
    inner = [t.name for t in function.graph.internal_captures]
    arguments = [t for t in function.inputs if t.name not in set(inner)]
    input_names = input_names or [_argument_name(t) for t in arguments]
    output_names = output_names or _output_names(function)
    if not function.outputs:
        raise SourceError(f"{origin} returns no tensor, so there is nothing to explain.")
    return ModelGraph(
        function.graph.as_graph_def(),
        {
            name: (t.name, tf.TensorSpec(t.shape, t.dtype, name))
            for name, t in zip(_distinct(input_names), arguments, strict=True)
        },
        dict(zip(_distinct(output_names), (t.name for t in function.outputs), strict=True)),
        dict(zip(inner, function.captured_inputs, strict=True)),
        origin=origin,
        variables=function.variables,
        keep=[function, *keep],
        saved=saved,
        saved_defaults=saved_defaults,
    )


def trace(function, specs, *, origin, input_names=None, output_names=None, keep=()):
    """Traces a callable and makes a ModelGraph of it.

    Args:
      function: takes what `specs` describes, returns a tensor or a structure of tensors.
      specs: a tf.TensorSpec, or a list, tuple or dict of them; a dict is passed as one argument.
      origin, input_names, output_names, keep: see from_concrete_function.

    Raises:
      SourceError: the function cannot be traced with these specs.
    """
    arguments = list(specs) if isinstance(specs, (list, tuple)) else [specs]
    if input_names is None and isinstance(specs, dict):
        input_names = sorted(specs)
    try:
        concrete = tf.function(function, autograph=False).get_concrete_function(*arguments)
    except Exception as error:
        raise SourceError(f"{origin} could not be traced with {specs}: {error}") from error
    return from_concrete_function(
        concrete, origin=origin, input_names=input_names, output_names=output_names, keep=keep
    )


def _argument_name(tensor):
    try:
        return tensor.op.get_attr("_user_specified_name").decode()
    except ValueError:
        return tensor.op.name


def _output_names(function):
    structure = function.structured_outputs
    if isinstance(structure, dict) and len(structure) == len(function.outputs):
        return sorted(structure)
    return [f"output_{i}" for i in range(len(function.outputs))]


def _distinct(names):
    """Names that a signature accepts, each once."""
    taken, result = set(), []
    for name in names:
        name = base = re.sub(r"[^\w./:-]", "_", str(name))
        count = 1
        while name in taken:
            name, count = f"{base}_{count}", count + 1
        taken.add(name)
        result.append(name)
    return result
