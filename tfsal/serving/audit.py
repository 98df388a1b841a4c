"""The audit: what ops a bundle asks of its host, and that tfsal added none that hosts lack."""

import dataclasses

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfsal.errors import ExportError
from tfsal.graph.functions import called_functions, op_name
from tfsal.kernels import library

_PYTHON = frozenset(("PyFunc", "PyFuncStateless", "EagerPyFunc"))


@dataclasses.dataclass(frozen=True)
class Needs:
    """What one signature asks of its host.

    Attributes:
      ops: names of all its op types, sorted.
      custom_ops: those that no stock TensorFlow has.
      python_ops: those that only run inside Python.
      xla: True when a function in it must be compiled by XLA, which stock servers have off.
    """

    ops: tuple
    custom_ops: tuple
    python_ops: tuple
    xla: bool

    @property
    def fused_ops(self) -> tuple:
        """Those of the custom ops that are tfsal's."""
        return tuple(op for op in self.custom_ops if op.startswith(library.PREFIX))


def read_meta_graph(path):
    """Returns the MetaGraphDef of a SavedModel directory.

    Raises:
      ExportError: saved_model.pb is missing or damaged.
    """
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
        return proto.meta_graphs[0]
    except Exception as error:
        raise ExportError(f"'{path}/saved_model.pb' cannot be read: {error}") from error


def signature_needs(meta_graph):
    """Returns {signature name: Needs} of a MetaGraphDef."""
    return {
        name: _needs(meta_graph.graph_def, signature)
        for name, signature in meta_graph.signature_def.items()
        if not name.startswith("__")
    }


def _needs(graph_def, signature):
    nodes = {n.name: n for n in graph_def.node}
    known = {f.signature.name: f for f in graph_def.library.function}
    stack = [nodes[op_name(o.name)] for o in signature.outputs.values()]
    seen, reached, ops, xla = set(), set(), set(), False
    while stack:
        node = stack.pop()
        ops.add(node.op)
        xla |= node.attr["_XlaMustCompile"].b if "_XlaMustCompile" in node.attr else False
        for name in called_functions(node, known):
            if name not in reached:
                reached.add(name)
                function = known[name]
                stack.extend(function.node_def)
                if "_XlaMustCompile" in function.attr:
                    xla |= function.attr["_XlaMustCompile"].b
        for name in map(op_name, node.input):
            # Inside a function, inputs are of that function and all its nodes are on the stack.
            if nodes.get(node.name) is node and name not in seen:
                seen.add(name)
                stack.append(nodes[name])
    ops -= set(known)
    return Needs(
        tuple(sorted(ops)),
        tuple(sorted(op for op in ops if not is_stock(op))),
        tuple(sorted(ops & _PYTHON)),
        bool(xla),
    )


def is_stock(op_type) -> bool:
    """True for an op that every TensorFlow has."""
    return hasattr(tf.raw_ops, op_type) or op_type.startswith("_")


def own_needs(graph_def):
    """Returns (op types, True where XLA must compile a part) of a model's flat graph."""
    functions = graph_def.library.function
    nodes = [n for group in (graph_def.node, *(f.node_def for f in functions)) for n in group]
    xla = any(
        p.attr["_XlaMustCompile"].b for p in (*nodes, *functions) if "_XlaMustCompile" in p.attr
    )
    return {n.op for n in nodes}, xla


def refuse_additions(needs, own_ops, own_xla=False):
    """Raises when an explanation asks more of its host than its model does.

    Args:
      needs: {signature name: Needs} of the explanations.
      own_ops: op types of the model itself.
      own_xla: True when the explanations may hold functions that XLA must compile.

    Raises:
      ExportError: names the signature and what it would need.
    """
    for name, need in needs.items():
        added = [op for op in (*need.custom_ops, *need.python_ops) if op not in own_ops]
        if added:
            raise ExportError(
                f"The signature '{name}' would need {', '.join(added)}, which a stock server does "
                "not have: the gradient of an op of this model brings it in. Use a class "
                "activation map on a layer after that op."
            )
        if need.xla and not own_xla:
            raise ExportError(
                f"The signature '{name}' would need XLA, which a stock server has off. A method "
                "must not set jit_compile itself."
            )
