"""Layer names: from the scopes of a flat graph to what a person calls a layer, and back.

A layer is a name scope; its output is the tensor that leaves the scope. Scopes differ from layer
names in two ways. Loading wraps them ('StatefulPartitionedCall/resnet50_1/conv1_relu_1/Relu'), so
a name may start at any depth. Keras 3 adds a counter to every scope, so the layer 'conv2d_1' has
the scope 'conv2d_1_1' while the scope 'conv2d_1' belongs to the layer 'conv2d'.
"""

import difflib
import functools
import itertools
import re

from tfsal.errors import LayerError
from tfsal.graph.functions import op_name

_COUNTER = re.compile(r"_\d+$")
# Scopes that TensorFlow opens inside a layer.
_INSIDE_A_LAYER = frozenset(
    "batchnorm moments Tensordot conv1d separable_conv2d einsum while cond resize "
    "TensorArrayUnstack TensorArrayV2Stack Repeat Repeat_1".split()
)
# Ops that a call, or the end of a function, puts around what the model computes.
_FORWARDING = frozenset(("Identity", "IdentityN", "Placeholder"))


class LayerNames:
    """Maps layer names to tensors for one model.

    Args:
      flow: Flow to all outputs of the model.
      tensors: {tensor name: TensorInfo}.
      calls: scopes that hold the body of an inlined call; TensorFlow named them, not a person.
    """

    def __init__(self, flow, tensors, calls=()):
        self._flow = flow
        self._tensors = tensors
        self._calls = set(calls)

    @functools.cached_property
    def _leaving(self):
        """{scope: tensors that leave it, in topological order}."""
        leaving = {}

        def leave(tensor, consumer):
            for scope in (*_parents(op_name(tensor)), op_name(tensor)):
                if not consumer.startswith(scope + "/"):
                    names = leaving.setdefault(scope, [])
                    if tensor not in names:
                        names.append(tensor)

        for consumer in self._flow.order:
            for tensor in self._flow.inputs(consumer):
                leave(tensor, op_name(consumer))
        for sink in self._flow.sinks:
            leave(sink, "")
        return leaving

    @functools.cached_property
    def _outputs(self):
        """{scope: its output}: of the tensors that leave, the last that can be drawn on."""
        outputs = {}
        for scope, names in self._leaving.items():
            floating = [t for t in names if self._tensors[t].dtype.is_floating]
            maps = [t for t in floating if self._tensors[t].is_map]
            ranked = sorted(maps or floating, key=self._flow.position.get)
            if ranked:
                outputs[scope] = ranked[-1]
        return outputs

    @functools.cached_property
    def table(self):
        """{layer name: tensor}, in topological order; one name for each tensor."""
        blocks = self._blocks
        layers = {}
        for scope in sorted(self._outputs, key=lambda s: s.count("/")):
            tensor = self._outputs[scope]
            only_renames = scope == op_name(tensor) and self._tensors[tensor].op == "Identity"
            is_layer = scope not in blocks and all(s in blocks for s in _parents(scope))
            if is_layer and not only_renames and tensor not in self._flow.sources:
                layers.setdefault(tensor, scope)
        prefix = _common_prefix(list(layers.values()))
        return {
            self._shortest(layers[tensor][len(prefix) :], tensor): tensor
            for tensor in sorted(layers, key=self._flow.position.get)
        }

    @functools.cached_property
    def _blocks(self):
        """Scopes that hold several layers, as a model or a nested backbone does."""
        scopes = {s for t in self._flow.order for s in _parents(op_name(t))}
        children = {}
        for scope in scopes:
            if not _INSIDE_A_LAYER.intersection(scope.split("/")):
                children.setdefault(scope.rpartition("/")[0], set()).add(scope)
        blocks = {scope for scope, inner in children.items() if len(inner) > 1}
        blocks |= {scope for scope in scopes if {scope, *_parents(scope)} <= self._calls}
        blocks |= self._wrappers
        return blocks.union(*(_parents(scope) for scope in blocks))

    @functools.cached_property
    def _shared(self):
        """The innermost scope that holds everything the model computes, and those around it."""
        ops = [
            op_name(t)
            for t in self._flow.order
            if t not in self._flow.sources and self._tensors[t].op not in _FORWARDING
        ]
        shared = _common_prefix(ops).rstrip("/")
        return [*_parents(shared), shared]

    @functools.cached_property
    def _wrappers(self):
        """Scopes around a model that is a single layer: all is in the one scope they hold."""
        outer = [s for s in self._shared if not _INSIDE_A_LAYER.intersection(s.split("/"))]
        return set(outer[:-1])

    @functools.cached_property
    def _root(self):
        """Prefix of the call that the whole model is, as a SavedModel's signature is one."""
        calls = itertools.takewhile(lambda scope: scope in self._calls, self._shared)
        return "".join(scope + "/" for scope in list(calls)[-1:])

    def _shortest(self, name, tensor):
        """The name without Keras's counters where that still means the same tensor."""
        *scopes, last = name.split("/")
        short = [_COUNTER.sub("", part) for part in scopes]
        for parts in ([*short, _COUNTER.sub("", last)], [*short, last], [*scopes, last]):
            candidate = "/".join(parts)
            if self.matches(candidate) == [tensor]:
                return candidate
        return op_name(tensor).removeprefix(self._root)

    def matches(self, layer):
        """Returns the tensors a name may stand for: one, none, or several that are as good."""
        for tensor in (layer, layer + ":0", self._root + layer, self._root + layer + ":0"):
            if tensor in self._flow:
                return [tensor]
        parts = [re.escape(part) for part in layer.split("/")]
        exact = re.compile(rf"(^|/){'/'.join(parts)}$")
        counted = re.compile(rf"(^|/){'/'.join(part + '(_[0-9]+)?' for part in parts)}$")
        found = [s for s in self._outputs if counted.search(s)]
        same = [s for s in found if exact.search(s)]
        if same and len(same) < len(found):
            # Both 'conv_1' and 'conv_1_1': where every layer has a counter, the longer is meant.
            found = [s for s in found if s not in same] if self._all_counted(same) else same
        scopes = [s for s in found if any(t.startswith(s + "/") for t in self._flow.order)]
        return list(dict.fromkeys(self._outputs[s] for s in scopes or found))

    def _all_counted(self, scopes):
        parents = {s.rpartition("/")[0] for s in scopes}
        siblings = (s for s in self._outputs if s.rpartition("/")[0] in parents)
        return all(_COUNTER.search(s) for s in siblings)

    def resolve(self, layer):
        """Returns the tensor a name stands for.

        Raises:
          LayerError: nothing has that name, or several layers do; lists the nearest ones.
        """
        found = self.matches(layer)
        if len(found) > 1:
            raise LayerError(
                f"'{layer}' names {len(found)} layers of this model: "
                f"{', '.join(found[:5])}. Give one of these instead."
            )
        if found:
            return found[0]
        near = difflib.get_close_matches(layer, self.table, n=5, cutoff=0.3)
        near = near or list(self.table)[-5:]
        raise LayerError(
            f"There is no layer '{layer}' between the inputs and the outputs of this model. "
            f"Nearest names: {', '.join(near)}. `tfsal layers MODEL` lists them all."
        )


def _parents(name):
    """Every name scope around an op or a scope, outermost first."""
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _common_prefix(names):
    """The scopes that all names share, with the slash that ends them."""
    prefix = ""
    while names:
        heads = {name[len(prefix) :].partition("/")[0] for name in names}
        if len(heads) > 1 or any("/" not in name[len(prefix) :] for name in names):
            return prefix
        prefix += heads.pop() + "/"
    return prefix
