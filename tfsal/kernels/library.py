"""Loads the op library, and says why not where it does not."""

import ctypes
import dataclasses
import functools
import importlib.util
import os
import pathlib
import re
import warnings

_HERE = pathlib.Path(__file__).resolve().parent
_OPS = _HERE / "_cam_ops.so"
_XLA = _HERE / "_cam_xla.so"
_GPU = _HERE / "_cam_gpu.so"  # only where the build had nvcc and was asked for it
PREFIX = "Tfsal"  # of the names of all our ops
_MARK = rb"tfsal: built for TensorFlow ([\w.+-]+)"  # cc/ops/about.cc


@dataclasses.dataclass(frozen=True)
class Status:
    """What is loaded of the native parts; `print` it.

    Attributes:
      fused: True when methods use the fused ops.
      reason: why they do not, in one line; "" when they do.
      library: path of the op library, None when there is none.
      built_for: the TensorFlow version that it was built for.
      tensorflow: the TensorFlow version that is installed.
      instructions: "avx512", "avx2" or "baseline": what the CPU kernels use here.
      xla: True when the ops are known to XLA.
      gpu: True when the library has GPU kernels.
      numpy: True when the kernels on NumPy arrays, `tfsal.kernels.cam` and `regions`, are built.
    """

    fused: bool
    reason: str
    library: str | None
    built_for: str | None
    tensorflow: str
    instructions: str | None
    xla: bool
    gpu: bool
    numpy: bool

    def __str__(self):
        """One line for each thing known."""
        use = "fused ops" if self.fused else f"plain TensorFlow ops: {self.reason}"
        kernels = f"{self.instructions or 'none'}{' and GPU' if self.gpu else ''}"
        return (
            f"methods use   {use}\n"
            f"op library    {self.library or 'none'}\n"
            f"built for     {self.built_for or '-'}, installed {self.tensorflow}\n"
            f"kernels       {kernels}\n"
            f"XLA           {'yes' if self.xla else 'no'}\n"
            f"NumPy         {'tfsal.kernels.cam, tfsal.kernels.regions' if self.numpy else 'none'}"
        )


class _Refused(Exception):
    """Says in one line why the op library is not used."""


def fused_ops():
    """Returns the module of fused ops, or None: then composites are to be used.

    The environment variable TFSAL_COMPOSITE=1 asks for composites; it is read at every call.
    """
    return None if _why_composite() else load()


def host_ops():
    """Returns the module of fused ops for those that only a CPU has, whatever devices there are.

    None, as `fused_ops`, where the library is missing or not usable, or composites are asked for.
    """
    return None if _why_composite_on_host() else load()


def status() -> Status:
    """Returns what is loaded of the native parts, loading it if need be."""
    import tensorflow as tf

    reason = _why_composite()
    loaded = unusable() is None
    return Status(
        fused=not reason,
        reason=reason,
        library=str(_OPS) if _OPS.exists() else None,
        built_for=_built_for(),
        tensorflow=tf.__version__,
        instructions=_instructions() if loaded else None,
        xla=loaded,
        gpu=loaded and _has_gpu_kernels(),
        numpy=all(importlib.util.find_spec(f"tfsal.kernels.{m}") for m in ("cam", "regions")),
    )


def _why_composite_on_host():
    """One line, "" when the ops that only a CPU has are to be used."""
    if os.environ.get("TFSAL_COMPOSITE", "0") not in ("", "0"):
        return "TFSAL_COMPOSITE is set"
    return unusable() or ""


def _why_composite():
    """One line, "" when the fused ops are to be used."""
    if _why_composite_on_host():
        return _why_composite_on_host()
    if _has_gpu() and not _has_gpu_kernels():
        return "the op library has no GPU kernels, and there is a GPU"
    return ""


@functools.cache
def load():
    """Returns the module of ops, or raises _Refused.

    All libraries or none: a method may be compiled by XLA at any time.
    """
    import tensorflow as tf

    for path in (_OPS, _XLA):
        if not path.exists():
            raise _Refused(f"{path.name} was not built")
    built_for = _built_for() or "an unknown TensorFlow"
    if built_for.split(".")[:2] != tf.__version__.split(".")[:2]:
        raise _Refused(f"it was built for TensorFlow {built_for}, not for {tf.__version__}")
    try:
        ops = tf.load_op_library(str(_OPS))
        tf.load_library(str(_XLA))
        if _GPU.exists():
            tf.load_library(str(_GPU))
    except (tf.errors.OpError, OSError) as error:
        raise _Refused(f"it does not load: {str(error).splitlines()[0]}") from None
    return ops


@functools.cache
def unusable():
    """Loads the op library, so that its ops are known; returns why it cannot be, or None.

    Warns once where there is a library that cannot be used.
    """
    try:
        load()
    except _Refused as refused:
        if _OPS.exists():
            warnings.warn(
                f"tfsal uses plain TensorFlow ops, because its op library is not usable: "
                f"{refused}. Install tfsal again to build it anew.",
                stacklevel=2,
            )
        return str(refused)
    return None


@functools.cache
def _built_for():
    if not _OPS.exists():
        return None
    found = re.search(_MARK, _OPS.read_bytes())
    return found and found[1].decode()


def _instructions():
    function = ctypes.CDLL(str(_OPS)).tfsal_instruction_set
    function.restype = ctypes.c_char_p
    return function().decode()


@functools.cache
def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@functools.cache
def _has_gpu_kernels():
    from tensorflow.python.framework import kernels

    found = kernels.get_registered_kernels_for_op("TfsalGradCam").kernel
    return any(kernel.device_type == "GPU" for kernel in found)
