"""What a person at a terminal or in a notebook sees of a long call, and how they stop it."""

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
import warnings

import tensorflow as tf
from tensorflow.python.eager import cancellation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # A notebook without ipywidgets gets a bar of text.
    from tqdm.auto import tqdm

# A call that is over before this many seconds shows no bar.
DELAY = 0.5

_bars = {}  # Ticket of a call under way -> its bar.
_tickets = itertools.count(1)


def attended():
    """True where somebody sees a bar: stderr is a terminal, or this is a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", ())


class Progress:
    """How far the loops of a function being traced are; told by an op in their bodies.

    Attributes:
      total: rounds of all loops together, None where one of them is not known beforehand.
    """

    def __init__(self, ticket):
        """Takes the ticket [] int64, the last argument of the function."""
        self.total = 0
        self._ticket = ticket

    def expect(self, count):
        """Announces a loop of so many rounds; anything but an int stands for not known."""
        known = isinstance(count, int) and self.total is not None
        self.total = self.total + count if known else None

    def advance(self, rounds, after):
        """Tells, in the body of a loop, that some rounds are done when tensors are computed.

        Args:
          rounds: scalar int32.
          after: nest of tensors.
        """
        with tf.control_dependencies(tf.nest.flatten(after)):
            tf.numpy_function(_advance, [self._ticket, rounds], [])


def _advance(ticket, rounds):
    bar = _bars.get(int(ticket))
    if bar is not None:
        bar.update(int(rounds))


@contextlib.contextmanager
def _shown(name, total):
    """Shows a bar while the block runs, and gives the ticket for its Progress."""
    ticket = next(_tickets)
    with tqdm(
        desc=name, total=total, unit=" steps", leave=False, delay=DELAY, dynamic_ncols=True
    ) as bar:
        _bars[ticket] = bar
        try:
            yield tf.constant(ticket, tf.int64)
        finally:
            del _bars[ticket]


def run(function, arguments, name=None, total=None):
    """Calls a concrete function with a bar, and so that Ctrl-C ends it in the next round of a loop.

    Args:
      function: a ConcreteFunction; with a name, its last argument is the ticket of a Progress.
      arguments: its tensors, without the ticket.
      name: what stands before the bar; None: there is none.
      total: see Progress.

    Raises:
      KeyboardInterrupt: Ctrl-C was pressed.
    """
    if name is None:
        return _interruptible(function, arguments)
    with _shown(name, total) as ticket:
        return _interruptible(function, [*arguments, ticket])


def _interruptible(function, arguments):
    """Calls it so that Ctrl-C cancels it, which loops notice between two rounds.

    Only the main thread gets signals, and only Python's own handler of Ctrl-C is known to mean the
    end: elsewhere this is a plain call.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return function(*arguments)
    pressed = []
    # Python's own would raise inside TensorFlow, while it makes an exception of its own.
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    manager = cancellation.CancellationManager()
    try:
        with _on_signal(signal.SIGINT, manager.start_cancel):
            if pressed:  # Before anyone listened.
                manager.start_cancel()
            results = manager.get_cancelable_function(function)(*arguments)
    except tf.errors.CancelledError:
        if not pressed:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt
    return results


@contextlib.contextmanager
def _on_signal(awaited, act):
    """Calls `act` as soon as a signal arrives while the block runs, in a thread of its own.

    Python's handlers wait until the main thread comes back from TensorFlow.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)  # As the descriptor of signals must be.
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def watch():
        while (number := receiver.recv(1)) not in (b"", b"\0"):
            if before != -1:  # An event loop waits there for its own signals.
                with contextlib.suppress(OSError):
                    os.write(before, number)
            if number[0] == awaited:
                act()

    watcher = threading.Thread(target=watch, daemon=True, name="tfsal-interrupt")
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.send(b"\0")
        watcher.join()
        receiver.close()
        sender.close()
