"""Every method lowers to HLO for GPUs and TPUs, and calls nothing there that only a host has."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import lowering
import pytest
import tensorflow as tf

import tfsal

HERE = pathlib.Path(__file__).parent
METHODS = tfsal.list_methods()
# XLA's own name for an eigendecomposition; the compilers of all devices expand it.
EXPANDED = {"Eigh"}


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS)
def test_lowers_for_gpus(kind):
    assert set(lowering.custom_calls(kind, "GPU")) <= EXPANDED


def test_a_host_function_would_be_noticed():
    @tf.function(jit_compile=True)
    def on_the_host(x):
        return tf.numpy_function(lambda v: v, [x], tf.float32)

    with pytest.raises(Exception, match="PyFunc"):
        on_the_host.experimental_get_compiler_ir(tf.zeros(2))(stage="hlo", platform_name="GPU")


@pytest.mark.slow
def test_lowers_for_tpus(tmp_path):
    """In a process of its own: kernels are to be registered before the first compilation."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    include, library = pathlib.Path(tf.sysconfig.get_include()), tf.sysconfig.get_lib()
    external = include / "external"
    command = [
        *(compiler, "-shared", "-fPIC", "-O1", "-w", *tf.sysconfig.get_compile_flags()),
        *(f"-I{external / folder}" for folder in ("highwayhash", "farmhash_archive/src")),
        *(HERE / "tpu_backend.cc", "-o", tmp_path / "tpu_backend.so"),
        *(f"-L{library}", f"-Wl,-rpath,{library}", "-Wl,--no-as-needed"),
        *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
    ]
    subprocess.run(command, check=True, timeout=300)
    done = subprocess.run(
        [sys.executable, HERE / "lowering.py", tmp_path / "tpu_backend.so"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == METHODS.keys()
    assert not {k: v for k, v in found.items() if isinstance(v, str) or set(v) - EXPANDED}
