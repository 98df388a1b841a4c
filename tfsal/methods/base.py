"""Method: what every explanation method is, and the registry of them.

To add one, write a frozen dataclass with a name and a function `attribute`; see CONTRIBUTING.md.
"""

import abc
import dataclasses
import typing
from typing import ClassVar

from tfsal.errors import MethodError
from tfsal.methods import call
from tfsal.methods.by_text import built
from tfsal.methods.question import Question
from tfsal.methods.target import ClassScore, Target

_registry: dict = {}


def list_methods() -> dict:
    """Returns every method: name, as the CLI and signatures use it -> class."""
    return dict(_registry)


def get_method(name) -> type:
    """Returns the class of a method.

    Raises:
      MethodError: there is no method of that name; lists those there are.
    """
    if name not in _registry:
        raise MethodError(f"There is no method '{name}'. Methods: {', '.join(_registry)}.")
    return _registry[name]


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """A way to explain a score. Hyperparameters are the fields; instances are immutable.

    Subclasses name themselves, `class GradCAM(CamMethod, name="gradcam")`, which puts them in the
    registry and so into the CLI, exports and docs.

    Attributes:
      target: the score to explain, by default the logit of one class.

    A method that draws random numbers says so with `random`; its explanations then take a seed.
    What it returns beside the attribution is listed in `extras`.
    """

    target: Target = dataclasses.field(default=ClassScore(), kw_only=True)

    name: ClassVar[str]
    cost: ClassVar[str]  # Evaluations of the model, in words.
    units: ClassVar[str]  # What a value of the attribution means.
    random: ClassVar[bool] = False  # True: the result depends on Request.seed.
    loops: ClassVar[bool] = False  # True: evaluates the model many times, in a loop.
    extras: ClassVar[dict[str, str]] = {}  # Name of each further output -> what it means.

    def __post_init__(self):
        """Makes tuples of lists, which have no hash, and checks the types.

        Raises:
          MethodError: a hyperparameter is of another type than its field.
        """
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, hint = getattr(self, field.name), hints[field.name]
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            if not _fits(value, hint):
                kind = getattr(hint, "__name__", None) if not typing.get_args(hint) else hint
                raise MethodError(
                    f"{type(self).__name__}: {field.name}={value!r} is not of type {kind}."
                )

    def __init_subclass__(cls, name=None, **kwargs):
        """Registers the method under `name`; without one, the class is a base of methods."""
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls.name = name
            _registry[name] = cls

    @abc.abstractmethod
    def attribute(self, request):
        """Computes the attribution; called inside a trace.

        Args:
          request: a Request: the model, the inputs, the score and its gradients. Further outputs
            [N, ...], those of `extras`, are put into `request.extras`.

        Returns:
          A tensor [N, ...], signed and unnormalised, or {input name: tensor} when several inputs
          are explained.
        """

    @abc.abstractmethod
    def heatmap(self, request, attribution):
        """Turns what `attribute` returned into maps in [0, 1]; called inside a trace.

        Returns:
          [N, *spatial] float32 at the resolution of the input, or {input name: tensor}.
        """

    def graph(self, net):
        """Returns the ModelGraph that is evaluated: the model, or one that computes the same.

        A method made of others evaluates the one that they need.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Method):
                net = value.graph(net)
        return net

    def segments_input(self, net):
        """Returns the SegmentsInput of a method that takes segments from the caller, else None.

        A method made of others takes what they need.
        """
        methods = (getattr(self, field.name) for field in dataclasses.fields(self))
        found = (m.segments_input(net) for m in methods if isinstance(m, Method))
        return next((given for given in found if given is not None), None)

    def check(self, net):
        """Raises a TfsalError when this method cannot explain this model; before any tracing."""

    def check_sizes(self, net, inputs):
        """Raises a TfsalError when what this method holds does not fit the inputs.

        Args:
          net: the ModelGraph.
          inputs: {name: TensorInfo} of the model's inputs; in a call of a model whose sizes are
            open, those of the values given.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Method):
                value.check_sizes(net, inputs)

    def remark(self, extras):
        """Returns what the caller should be warned of, or None.

        Args:
          extras: {name: tensor} of a call from Python.
        """

    def __call__(
        self,
        net,
        x,
        class_index=None,
        *,
        class_indices=None,
        region=None,
        segments=None,
        seed=0,
        internal_batch_size=8,
        jit_compile=None,
        progress=None,
    ):
        """Explains a batch.

        Traced once for each model and method, whatever the batch size.

        Args:
          net: a ModelGraph from `tfsal.load`.
          x: array or tensor [N, ...] as the model takes it, or {input name: array}.
          class_index: int, or [N] ints; -1 is the top-1 class of each example, the default.
          class_indices: [N, K] ints, or [K] for all examples: K classes of each example from one
            evaluation of the model, and an axis of K after N in the result. The -1s of a row are
            its best classes in order: [-1, -1, -1] the top three. Traced once for each K.
          region: [N, *spatial] weights for a RegionScore target; default all ones.
          segments: [N, K, *positions] ints for a method that takes them from you: the label, from
            0, of each position at K scales, [N, K, H, W] of an image; where K is 1,
            [N, *positions] too.
          seed: int, or [N] ints, of a random method; the others take no notice. The noise of an
            example depends on its own seed only, not on its place in the batch.
          internal_batch_size: rows that a method of many evaluations gives the model at once, as
            far as there are that many (a batch larger than this goes as it is). It decides time
            and memory, not the result.
          jit_compile: compile with XLA; None: on a GPU or TPU yes, on a CPU no.
          progress: show how far a method of many evaluations is, once it has run for half a
            second. None: where a terminal (stderr) or a notebook is attached. There is no bar
            inside a tf.function, nor where XLA compiles the whole (jit_compile=True on a GPU or
            TPU): True is refused there. With a bar or without, Ctrl-C ends such a method after the
            evaluations that are under way.

        Returns:
          The attribution: a tf.Tensor, signed and unnormalised; {input name: tf.Tensor} when
          several inputs are explained.

        Raises:
          InputError: a value does not fit the model.
          LayerError, TargetError, GradientError: the method does not fit the model.
        """
        question = Question(class_index, class_indices, region, seed, segments)
        how = call.Run(internal_batch_size, jit_compile, progress)
        return call.run(self, net, x, question, how)["attribution"]

    def explain(
        self,
        net,
        x,
        class_index=None,
        *,
        class_indices=None,
        region=None,
        segments=None,
        seed=0,
        internal_batch_size=8,
        jit_compile=None,
        progress=None,
    ):
        """Explains a batch and returns everything known of it.

        Args and errors are those of calling the method.

        Returns:
          An Explanation.
        """
        question = Question(class_index, class_indices, region, seed, segments)
        how = call.Run(internal_batch_size, jit_compile, progress, full=True)
        results = call.run(self, net, x, question, how)
        return call.Explanation(**results)


def settle_base(method):
    """Makes a method of a name in the field `base` of a new method; gives both one target.

    Raises:
      MethodError: the name is no method.
    """
    if isinstance(method.base, str):
        object.__setattr__(method, "base", built(method.base, _registry, "method"))
    if not isinstance(method.base, Method):
        return  # The check of types says so.
    if method.target is None:
        object.__setattr__(method, "target", method.base.target)
    elif method.target != method.base.target:
        object.__setattr__(method, "base", dataclasses.replace(method.base, target=method.target))


def _fits(value, hint):
    """True when a value is of the type that a dataclass field states."""
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return value in kinds
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        elements = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        return len(value) == len(elements) and all(map(_fits, value, elements))
    if kinds:
        return any(_fits(value, kind) for kind in kinds)
    if hint in (int, float):
        accepted = (int, float) if hint is float else int
        return isinstance(value, accepted) and not isinstance(value, bool)
    return hint is typing.Any or isinstance(value, hint)
