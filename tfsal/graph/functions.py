"""Functions of a GraphDef: inlining calls, and carrying the ones that must stay functions.

`tf.function` models arrive as a graph that calls functions that call functions. Everything tfsal
does (naming layers, cutting the gradient at a tensor, editing derivatives) needs one flat graph.
Grappler's own inliner leaves colocation attributes behind that later imports choke on, so the
inlining is done here, on the protocol buffers.
"""

import itertools
import re

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.ops import control_flow_ops

from tfsal.errors import SourceError

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_import_count = itertools.count()


def canonical(tensor: str) -> str:
    """Returns the full name of a GraphDef input: 'op' and 'op:0' are both 'op:0'."""
    return tensor if ":" in tensor else tensor + ":0"


def op_name(tensor: str) -> str:
    """Returns the name of the op behind a GraphDef input, control inputs included."""
    return tensor.lstrip("^").split(":")[0]


def output_index(tensor: str) -> int:
    """Returns which output of its op a tensor is: of 'op' 0, of 'op:2' and 'op:result:2' 2."""
    return int(tensor.rpartition(":")[2]) if ":" in tensor else 0


def inline_calls(graph_def):
    """Inlines every function call at any depth; While, If and Case keep their functions.

    Args:
      graph_def: a GraphDef; it is not modified.

    Returns:
      (flat GraphDef with nodes in topological order, {tensor name before: tensor name after} for
      every tensor of the outer graph, the scopes that hold the body of a call).

    Raises:
      SourceError: an op is not registered in this process.
    """
    inliner = _Inliner(graph_def)
    flat, renamed = inliner.run()
    prune_library(flat)
    return flat, renamed, inliner.calls


class _Inliner:
    def __init__(self, graph_def):
        self.graph_def = graph_def
        self.functions = {f.signature.name: f for f in graph_def.library.function}
        self.names = {n.name for n in graph_def.node}
        self.calls = set()
        self.out = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)

    def run(self):
        tensors, controls = {}, {}
        for node in _topological(self.graph_def.node):
            # v1 loops have back edges, whose producer comes later and keeps its name.
            inputs = [tensors.get(canonical(i), canonical(i)) for i in node.input if i[0] != "^"]
            waits = [c for i in node.input if i[0] == "^" for c in controls.get(i[1:], [i[1:]])]
            outputs, controls[node.name] = self._visit(node, node.name, inputs, waits)
            tensors.update({f"{node.name}:{i}": t for i, t in enumerate(outputs)})
        return self.out, tensors

    def _visit(self, node, name, inputs, waits):
        """Emits a node, or the body of the function it calls -> (tensors, ops to wait for)."""
        function = self.functions.get(node.attr["f"].func.name if node.op in _CALLS else node.op)
        if function is not None:
            return self._inline(function, name, inputs, waits)
        new = self.out.node.add()
        new.CopyFrom(node)
        new.name = name
        del new.input[:]
        new.input.extend(inputs)
        new.input.extend("^" + c for c in dict.fromkeys(waits))
        return [f"{name}:{i}" for i in range(len(self._output_names(node)))], [name]

    def _inline(self, function, prefix, inputs, waits):
        self.calls.add(prefix)
        arguments = [a.name for a in function.signature.input_arg]
        tensors = dict(zip(arguments, inputs, strict=True))
        controls = {a: list(waits) for a in arguments}
        for node in _topological(function.node_def):
            node_inputs = [tensors[i] for i in node.input if i[0] != "^"]
            node_waits = [c for i in node.input if i[0] == "^" for c in controls[i[1:]]]
            if not node.input:
                node_waits = list(waits)
            name = self._unique(f"{prefix}/{node.name}")
            outputs, controls[node.name] = self._visit(node, name, node_inputs, node_waits)
            tensors.update(zip(self._output_names(node), outputs, strict=True))
        results = [tensors[function.ret[a.name]] for a in function.signature.output_arg]
        return results, [c for op in function.control_ret.values() for c in controls[op]]

    def _output_names(self, node):
        """Names of a node's outputs as a FunctionDef writes them: 'node:argument:position'."""
        function = self.functions.get(node.op)
        op_def = function.signature if function is not None else op_def_registry.get(node.op)
        if op_def is None:
            raise SourceError(
                f"The model holds the op '{node.op}' (node '{node.name}'), which this TensorFlow "
                "does not know. Load the library that defines it first: "
                "tf.load_op_library(PATH)."
            )
        return [
            f"{node.name}:{argument.name}:{i}"
            for argument in op_def.output_arg
            for i in range(_length(argument, node.attr))
        ]

    def _unique(self, name):
        candidate = name
        for i in itertools.count(1):
            if candidate not in self.names:
                break
            candidate = f"{name}_{i}"
        self.names.add(candidate)
        return candidate


