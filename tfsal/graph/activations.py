"""Activations of a flat graph, found by what they compute, whatever ops they are made of.

GELU is one op in no framework and ten ops in three orders in real graphs; constant folding changes
them again. So the graph is read as functions of one variable: ops that work element by element on
one tensor and on constants. Where such a function equals an activation on a grid of numbers, it is
that activation.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from tfsal.graph.functions import called_functions, canonical, op_name

_LONGEST = 24  # Ops of the longest activation that is looked for.
_FLOATS = frozenset(d.as_datatype_enum for d in (tf.float16, tf.bfloat16, tf.float32, tf.float64))
_GRID = np.concatenate([np.linspace(-10, 10, 401), [-100.0, -30.0, 30.0, 100.0]])
_REDUCTIONS = frozenset("Mean Sum Max Min Prod EuclideanNorm".split())
_RESHAPES = frozenset("Identity StopGradient Reshape Squeeze ExpandDims Cast".split())
# Of a mean or a sum these are part of a normalisation, not activations.
_OF_STATISTICS = frozenset("Square Sqrt Rsqrt Pow Mul RealDiv Reciprocal Inv Maximum".split())
# Named for the error; made of softplus, relu6 or a clip, which must not be taken for those.
_WITHOUT_RULE = frozenset(("log_sigmoid", "hard_sigmoid", "hard_sigmoid of Keras 2"))
_TYPE_ONLY = frozenset(("Identity", "Cast"))
_ADDITIVE = frozenset(("Add", "AddV2", "Sub"))

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _softplus(x):
    return np.logaddexp(x, 0)


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _selu(x):
    return 1.0507009873554805 * _elu(x, 1.6732632423543772)


def _leaky_relu(x, alpha):
    return np.where(x > 0, x, alpha * x)


# Affine in their one input that is no constant, as the binary ones below may be.
_AFFINE = {"Identity": lambda x: x, "Neg": np.negative}
_CURVED = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Elu": _elu,
    "Erf": _erf,
    "Erfc": lambda x: 1 - _erf(x),
    "Exp": np.exp,
    "Expm1": np.expm1,
    "Inv": np.reciprocal,
    "Log": np.log,
    "Log1p": np.log1p,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Selu": _selu,
    "Sigmoid": _sigmoid,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Tan": np.tan,
    "Tanh": np.tanh,
}
_BINARY = {
    "Add": np.add,
    "AddV2": np.add,
    "Div": np.divide,
    "DivNoNan": np.divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": np.multiply,
    "MulNoNan": np.multiply,
    "Pow": np.power,
    "RealDiv": np.divide,
    "Sub": np.subtract,
}
_TERNARY = {"ClipByValue": np.clip, "Select": np.where, "SelectV2": np.where}
# Curved, but not element by element or with attributes.
_OTHER_CURVED = frozenset(("LeakyRelu", "Softmax", "LogSoftmax"))


@dataclasses.dataclass(frozen=True)
class Activation:
    """A known activation in a graph.

    Attributes:
      kind: its name, as "gelu".
      input, output: names of the tensors that it is a function of and that it makes.
      parts: names of the tensors between the two, and the output.
    """

    kind: str
    input: str
    output: str
    parts: frozenset


def find_activations(graph_def):
    """Finds the activations of a flat GraphDef.

    Known are relu, relu6, leaky_relu, elu, selu, gelu (with erf or tanh), silu, mish, hard_silu and
    softplus.

    Returns:
      ([Activation], {op name: op type, or name of the function} of what bends its input and is none
      of them, nor part of one, nor of a normalisation). A loop or branch that stayed a function is
      in the second when it holds any, known or not: "Tanh in a While".
    """
    finder = _Finder(graph_def)
    finder.match()
    return finder.found, finder.unknown()


def _function(node):
    """The NumPy function of an op that works element by element; None for any other op."""
    if node.op == "LeakyRelu":
        return functools.partial(_leaky_relu, alpha=node.attr["alpha"].f)
    if node.op == "Cast":
        to = tf.as_dtype(node.attr["DstT"].type)
        if to.is_floating:
            return lambda x: np.asarray(x, np.float64)
        return (lambda x: np.asarray(x, bool)) if to.is_bool else None
    for table in (_AFFINE, _CURVED, _BINARY, _TERNARY):
        if node.op in table:
            return table[node.op]
    return None


class _Finder:
    """Reads a graph as functions of one variable.

    `source` has the tensor that each such function is of; all tensors with one source are a region.
    """

    def __init__(self, graph_def):
        self.graph_def = graph_def
        self.nodes, self.inputs, self.constants, self.source = {}, {}, {}, {}
        self.users = {}
        for node in graph_def.node:
            self._read(node)
        self.order = {op_name(t): i for i, t in enumerate(self.nodes)}
        self.found, self.without_rule, self.inside = [], {}, set()

    def _read(self, node):
        tensor = node.name + ":0"
        inputs = [canonical(i) for i in node.input if i[0] != "^"]
        self.nodes[tensor], self.inputs[tensor] = node, inputs
        for i in inputs:
            self.users.setdefault(i, []).append(tensor)
        if node.op == "Const":
            shape = node.attr["value"].tensor.tensor_shape.dim
            if len(shape) < 2 and all(d.size == 1 for d in shape):
                self._constant(tensor, tf.make_ndarray(node.attr["value"].tensor))
            return
        function = _function(node)
        if function is None:
            return
        sources = {self.source.get(i, i) for i in inputs if i not in self.constants}
        if not sources:
            with np.errstate(all="ignore"):
                self.constants[tensor] = function(*(self.constants[i] for i in inputs))
        elif len(sources) == 1:
            (self.source[tensor],) = sources

    def _constant(self, tensor, value):
        if value.dtype.kind in "fiub" or value.dtype == tf.bfloat16.as_numpy_dtype:
            self.constants[tensor] = value.reshape(()).astype(np.float64)

    def _position(self, tensor):
        return self.order[op_name(tensor)]

    def _varying(self, tensor):
        return [i for i in self.inputs[tensor] if i not in self.constants]

    # -- known activations

    def match(self):
        """Finds the known ones, the largest first: hard_silu is made of a relu6."""
        for tensor in reversed(self.nodes):
            node = self.nodes[tensor]
            if tensor not in self.source or tensor in self.inside or node.op in _TYPE_ONLY:
                continue
            is_float = node.attr["T"].type in _FLOATS
            if is_float and not (node.op == "Maximum" and self._of_statistic(tensor)):
                self._match_at(tensor)

    def _match_at(self, tensor):
        ancestors = self._ancestors(tensor)
        for start in sorted(ancestors, key=self._position):
            between = self._between(tensor, start)
            kind = between and _kind(self._values(tensor, start, between))
            if kind:
                self.inside |= between
                if kind in _WITHOUT_RULE or self._is_negated(start):
                    self.without_rule[tensor] = kind
                else:
                    self.found.append(Activation(kind, start, tensor, frozenset(between)))
                return

    def _ancestors(self, tensor):
        """Tensors of the region, its source among them, that lead to this one."""
        found, stack = set(), [tensor]
        while stack and len(found) < _LONGEST:
            current = stack.pop(0)
            if current in self.source:
                new = [i for i in self._varying(current) if i not in found]
                found.update(new)
                stack.extend(new)
        return {t for t in found if op_name(t) in self.order}

    def _between(self, tensor, start):
        """The tensors that make `tensor` of `start` alone, both included; None if there is more."""
        found, stack = {start}, [tensor]
        while stack:
            current = stack.pop()
            if current in found:
                continue
            if current not in self.source or len(found) > _LONGEST:
                return None
            found.add(current)
            stack.extend(self._varying(current))
        return found - {start}

    def _values(self, tensor, start, between):
        values = {start: _GRID}
        with np.errstate(all="ignore"):
            for t in sorted(between, key=self._position):
                given = [values[i] if i in values else self.constants[i] for i in self.inputs[t]]
                values[t] = _function(self.nodes[t])(*given)
        return values[tensor]

    # -- all others

    def unknown(self):
        """{op name: op type, or name of the function} of what bends and has no rule."""
        found, bent = dict(self.without_rule), {a.output for a in self.found}
        bent.update(found)
        for tensor, node in self.nodes.items():
            if tensor in self.source and bent.intersection(self._varying(tensor)):
                joins = node.op in _ADDITIVE and len(self._varying(tensor)) > 1
                bent.add(tensor)
            else:
                joins = False
            if tensor in self.inside or not (joins or self._bends(tensor)):
                continue
            bent.add(tensor)
            if not self._normalises(tensor):
                found[tensor] = node.op
        return {**{op_name(t): what for t, what in found.items()}, **self._in_functions()}

    def _is_negated(self, tensor):
        """True for a negated tensor: its activation is one half of a PReLU."""
        node = self.nodes.get(tensor)
        if node is None or tensor not in self.source:
            return False
        factors = [self.constants[i] for i in self.inputs[tensor] if i in self.constants]
        return node.op == "Neg" or (node.op == "Mul" and any(f < 0 for f in factors))

    def _bends(self, tensor):
        """True for what is not affine in the tensor that it is a function of."""
        node = self.nodes[tensor]
        if node.op in _CURVED or node.op in _OTHER_CURVED:
            return tensor not in self.constants
        if tensor not in self.source or node.op in _AFFINE or node.op in _ADDITIVE:
            return False
        if node.op == "Cast":
            return node.attr["SrcT"].type == tf.bool.as_datatype_enum
        if node.op in ("Mul", "MulNoNan"):
            return len(self._varying(tensor)) > 1
        if node.op in ("RealDiv", "Div", "DivNoNan"):
            return self.inputs[tensor][1] not in self.constants
        return node.attr["T"].type in _FLOATS

    def _normalises(self, tensor):
        """True for the root of a variance, and for a square that is only summed."""
        part = self.nodes[tensor].op in _OF_STATISTICS
        return part and (self._of_statistic(tensor) or self._only_reduced(tensor))

    def _of_statistic(self, tensor):
        """True for a function of a mean or a sum."""
        source = self.source.get(tensor, tensor)
        while source in self.nodes and self.nodes[source].op in _RESHAPES:
            source = self.inputs[source][0]
        return source in self.nodes and self.nodes[source].op in _REDUCTIONS

    def _only_reduced(self, tensor):
        users = self.users.get(tensor, ())
        return bool(users) and all(
            self.nodes[u].op in _REDUCTIONS
            or (self.nodes[u].op in _RESHAPES and self._only_reduced(u))
            for u in users
        )

    def _in_functions(self):
        """{op name: "Tanh in a While"} for the functions that the nodes call."""
        library = {f.signature.name: f for f in self.graph_def.library.function}
        found = {}
        for tensor, node in self.nodes.items():
            stack, seen = called_functions(node, library), set()
            while stack:
                name = stack.pop()
                if name in seen:
                    continue
                seen.add(name)
                for inner in library[name].node_def:
                    stack.extend(called_functions(inner, library))
                    if inner.op in _CURVED or inner.op in _OTHER_CURVED:
                        found.setdefault(op_name(tensor), f"{inner.op} in a {node.op}")
        return found


def _kind(values):
    """Name of the activation that has these values on the grid, or None."""
    values = np.asarray(values, np.float64)
    if values.shape != _GRID.shape or not np.isfinite(values).all():
        return None
    slope = -values[np.searchsorted(_GRID[:401], -1.0)]
    floor = -values[_GRID == -30.0][0]
    curves = {
        "relu": np.maximum(_GRID, 0),
        "relu6": np.clip(_GRID, 0, 6),
        "selu": _selu(_GRID),
        "gelu": _GRID * 0.5 * (1 + _erf(_GRID / math.sqrt(2))),
        "silu": _GRID * _sigmoid(_GRID),
        "mish": _GRID * np.tanh(_softplus(_GRID)),
        "hard_silu": _GRID * np.clip(_GRID / 6 + 0.5, 0, 1),
        "softplus": _softplus(_GRID),
        "log_sigmoid": -_softplus(-_GRID),
        "hard_sigmoid": np.clip(_GRID / 6 + 0.5, 0, 1),
        "hard_sigmoid of Keras 2": np.clip(_GRID / 5 + 0.5, 0, 1),
    }
    if 0 < slope < 0.99:  # Beyond, it is the identity and an epsilon.
        curves["leaky_relu"] = _leaky_relu(_GRID, slope)
    if floor > 0:
        curves["elu"] = _elu(_GRID, floor)
    for kind, curve in curves.items():
        # The constants of a half-precision model have two or three digits.
        if np.all(np.abs(values - curve) <= 3e-3 + 3e-3 * np.abs(curve)):
            return kind
    return None
