"""Where a gradient can flow: the tensors between the inputs of a model and a score."""

import functools

# Sizes carry no information about the content of an input.
_SHAPE_OPS = frozenset(("Shape", "ShapeN", "Rank", "Size"))
# Outputs of these that carry on one input each, not all of them.
_PASS_THROUGH = frozenset(("IdentityN", "ShapeN"))


def producers(op_type, output_index, inputs):
    """Names of the tensors that one output of an op is computed from."""
    if op_type in _SHAPE_OPS:
        return ()
    if op_type in _PASS_THROUGH:
        return (inputs[output_index],)
    return tuple(inputs)


class Flow:
    """The part of a model that leads from its inputs to the tensors of a score.

    Args:
      producers: {tensor: tensors it is computed from}, in topological order.
      sources: tensor names of the inputs.
      sinks: tensor names that the score is computed from.

    Attributes:
      order: names of the tensors on a path from a source to a sink, in topological order.
      sources, sinks: as given, those that are on a path.
    """

    def __init__(self, producers, sources, sinks):
        alive = set()
        for tensor, inputs in producers.items():
            if tensor in sources or any(i in alive for i in inputs):
                alive.add(tensor)
        wanted, stack = set(), [s for s in sinks if s in alive]
        while stack:
            tensor = stack.pop()
            if tensor not in wanted:
                wanted.add(tensor)
                if tensor not in sources:
                    stack.extend(i for i in producers[tensor] if i in alive)
        self.order = [t for t in producers if t in wanted]
        self.position = {t: i for i, t in enumerate(self.order)}
        self.sources = [s for s in sources if s in wanted]
        self.sinks = [s for s in sinks if s in wanted]
        self._inputs = {
            t: () if t in sources else tuple(i for i in producers[t] if i in wanted)
            for t in self.order
        }

    def __contains__(self, tensor):
        return tensor in self.position

    def inputs(self, tensor):
        """The tensors on these paths that this one is computed from."""
        return self._inputs[tensor]

    @functools.cached_property
    def _outputs(self):
        outputs = {t: [] for t in self.order}
        for tensor, inputs in self._inputs.items():
            for i in inputs:
                outputs[i].append(tensor)
        return outputs

    @functools.cached_property
    def trunk(self):
        """Tensors on every path from the inputs to the score, in order: the score's dominators."""
        before = _dominators(self.order, self._inputs, self.sources)
        tensor = self.sinks[0] if self.sinks else None
        for sink in self.sinks[1:]:
            tensor = _meet(tensor, sink, before, self.position)
        trunk = []
        while tensor is not None:
            trunk.append(tensor)
            tensor = before[tensor]
        return trunk[::-1]

    @functools.cached_property
    def _after(self):
        return _dominators(self.order[::-1], self._outputs, self.sinks)

    def next_common(self, tensor):
        """The first tensor that every path from `tensor` to the score runs through, or None.

        It is the immediate post-dominator of `tensor`.
        """
        return self._after[tensor]

    def between(self, first, last):
        """Tensors made after `first`, or after None from the start, that `last` is made of."""
        start = -1 if first is None else self.position[first]
        found, stack = set(), list(self.inputs(last))
        while stack:
            tensor = stack.pop()
            if tensor not in found and self.position[tensor] > start:
                found.add(tensor)
                stack.extend(self.inputs(tensor))
        return found

    def reaching(self, tensor):
        """Sources that lead to `tensor`."""
        found, stack = set(), [tensor]
        while stack:
            current = stack.pop()
            if current not in found:
                found.add(current)
                stack.extend(self.inputs(current))
        return [s for s in self.sources if s in found]


def _dominators(order, inputs, roots):
    """Immediate dominators of a graph given in topological order (Cooper, Harvey, Kennedy 2001).

    None stands for the virtual root before all roots; the loops of v1 graphs are cut at their
    back edges, whose source comes later in the order.
    """
    position = {t: i for i, t in enumerate(order)}
    roots, before = set(roots), {}
    for tensor in order:
        known = [i for i in inputs[tensor] if i in before]
        if tensor in roots or not known:
            before[tensor] = None
            continue
        common = known[0]
        for other in known[1:]:
            common = _meet(common, other, before, position)
        before[tensor] = common
    return before


def _meet(a, b, before, position):
    while a != b:
        if a is None or b is None:
            return None
        if position[a] > position[b]:
            a = before[a]
        else:
            b = before[b]
    return a
