"""setup.py's helpers and tfsal.kernels: what is built, where it looks, what is said without it."""

import dataclasses
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tfsal import kernels

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def build():
    """setup.py as a module (its setup() call is guarded)."""
    spec = importlib.util.spec_from_file_location("tfsal_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """tfsal.kernels as pip leaves it when nothing native was built: no clone around it."""
    monkeypatch.delenv("TFSAL_RUN", raising=False)
    monkeypatch.setattr(kernels, "_RUNNER", tmp_path / "tfsal_run")
    monkeypatch.setattr(kernels, "_BUILD_LOG", tmp_path / "native_build.log")
    monkeypatch.setattr(kernels, "_CLONE", tmp_path)
    return tmp_path


def executable(path, text='#!/bin/sh\necho ran "$@"\nexit 5\n'):
    path.write_text(text)
    path.chmod(0o755)
    return path


# tfsal.kernels


def test_kernels_do_not_import_tensorflow():
    code = "import sys, tfsal.kernels; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_runner_is_the_built_one_unless_the_environment_names_another(installed, monkeypatch):
    assert kernels.runner_path() is None
    built = executable(installed / "tfsal_run")
    assert kernels.runner_path() == built
    other = executable(installed / "other")
    monkeypatch.setenv("TFSAL_RUN", str(other))
    assert kernels.runner_path() == other


@pytest.mark.parametrize("kind", ["absent", "folder", "not executable"])
def test_a_wrong_tfsal_run_variable_does_not_fall_back(installed, monkeypatch, kind):
    executable(installed / "tfsal_run")
    wrong = installed / "wrong"
    if kind == "folder":
        wrong.mkdir()
    elif kind == "not executable":
        wrong.write_text("")
    monkeypatch.setenv("TFSAL_RUN", str(wrong))
    assert kernels.runner_path() is None
    assert f"TFSAL_RUN={wrong}" in kernels.native_hint()


def test_hint_is_one_line_with_reason_packages_and_command(installed):
    assert "pip install" in kernels.native_hint()
    (installed / "native_build.log").write_text("no compiler: none was found\n")
    (installed / "Makefile").touch()
    (installed / "setup.py").touch()
    hint = kernels.native_hint()
    assert "\n" not in hint
    for part in ("no compiler: none was found", "apt-get install g++ python3-dev", "make build"):
        assert part in hint


def test_hint_points_to_what_the_compiler_said(installed):
    log = installed / "native_build.log"
    log.write_text("cc failed: a.c:1: error: oops\n\na.c:1: error: oops\n")
    assert f"(cc failed: a.c:1: error: oops; see {log})" in kernels.native_hint()


def test_console_script_without_runner_exits_127_with_the_hint(installed, capsys):
    with pytest.raises(SystemExit) as stop:
        kernels.exec_runner()
    assert stop.value.code == 127
    assert capsys.readouterr().err == kernels.native_hint() + "\n"


def run_console_script(runner, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from tfsal.kernels import exec_runner; exec_runner()", *arguments],
        env={**os.environ, "TFSAL_RUN": str(runner)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_console_script_becomes_the_runner(tmp_path):
    done = run_console_script(executable(tmp_path / "runner"), "a b", "--c")
    assert (done.returncode, done.stdout) == (5, "ran a b --c\n")


def test_console_script_that_cannot_start_says_so_in_one_line(tmp_path):
    done = run_console_script(executable(tmp_path / "runner", "not a program"))
    assert done.returncode == 126
    assert done.stderr.count("\n") == 1
    assert "cannot be started" in done.stderr


@pytest.mark.native
def test_the_built_runner_finds_its_libraries():
    path = kernels.runner_path()
    if path is None:
        pytest.skip(kernels.native_hint())
    if not shutil.which("ldd"):
        pytest.skip("no ldd")
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    listed = subprocess.run(["ldd", path], env=environment, capture_output=True, text=True).stdout
    assert "libtensorflow_cc.so.2" in listed
    assert "not found" not in listed


# setup.py


def test_tensorflow_is_found_without_importing_it(build):
    folder = build.find_tensorflow()
    assert (folder / "include/tensorflow/c/c_api.h").is_file()
    code = (
        "import runpy, sys; runpy.run_path('setup.py')['find_tensorflow']();"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_target_has_sources_and_a_source_distribution_holds_them(build):
    graft = (ROOT / "MANIFEST.in").read_text()
    for target in [*build.TARGETS, build.CUDA_TARGET]:
        for pattern in target.sources:
            assert list(ROOT.glob(pattern)), pattern
            assert f"graft {pattern.split('/')[0]}" in graft


def test_run_paths_leave_out_pips_build_environment(build):
    beside, *rest = build.run_paths(pathlib.Path("/home/a/venv/tensorflow"))
    assert beside == "$ORIGIN/../../tensorflow"
    assert "/home/a/venv/tensorflow" in rest
    temporary = "/tmp/pip-build-env-x1y2/overlay/lib/python3.11/site-packages/tensorflow"
    assert temporary not in build.run_paths(pathlib.Path(temporary))


def test_the_environment_chooses_compiler_and_flags(build, monkeypatch, tmp_path):
    target = build.TARGETS[0]
    shell = shutil.which("sh")
    monkeypatch.setenv("CC", f"{shell} -x")
    monkeypatch.setenv("CFLAGS", "-g -DNAME='a b'")
    compiler = build.find_compiler(target)
    assert compiler == [shell, "-x"]
    command = build.compile_command(target, compiler, tmp_path, tmp_path / "out")
    assert "-DNAME=a b" in command
    assert command.index("-Wl,--no-as-needed") < command.index("-l:libtensorflow_cc.so.2")


def test_a_missing_compiler_is_named(build, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "/nonexistent")
    with pytest.raises(build.NotBuilt, match="CC=/nonexistent was not found"):
        build.find_compiler(build.TARGETS[0])
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.NotBuilt, match="none of cc, gcc, clang was found"):
        build.find_compiler(build.TARGETS[0])


def test_a_failed_build_leaves_no_file_and_keeps_the_compilers_words(build, monkeypatch, tmp_path):
    stale = executable(tmp_path / "tfsal_run")
    compiler = executable(tmp_path / "cc", "#!/bin/sh\necho 'a.c:1: error: no stdio.h'\nexit 1\n")
    monkeypatch.setenv("CC", str(compiler))
    os.utime(stale, (0, 0))
    with pytest.raises(build.NotBuilt) as failure:
        build.build_target(build.TARGETS[0], tmp_path)
    assert str(failure.value).startswith(f"{compiler} failed: a.c:1: error: no stdio.h\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cc"]


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("a.c:1: note: x\na.c:2: fatal error: no stdio.h\n", "a.c:2: fatal error: no stdio.h"),
        ("ld: in _start: undefined reference to `main'\ncollect2: error: ld returned 1\n",
         "ld: in _start: undefined reference to `main'"),
        ("", "it said nothing"),
    ],
)  # fmt: skip
def test_the_first_error_is_the_one_that_says_something(build, output, error):
    assert build.first_error(output) == error


def test_a_current_file_is_not_built_again(build, monkeypatch, tmp_path):
    output = executable(tmp_path / "tfsal_run")
    compiler = executable(tmp_path / "cc", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("CC", str(compiler))
    build.build_target(build.TARGETS[0], tmp_path)  # would raise
    assert output.exists()


@pytest.mark.slow  # linking against libtensorflow_cc, 1.1 GB, takes seconds
@pytest.mark.native
def test_a_target_builds_and_runs(build, monkeypatch, tmp_path):
    try:
        build.find_compiler(build.TARGETS[0])
    except build.NotBuilt as error:
        pytest.skip(str(error))
    (tmp_path / "cc/serve").mkdir(parents=True)
    (tmp_path / "cc/serve/version.c").write_text(
        '#include <stdio.h>\n#include "tensorflow/c/c_api.h"\n'
        "int main(void) { puts(TF_Version()); return 0; }\n"
    )
    monkeypatch.setattr(build, "ROOT", tmp_path)
    build.build_target(build.TARGETS[0], tmp_path)
    done = subprocess.run([tmp_path / "tfsal_run"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2.21.")


@pytest.mark.slow  # nvcc takes most of a minute for one kind of GPU
@pytest.mark.native
def test_the_gpu_kernels_build_and_register(build, tmp_path):
    """Loading them needs no GPU; running them does."""
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc")
    one = [f for f in build.CUDA_TARGET.flags if "gencode" not in f]
    target = dataclasses.replace(
        build.CUDA_TARGET, flags=(*one, "-gencode=arch=compute_90,code=sm_90")
    )
    build.build_target(target, tmp_path)
    code = (
        "import pathlib, sys, tfsal.quiet as q; q.import_tensorflow()\n"
        "from tfsal.kernels import library\n"
        "library._GPU = pathlib.Path(sys.argv[1]); library.load()\n"
        "from tensorflow.python.framework import kernels as k\n"
        "for op in 'GradCam GradCamPlusPlus XGradCam HiResCam LayerCam WeightedCam'.split():\n"
        "    found = k.get_registered_kernels_for_op('Tfsal' + op).kernel\n"
        "    print(op, sum(kernel.device_type == 'GPU' for kernel in found))\n"
    )
    # In a process of its own: from then on the methods there believe that they can use a GPU.
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / target.name],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "TFSAL_COMPOSITE": "0"},
    )
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["4"] * 6, done.stdout


def test_nvcc_gets_the_words_it_understands(build, tmp_path):
    command = build.compile_command(build.CUDA_TARGET, ["nvcc"], tmp_path, tmp_path / "out")
    assert "-Xlinker=--no-as-needed" in command and "-Xcompiler=-pthread" in command
    assert "-Xlinker=-l:libtensorflow_framework.so.2" in command
    assert not [word for word in command if word.startswith(("-Wl,", "-l:"))]


def test_gpu_kernels_are_built_where_they_are_asked_for(build, monkeypatch):
    for value, wanted in {"1": True, "0": False, "": False}.items():
        monkeypatch.setenv("TFSAL_CUDA", value)
        assert (build.CUDA_TARGET in build.targets()) == wanted
    monkeypatch.delenv("TFSAL_CUDA")
    assert build.CUDA_TARGET not in build.targets()