def _length(argument, attributes):
    if argument.number_attr:
        return attributes[argument.number_attr].i
    if argument.type_list_attr:
        return len(attributes[argument.type_list_attr].list.type)
    return 1


def _topological(nodes):
    """Nodes after their inputs; iterative, because deep networks exceed the recursion limit.

    Loops of v1 graphs are cut where they close, at the edge from NextIteration to Merge.
    """
    by_name = {n.name: n for n in nodes}
    done, order = set(), []
    for root in nodes:
        stack = [(root, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                order.append(node)
            elif node.name not in done:
                done.add(node.name)
                stack.append((node, True))
                producers = (by_name.get(op_name(i)) for i in node.input)
                stack.extend((p, False) for p in producers if p and p.op != "NextIteration")
    return order


def called_functions(node, known):
    """Names in `known` that a node refers to, by its op or by an attribute."""
    names = [node.op]
    for attribute in node.attr.values():
        names.append(attribute.func.name)
        names.extend(f.name for f in attribute.list.func)
    return [n for n in names if n in known]


def nodes_with(graph_def, op_types):
    """Names of the nodes of these op types, and of those that call a function holding one."""
    holding, grown = {}, True
    while grown:
        size = len(holding)
        for function in graph_def.library.function:
            if any(n.op in op_types or called_functions(n, holding) for n in function.node_def):
                holding[function.signature.name] = function
        grown = len(holding) > size
    return {n.name for n in graph_def.node if n.op in op_types or called_functions(n, holding)}


def prune_library(graph_def):
    """Drops, in place, the functions of the library that no node reaches."""
    known = {f.signature.name: f for f in graph_def.library.function}
    reached, stack = {}, list(graph_def.node)
    while stack:
        for name in called_functions(stack.pop(), known):
            if name not in reached:
                reached[name] = known[name]
                stack.extend(known[name].node_def)
    functions = [f for f in graph_def.library.function if f.signature.name in reached]
    graph_def.ClearField("library")
    graph_def.library.function.extend(functions)


def extract(graph_def, fetches, feeds):
    """Cuts out the part that computes `fetches` when the tensors in `feeds` are given.

    Producers of fed tensors are left out altogether: an `input_map` alone would import them dead,
    and XLA compiles dead placeholders too.

    Args:
      graph_def: flat GraphDef.
      fetches: tensor names to compute.
      feeds: set of tensor names that are given.

    Returns:
      (GraphDef, set of the feeds that are used).
    """
    by_name = {n.name: n for n in graph_def.node}
    needed, used, stack = set(), set(), list(fetches)
    while stack:
        name = stack.pop()
        if name[0] != "^" and canonical(name) in feeds:
            used.add(canonical(name))
        elif op_name(name) not in needed:
            needed.add(op_name(name))
            stack.extend(by_name[op_name(name)].input)
    part = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(n for n in graph_def.node if n.name in needed)
    prune_library(part)
    return part, used


def adopt_library(graph_def):
    """Renames the library's functions, in place, and makes them known to the process.

    Importing the same function twice fails on its derived name ('..._rewritten'), and
    `tf.import_graph_def` inside a `tf.function` does not register functions at all.
    """
    if not graph_def.library.function:
        return
    suffix = f"_tfsal{next(_import_count)}"
    names = [f.signature.name for f in graph_def.library.function]
    renamed = {n: re.sub(r"_tfsal\d+$", "", n) + suffix for n in names}
    for function in graph_def.library.function:
        function.signature.name = renamed[function.signature.name]
        _rename_calls(function.node_def, renamed)
    _rename_calls(graph_def.node, renamed)
    library = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    with tf.init_scope():
        tf.import_graph_def(library, name="")


def mark_v1_control_flow(graph, scope, graph_def):
    """Tells the function being traced what an import forgets of the control flow of v1.

    tf.function would make ops that close a loop wait for ops outside of it, and tf.gradients would
    take the context of a function that XLA compiles for that of a tf.cond.
    """
    rounds = {n.name for n in graph_def.node if n.op == "NextIteration"}
    for node in graph_def.node:
        if node.op in ("Switch", "Merge"):
            closes = rounds.intersection(map(op_name, node.input))
            context = control_flow_ops.WhileContext() if closes else None
            graph.get_operation_by_name(scope + node.name)._set_control_flow_context(context)


def _rename_calls(nodes, renamed):
    for node in nodes:
        node.op = renamed.get(node.op, node.op)
        for attribute in node.attr.values():
            for function in (*attribute.list.func, attribute.func):
                if function.name in renamed:
                    function.name = renamed[function.name]
