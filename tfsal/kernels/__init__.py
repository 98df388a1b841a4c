"""The built native parts and their loader.

Importing this module is cheap: it does not import TensorFlow.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

_HERE = pathlib.Path(__file__).resolve().parent
_RUNNER = _HERE / "tfsal_run"
_BUILD_LOG = _HERE / "native_build.log"  # setup.py leaves it when a build failed: reason, output
_CLONE = _HERE.parents[1]


def status():
    """Returns what is loaded of the native parts and why the rest is not: `print(status())`.

    Imports TensorFlow.

    Returns:
      A tfsal.kernels.library.Status.
    """
    from tfsal.kernels import library

    return library.status()


def runner_path() -> pathlib.Path | None:
    """Returns the `tfsal_run` binary, or None when there is none.

    The environment variable `TFSAL_RUN` names another binary to use instead; one that cannot be
    executed counts as none.
    """
    path = pathlib.Path(os.environ.get("TFSAL_RUN") or _RUNNER)
    return path if path.is_file() and os.access(path, os.X_OK) else None


def native_hint() -> str:
    """Returns one line that says why `tfsal_run` is missing and how to get it."""
    if os.environ.get("TFSAL_RUN"):
        return (
            f"TFSAL_RUN={os.environ['TFSAL_RUN']} is not an executable file: "
            "correct it, or unset it to use the tfsal_run that tfsal built"
        )
    try:
        said = _BUILD_LOG.read_text().splitlines()
    except OSError:
        said = []
    reason = f" ({said[0]})" if said else ""
    if len(said) > 1:  # the compiler's output
        reason = f" ({said[0]}; see {_BUILD_LOG})"
    if (_CLONE / "Makefile").is_file() and (_CLONE / "setup.py").is_file():
        again = "run `make build`"
    else:
        again = "repeat your pip install with --force-reinstall --no-deps --no-cache-dir"
    return (
        f"tfsal_run was not built{reason}; everything else works. "
        f"To have it: apt-get install g++ python3-dev, then {again}"
    )


def exec_runner() -> None:
    """Becomes `tfsal_run` with this process's arguments: the console script of that name.

    Exits with 127 when the binary is missing and 126 when it cannot be started.
    """
    path = runner_path()
    if path is None:
        print(native_hint(), file=sys.stderr)
        sys.exit(127)
    if path == _RUNNER:
        _show_loader_tensorflow()
    sys.stdout.flush()
    try:
        os.execv(path, [str(path), *sys.argv[1:]])
    except OSError as error:
        print(f"{path} cannot be started: {error.strerror}", file=sys.stderr)
        sys.exit(126)


def _show_loader_tensorflow() -> None:
    """Lets the loader find this Python's TensorFlow where the binary's own search path does not.

    That is so when TensorFlow and tfsal lie in different folders, as they can with
    --system-site-packages.
    """
    spec = importlib.util.find_spec("tensorflow")
    for folder in (spec and spec.submodule_search_locations) or ():
        if os.path.exists(os.path.join(folder, "libtensorflow_cc.so.2")):
            paths = [folder, os.environ.get("LD_LIBRARY_PATH", "")]
            os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
            return
