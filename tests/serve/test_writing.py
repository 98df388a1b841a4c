"""The files that tfsal_run writes: all or none."""

import json
import os
import platform
import resource
import shutil
import signal
import stat
import subprocess
import time

import numpy as np
import pytest
from run_models import refused


def test_files_get_safe_names_and_the_users_mode(answer, tmp_path):
    mask = os.umask(0o027)
    try:
        report, arrays = answer("odd_names", {"x": np.ones(2)})
    finally:
        os.umask(mask)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {".....__b.npy", "z.npy"} or files == {"...___b.npy", "z.npy"}
    assert stat.S_IMODE((tmp_path / "out/z.npy").stat().st_mode) == 0o640
    assert "../é b" in report["outputs"]


def test_parents_are_made_and_old_files_replaced(run, tmp_path):
    deep = tmp_path / "a/b/c/"
    for value in (1, 2):
        done = run("to_int8", {"x": np.array([value])}, "--output-dir", f"{deep}/")
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.load(deep / "y.npy"), [value])
    assert [path.name for path in deep.iterdir()] == ["y.npy"]


def test_names_that_become_one_file_are_refused(run, tmp_path):
    done = run("same_file", {"x": np.ones(2)}, "--output-dir", str(tmp_path / "out"))
    refused(done, "'a.b' and 'a/b'", "a.b.npy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ignore_signal", [False, True])
def test_a_full_disk_leaves_nothing_behind(run, tmp_path, ignore_signal):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.npy").write_bytes(b"from before")

    def limit():
        if ignore_signal:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    size = {"size": np.array(100_000)}
    done = run("big", size, "--output-dir", str(out), preexec_fn=limit)
    refused(done, "cannot write", "out/b.npy", "File too large")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"a.npy": b"from before"}
    assert run("big", size, "--output-dir", str(out)).returncode == 0
    assert len(list(out.iterdir())) == 3


def test_places_that_cannot_be_written(run, tmp_path):
    inputs = {"size": np.array(3)}
    (tmp_path / "file").write_text("")
    done = run("big", inputs, "--output-dir", str(tmp_path / "file"))
    refused(done, "cannot make the directory", str(tmp_path / "file"))
    done = run("big", inputs, "--output-dir", "/proc/tfsal")
    refused(done, "/proc/tfsal")
    out = tmp_path / "out"
    (out / "c.npy").mkdir(parents=True)
    refused(run("big", inputs, "--output-dir", str(out)), "out/c.npy", "Is a directory")
    assert [path.name for path in out.iterdir()] == ["c.npy"]


def test_json_escapes(runner, bundle, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(1, "f4"))
    command = [runner, bundle, "--signature", "to_float32", "--input", f"x={tmp_path}/x.npy"]
    for name, read in [
        ('q"\\\n\x01é€😀'.encode(), 'q"\\\n\x01é€😀'),
        (b"\xff\xc3_\xed\xa0\x80", "\ufffd\ufffd_\ufffd\ufffd\ufffd"),
    ]:
        folder = os.fsencode(tmp_path) + b"/" + name
        done = subprocess.run([*command, "--output-dir", folder], capture_output=True)
        assert done.returncode == 0, done.stderr
        file = json.loads(done.stdout.decode())["outputs"]["y"]["file"]
        assert file == f"{tmp_path}/{read}/y.npy"
        assert os.listdir(folder) == [b"y.npy"]


SHIM = r"""
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int rename(const char* from, const char* to) {
  if (!FAIL_AT[0] || !strstr(to, FAIL_AT)) return syscall(SYS_rename, from, to);
  errno = EIO;
  return -1;
}
int fchmod(int file, mode_t mode) {
  usleep(1000 * SLEEP_MS);
  return syscall(SYS_fchmod, file, mode);
}
"""


@pytest.fixture
def with_shim(tmp_path):
    """Makes the environment of a process in which a rename fails, or each file takes time."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs a C compiler and x86-64's system calls")

    def make(fail_at="", sleep_ms=0):
        (tmp_path / "shim.c").write_text(
            f'#define FAIL_AT "{fail_at}"\n#define SLEEP_MS {sleep_ms}\n#define _GNU_SOURCE\n{SHIM}'
        )
        library = tmp_path / "shim.so"
        command = [compiler, "-shared", "-fPIC", "-o", library, tmp_path / "shim.c"]
        subprocess.run(command, check=True)
        return os.environ | {"LD_PRELOAD": str(library)}

    return make


def test_a_rename_that_fails_half_way_leaves_no_new_file(run, tmp_path, with_shim):
    out = tmp_path / "out"
    done = run(
        "big", {"size": np.array(3)}, "--output-dir", str(out), env=with_shim(fail_at="c.npy")
    )
    refused(done, "cannot write", "out/c.npy")
    assert not list(out.iterdir())
    out.joinpath("b.npy").write_text("from before")
    run("big", {"size": np.array(3)}, "--output-dir", str(out), env=with_shim(fail_at="c.npy"))
    assert [path.name for path in out.iterdir()] == ["b.npy"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_file_behind(runner, bundle, tmp_path, with_shim, number):
    out = tmp_path / "out"
    np.save(tmp_path / "size.npy", np.array(3))
    command = [runner, bundle, "--signature", "big", "--input", f"size={tmp_path}/size.npy"]
    with subprocess.Popen(
        [*command, "--output-dir", out],
        env=with_shim(sleep_ms=500),
        stdout=subprocess.DEVNULL,
        # A shell lets what it runs in the background ignore SIGINT.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        while not list(out.glob(".tfsal_run.*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode == -number
    assert not list(out.iterdir())
