"""Progress bars and Ctrl-C of long methods: what is shown, and that it changes nothing."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import socket
import struct
import sys
import termios
import threading
import types

import networks
import numpy as np
import oracles
import pytest
import tensorflow as tf

from tfsal import (
    ActivationMaximization,
    GradCAM,
    GuidedIG,
    IntegratedGradients,
    ReciproCAM,
    ScoreCAM,
    SmoothGrad,
)
from tfsal.errors import InputError
from tfsal.methods import call, progress
from tfsal.serving.signatures import explanation_signature

MODEL = oracles.GapNet()
X = MODEL.images()
# Method -> how many rounds its loops have, None where nobody knows beforehand.
ROUNDS = {
    IntegratedGradients(steps=13): 13 + 1,  # The baseline.
    IntegratedGradients(tolerance=0.01): None,
    SmoothGrad(IntegratedGradients(steps=5), samples=7): 7,
    GuidedIG(steps=5): 5,
    ActivationMaximization(steps=6): 6,
    ScoreCAM(channels=5): 5,
    ReciproCAM(): 80,
}


@pytest.fixture(scope="module")
def net():
    return MODEL.load()


class Bar:
    """In place of tqdm."""

    made = None

    def __init__(self, **options):
        self.options, self.done, self.closed = options, [], False
        Bar.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True

    def update(self, rounds):
        self.done.append(rounds)


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(progress, "tqdm", Bar)
    Bar.made = []
    return Bar.made


@pytest.mark.parametrize("method", ROUNDS, ids=lambda method: method.name)
def test_a_bar_is_told_every_round_and_changes_nothing(net, bars, method):
    for jit_compile in (False, True)[: 2 if method.name == "scorecam" else 1]:
        how = {"internal_batch_size": 9, "jit_compile": jit_compile}
        expected = method(net, X, 1, progress=False, **how)
        assert not bars
        np.testing.assert_array_equal(method(net, X, 1, progress=True, **how), expected)
        (bar,) = bars
        assert bar.closed and bar.options["desc"] == method.name
        assert bar.options["total"] == ROUNDS[method]
        assert sum(bar.done) == (ROUNDS[method] or sum(bar.done)) and len(bar.done) > 1
        bars.clear()


def test_several_classes_are_several_loops(net, bars):
    IntegratedGradients(steps=6)(net, X, class_indices=[0, 1, 2], progress=True)
    (bar,) = bars
    assert bar.options["total"] == sum(bar.done) == 3 * (6 + 1)


def test_who_sees_a_bar(net, bars, monkeypatch):
    method = IntegratedGradients(steps=3)
    method(net, X, 1)
    assert not bars
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    method(net, X, 1)
    method.explain(net, X, 1)
    assert len(bars) == 2
    method(net, X, 1, progress=False)
    GradCAM()(net, X, 1, progress=True)  # Has no loop.
    assert len(bars) == 2


@pytest.mark.parametrize(("kernel", "expected"), [(True, True), (False, False)])
def test_a_notebook_is_attended(monkeypatch, kernel, expected):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}} if kernel else {})
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert progress.attended() is expected
    monkeypatch.setattr(sys, "stderr", None)
    assert progress.attended() is expected


def test_no_bar_in_what_may_be_saved(net, bars, monkeypatch):
    monkeypatch.setattr(progress, "attended", lambda: True)
    method = IntegratedGradients(steps=3)
    function = tf.function(lambda x: method(net, x, 1), autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec(X.shape))
    assert "PyFunc" not in str(traced.graph.as_graph_def())
    np.testing.assert_array_equal(function(X), method(net, X, 1, progress=False))
    signature = explanation_signature(net, method).function.get_concrete_function()
    assert "PyFunc" not in str(signature.graph.as_graph_def()) and not bars


def test_what_cannot_be_shown_is_said(net, monkeypatch):
    method = IntegratedGradients(steps=3)
    with pytest.raises(InputError, match="progress is None, True or False, not 'yes'"):
        method(net, X, 1, progress="yes")
    with pytest.raises(InputError, match="progress=True needs a loop.*inside a tf.function"):
        tf.function(lambda x: method(net, x, 1, progress=True), autograph=False)(X)
    monkeypatch.setattr(call, "_accelerated", lambda: True)
    with pytest.raises(InputError, match="in one go on this device"):
        method(net, X, 1, progress=True, jit_compile=True)


def test_on_a_terminal_of_80_columns(net, monkeypatch):
    """One line, never wrapped, and wiped at the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    monkeypatch.setattr(progress, "DELAY", 0)
    parts = []

    def read():
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open.
            while part := os.read(master, 4096):
                parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        ReciproCAM()(net, X, 1)
    reader.join()
    os.close(master)
    shown = b"".join(parts).decode()
    lines = [line for line in shown.split("\r") if line]
    assert re.match(r"reciprocam:   0%\|.*\| 0/80 \[00:00<", lines[0])
    assert max(map(len, lines)) < 80 and "\n" not in shown and "\x1b" not in shown
    assert not lines[-1].strip()


# ---------------------------------------------------------------- Ctrl-C


@pytest.fixture
def pressed():
    """(ModelGraph, rows of each evaluation so far, set of the evaluations that press Ctrl-C)."""
    rows, presses = [], set()

    def press(value):
        rows.append(len(value))
        if len(rows) in presses:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.2)  # A chunk takes a while.
        return value

    def model(x):
        return MODEL(tf.ensure_shape(tf.numpy_function(press, [x], x.dtype, False), x.shape))

    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield oracles.load(model, *MODEL.spatial, 2), rows, presses
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("shows", [True, False])
@pytest.mark.parametrize(
    "method",
    [ScoreCAM("Softplus"), SmoothGrad(ScoreCAM("Softplus"), samples=5)],
    ids=["a loop", "a loop in a loop"],
)
def test_ctrl_c_stops_within_one_chunk(pressed, method, shows, bars):
    net, rows, presses = pressed
    how = {"progress": shows, "internal_batch_size": 2}
    expected = method(net, X[:2], 1, **how)
    evaluations = len(rows)
    rows.clear()
    presses.add(4)
    with pytest.raises(KeyboardInterrupt):
        method(net, X[:2], 1, **how)
    assert 4 <= len(rows) <= 5 < evaluations
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1
    presses.clear()
    np.testing.assert_array_equal(method(net, X[:2], 1, **how), expected)


def test_somebody_else_s_handler_and_other_threads_are_left_alone(pressed):
    net, rows, presses = pressed
    method, heard = ScoreCAM("Softplus"), []
    expected = method(net, X[:2], 1)
    rows.clear()
    presses.add(2)
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        np.testing.assert_array_equal(method(net, X[:2], 1), expected)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1]
    found = []
    thread = threading.Thread(target=lambda: found.append(method(net, X[:2], 1)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], expected)


def test_an_event_loop_still_hears_of_signals(pressed):
    net, rows, presses = pressed
    presses.add(1)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno())
    try:
        with pytest.raises(KeyboardInterrupt):
            ScoreCAM("Softplus")(net, networks.batch(2, *MODEL.spatial, 2), 1)
        assert signal.set_wakeup_fd(-1) == theirs.fileno()
    finally:
        signal.set_wakeup_fd(-1)
    assert ours.recv(8) == bytes([signal.SIGINT])
    ours.close()
    theirs.close()
