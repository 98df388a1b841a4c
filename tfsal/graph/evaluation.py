"""The tensors of one copy of a model inside a function being traced."""

from tfsal.graph import functions
from tfsal.graph.flow import producers


class Evaluation:
    """One copy of the model inside a function being traced: tensor name -> tf.Tensor."""

    def __init__(self, graph, scope, graph_def, given):
        self._graph = graph
        self._scope = scope
        self._graph_def = graph_def
        self._given = given

    def __getitem__(self, tensor):
        if tensor in self._given:
            return self._given[tensor]
        return self._graph.get_tensor_by_name(self._scope + tensor)

    def operations(self, names):
        """The tf.Operations of these ops, those that were not needed left out."""
        there = names & {node.name for node in self._graph_def.node}
        return [self._graph.get_operation_by_name(self._scope + name) for name in there]

    def tensors(self):
        """Yields (name, op type, tf.Tensor, names it is computed from), in topological order."""
        for name, value in self._given.items():
            yield name, "Placeholder", value, ()
        for node in self._graph_def.node:
            op = self._graph.get_operation_by_name(self._scope + node.name)
            inputs = [functions.canonical(i) for i in node.input if i[0] != "^"]
            for i, value in enumerate(op.outputs):
                yield f"{node.name}:{i}", op.type, value, producers(op.type, i, inputs)
