"""tfsal.kernels.status(): which library is loaded, and what is said where none is."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tfsal import kernels
from tfsal.kernels import library

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = """
import sys, warnings, pathlib
sys.path.insert(0, {root!r})
from tfsal.quiet import import_tensorflow
import_tensorflow()
from tfsal.kernels import library
{before}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import numpy as np, tensorflow as tf
    from tfsal.ops import cam_ops
    ones = tf.ones([1, 2, 3])
    for _ in range(3):
        cam, weights = cam_ops.grad_cam(ones, ones)
    assert float(cam[0, 0]) == 3
print(len([w for w in said if "tfsal" in str(w.message)]))
print(library.status())
"""


def answer(before="", **environment):
    """(warnings, status as text) of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=str(ROOT), before=before)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    count, _, status = done.stdout.partition("\n")
    return int(count), status


@pytest.fixture(autouse=True)
def needs_the_library():
    if not pathlib.Path(library._OPS).exists():
        pytest.skip("the op library is not built")


def test_the_status_of_what_is_built():
    status = kernels.status()
    assert status.fused and not status.reason and status.xla and status.numpy
    assert status.built_for == status.tensorflow
    assert status.instructions in ("avx512", "avx2", "baseline")
    assert all(len(line) <= 80 for line in str(status).replace(status.library, "").splitlines())


def test_the_environment_forces_the_composites():
    count, status = answer(TFSAL_COMPOSITE="1")
    assert count == 0 and "plain TensorFlow ops: TFSAL_COMPOSITE is set" in status
    assert "fused ops" in answer(TFSAL_COMPOSITE="0")[1]


@pytest.mark.parametrize("name", ["baseline", "avx2"])
def test_the_environment_asks_for_fewer_instructions(name):
    if kernels.status().instructions == "baseline":
        pytest.skip("this processor has the baseline only")
    assert f"kernels       {name}" in answer(TFSAL_ISA=name)[1]


def test_a_library_for_another_tensorflow_is_refused_with_one_notice(tmp_path):
    other = tmp_path / "_cam_ops.so"
    data = pathlib.Path(library._OPS).read_bytes()
    version = kernels.status().built_for.encode()
    mark = b"built for TensorFlow "
    other.write_bytes(data.replace(mark + version, mark + b"2.19.0"))
    count, status = answer(f"library._OPS = pathlib.Path({str(other)!r})")
    assert count == 1 and "built for TensorFlow 2.19.0" in status


@pytest.mark.parametrize("content", ["damaged", "unmarked"])
def test_a_library_that_does_not_load_is_refused_with_one_notice(tmp_path, content):
    other = tmp_path / "_cam_ops.so"
    mark = b"tfsal: built for TensorFlow " + kernels.status().built_for.encode()
    other.write_bytes(b"\x7fELF" + (mark if content == "damaged" else b""))
    count, status = answer(f"library._OPS = pathlib.Path({str(other)!r})")
    assert count == 1 and "plain TensorFlow ops" in status


@pytest.mark.parametrize("name", ["_OPS", "_XLA"])
def test_a_missing_library_is_named(tmp_path, name):
    count, status = answer(f"library.{name} = pathlib.Path({str(tmp_path / 'none.so')!r})")
    assert count == (name == "_XLA") and "none.so was not built" in status


def test_the_op_library_needs_the_framework_only():
    if not shutil.which("ldd"):
        pytest.skip("no ldd")
    listed = subprocess.run(["ldd", library._OPS], capture_output=True, text=True).stdout
    assert "libtensorflow_framework" in listed and "libtensorflow_cc" not in listed
    assert "not found" not in listed


def test_the_ops_are_known_to_xla_after_its_first_compilation():
    before = (
        "import tensorflow as tf\n"
        "tf.function(lambda x: x + 1, jit_compile=True)(tf.ones([2]))\n"
        "ops = library.fused_ops()\n"
        "f = tf.function(lambda x: ops.tfsal_hi_res_cam(x, x, Tsum=tf.float32), jit_compile=True)\n"
        "assert f(tf.ones([1, 2, 3])).numpy().tolist() == [[3, 3]]"
    )
    assert "fused ops" in answer(before)[1]


def test_the_numpy_module_does_not_import_tensorflow():
    code = "import sys, tfsal.kernels.cam; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
