"""Which of tfsal's own ops the graph being traced may hold.

None where it must be portable; those that XLA knows too, by default; and where it is known to run
on a CPU as it is, also those of the host.
"""

import contextlib
import contextvars

from tfsal.kernels import library

_PORTABLE, _ANYWHERE, _HOST = range(3)
_where = contextvars.ContextVar("where", default=_ANYWHERE)


def portable():
    """Context: the graph is made of plain TensorFlow ops, which any server has."""
    return _within(_PORTABLE)


def on_host():
    """Context: the graph is not compiled by XLA."""
    return _within(_HOST)


def ops():
    """The module of ops that run wherever the graph does, under XLA too; None: use composites."""
    return None if _where.get() == _PORTABLE else library.fused_ops()


def host_ops():
    """The module of ops that only a CPU has; None: use composites."""
    return library.host_ops() if _where.get() == _HOST else None


@contextlib.contextmanager
def _within(where):
    token = _where.set(where)
    try:
        yield
    finally:
        _where.reset(token)
