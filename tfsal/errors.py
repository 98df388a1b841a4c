"""The errors a user of tfsal can meet. Each message says what is wrong and what to do."""


class TfsalError(ValueError):
    """Base of every error tfsal raises for bad input; catch this to catch them all."""


class SourceError(TfsalError):
    """The model could not be turned into a graph: unreadable, incomplete or ambiguous."""


class InputError(TfsalError):
    """A value does not fit the model: its name, rank, shape, dtype, class index or NaN in it."""


class LayerError(TfsalError):
    """The layer is unknown, off the path to the score, or has no positions to draw a map on."""


class TargetError(TfsalError):
    """The score asked for does not exist or does not have one value per example."""


class GradientError(TfsalError):
    """The score has no gradient there: an operation on the way is not differentiable."""


class CompileError(TfsalError):
    """XLA cannot compile the model, which runs without it."""


class MethodError(TfsalError):
    """A method is unknown or one of its hyperparameters is out of range."""


class ExportError(TfsalError):
    """The bundle was refused before anything was put in place."""
