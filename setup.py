"""Builds the native parts against the installed TensorFlow; pyproject.toml holds all the rest.

A native part that cannot be built (no compiler, no TensorFlow to build against) is left out with
one notice, and the Python package is installed all the same.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig

from setuptools import Command, Distribution, setup
from setuptools.command.build import build
from setuptools.errors import BaseError

ROOT = pathlib.Path(__file__).resolve().parent
KERNELS = pathlib.Path("tfsal", "kernels")
BUILD_LOG = "native_build.log"  # tfsal.kernels.native_hint() reads its first line
PACKAGES = "g++ python3-dev"


@dataclasses.dataclass(frozen=True)
class Target:
    """One native file: what it is made from, and how.

    Attributes:
        name: the file's name in tfsal/kernels.
        sources: glob patterns of its sources, from the repository's root.
        flags: compiler flags.
        libraries: what it links of TensorFlow.
        headers: Python modules whose get_include() has headers it needs.
        variable: the environment variable that names the compiler.
        compilers: the compilers to look for when the variable is unset.
    """

    name: str
    sources: tuple[str, ...]
    flags: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    variable: str = "CXX"
    compilers: tuple[str, ...] = ("c++", "g++", "clang++")


# The one place that holds it: tfsal/version.py, read without importing anything.
VERSION = (ROOT / "tfsal" / "version.py").read_text().split('"')[-2]

FRAMEWORK = "tensorflow_framework"
TENSORFLOW = "tensorflow_cc"
CAM_SOURCES = ("cc/kernels/cam.cc", "cc/kernels/loops.cc")
REGION_SOURCES = ("cc/kernels/dilation.cc", "cc/kernels/felzenszwalb.cc", "cc/kernels/xrai.cc")
# -Wno-psabi: wide vectors never cross a call. Hidden: two libraries hold the same kernels.
CXX = "-std=c++17 -O3 -ffp-contract=fast -fvisibility=hidden -fPIC -shared -Wno-psabi".split()
FLAGS_OF = {"CC": "CFLAGS", "CXX": "CXXFLAGS", "NVCC": "NVCCFLAGS"}
# TensorFlow's headers warn, and allocate for the widest vectors.
OPS = ("-w", "-DEIGEN_MAX_ALIGN_BYTES=64", "-D_GLIBCXX_USE_CXX11_ABI=1")

TARGETS = [
    Target(
        "tfsal_run",
        ("cc/serve/*.c",),
        ("-std=c11", "-O2", "-D_GNU_SOURCE", f'-DTFSAL_VERSION="{VERSION}"'),
        libraries=(TENSORFLOW, FRAMEWORK),
        variable="CC",
        compilers=("cc", "gcc", "clang"),
    ),
    Target(
        "_cam_ops.so",
        (*CAM_SOURCES, *REGION_SOURCES, "cc/ops/*.cc"),
        (*CXX, *OPS),
        libraries=(FRAMEWORK,),
    ),
    Target(
        "_cam_xla.so",
        ("cc/xla/*.cc",),
        (*CXX, "-O1", *OPS),  # the headers are large, and the code only builds graphs
        libraries=(TENSORFLOW, FRAMEWORK),
    ),
    Target(
        "cam" + sysconfig.get_config_var("EXT_SUFFIX"),
        (*CAM_SOURCES, "cc/python/cam.cc"),
        tuple(CXX),
        headers=("pybind11",),
    ),
    Target(
        "regions" + sysconfig.get_config_var("EXT_SUFFIX"),
        (*REGION_SOURCES, "cc/python/regions.cc"),
        tuple(CXX),
        headers=("pybind11",),
    ),
]
# Minutes of compiling, for a GPU that most machines lack: built where TFSAL_CUDA=1 asks for it.
CUDA_TARGET = Target(
    "_cam_gpu.so",
    ("cc/ops/gpu/*.cu", "cc/ops/gpu/*.cc"),
    (
        *"-std=c++17 -O3 -shared --threads 0 -Xcompiler=-fPIC,-w,-fvisibility=hidden".split(),
        *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in (75, 80, 86, 89, 90)),
        "-gencode=arch=compute_90,code=compute_90",
        *OPS[1:],
    ),
    libraries=(FRAMEWORK,),
    variable="NVCC",
    compilers=("nvcc",),
)


def targets() -> list[Target]:
    """Returns what this build is to make."""
    wanted = os.environ.get("TFSAL_CUDA", "0") not in ("", "0")
    return [*TARGETS, CUDA_TARGET] if wanted else TARGETS


class NotBuilt(Exception):
    """A native part cannot be built; the first line says why, in a few words."""


def find_tensorflow() -> pathlib.Path:
    """Returns the installed TensorFlow's folder, without importing it (that takes seconds)."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise NotBuilt(f"no TensorFlow in {sys.prefix}, which runs the build")
    folder = pathlib.Path(spec.submodule_search_locations[0])
    for part in ("include/tensorflow/c/c_api.h", "libtensorflow_cc.so.2"):
        if not (folder / part).exists():
            raise NotBuilt(f"the TensorFlow in {folder} has no {part}")
    return folder


def find_compiler(target: Target) -> list[str]:
    """Returns the compiler's command: the environment's choice, or the first one installed."""
    chosen = shlex.split(os.environ.get(target.variable, ""))
    if chosen:
        if shutil.which(chosen[0]):
            return chosen
        raise NotBuilt(f"no compiler: {target.variable}={chosen[0]} was not found")
    for name in target.compilers:
        if shutil.which(name):
            return [name]
    raise NotBuilt(f"no compiler: none of {', '.join(target.compilers)} was found")


def run_paths(tensorflow: pathlib.Path) -> list[str]:
    """Returns where a built file looks for TensorFlow's libraries, first place first.

    Installed from a wheel, TensorFlow lies beside tfsal. In a clone (editable install) it lies in
    this Python's site-packages. pip's build environment is gone after the build, so it is not
    named.
    """
    places = ["$ORIGIN/../../tensorflow"]
    for folder in (tensorflow, pathlib.Path(sysconfig.get_path("platlib"), "tensorflow")):
        temporary = any(
            part == "builds-v0" or part.startswith(("pip-build-env-", "build-env-"))
            for part in folder.parts
        )
        if not temporary and str(folder) not in places:
            places.append(str(folder))
    return places


def include_folders(target: Target, tensorflow: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders of the headers that a target needs, apart from the compiler's own."""
    folders = [ROOT]
    if target.libraries:
        folders.append(tensorflow / "include")
    if TENSORFLOW in target.libraries and target.variable == "CXX":
        external = tensorflow / "include" / "external"
        folders += [external / "highwayhash", external / "farmhash_archive" / "src"]
    for module in target.headers:
        try:
            folders.append(pathlib.Path(importlib.import_module(module).get_include()))
        except ImportError:
            raise NotBuilt(f"no {module} in {sys.prefix}, which runs the build") from None
    if target.headers:
        folders.append(pathlib.Path(sysconfig.get_path("include")))
        if not (folders[-1] / "Python.h").exists():
            raise NotBuilt(f"no Python.h in {folders[-1]}")
    return folders


def compile_command(
    target: Target, compiler: list[str], tensorflow: pathlib.Path, output: pathlib.Path
) -> list[str]:
    """Returns the command that makes `output`, to be run in the repository's root."""
    sources = sorted(
        str(path.relative_to(ROOT)) for pattern in target.sources for path in ROOT.glob(pattern)
    )
    if not sources:
        raise NotBuilt(f"its sources {', '.join(target.sources)} are missing")
    link = []
    if target.libraries:
        link = [
            f"-L{tensorflow}",
            "-Wl,--no-as-needed",  # otherwise the linker drops libtensorflow_cc
            *(f"-l:lib{library}.so.2" for library in target.libraries),
            *(f"-Wl,-rpath,{place}" for place in run_paths(tensorflow)),
        ]
    command = [
        *compiler,
        *target.flags,
        f'-DTFSAL_TENSORFLOW="{importlib.metadata.version("tensorflow")}"',
        *shlex.split(os.environ.get(FLAGS_OF[target.variable], "")),
        *(f"-I{folder}" for folder in include_folders(target, tensorflow)),
        *sources,
        "-o",
        str(output),
        *link,
        "-lm",
        "-pthread",
        *shlex.split(os.environ.get("LDFLAGS", "")),
    ]
    return [for_nvcc(word) for word in command] if target.variable == "NVCC" else command


def for_nvcc(word: str) -> str:
    """Returns a word of a compiler's command as nvcc passes it on to the host's compiler."""
    if word.startswith("-Wl,"):
        return "-Xlinker=" + word[len("-Wl,") :]
    return {"-pthread": "-Xcompiler=-pthread"}.get(word, word.replace("-l:", "-Xlinker=-l:"))


def is_current(target: Target, output: pathlib.Path, tensorflow: pathlib.Path) -> bool:
    """Says whether `output` is newer than all that it could be made from."""
    if not output.exists():
        return False
    inputs = [ROOT / "setup.py", tensorflow / "libtensorflow_cc.so.2"]
    folders = {(ROOT / pattern).parent for pattern in target.sources}
    if target.variable == "NVCC":
        folders |= {ROOT / "cc/kernels", ROOT / "cc/ops"}  # of whose headers it is made
    inputs += [path for folder in folders for path in folder.glob("*") if path.is_file()]
    return all(path.stat().st_mtime < output.stat().st_mtime for path in inputs)


def first_error(output: str) -> str:
    """Returns the line of a compiler's output that says what went wrong."""
    lines = output.strip().splitlines() or ["it said nothing"]
    for mark in ("error: ", "undefined reference"):
        for line in lines:
            if mark in line and not line.startswith("collect2:"):
                return line[:160]
    return lines[-1][:160]


def build_target(target: Target, folder: pathlib.Path) -> None:
    """Makes one target in `folder`, or raises NotBuilt and leaves none of it there."""
    output = folder / target.name
    try:
        tensorflow = find_tensorflow()
        compiler = find_compiler(target)
        if is_current(target, output, tensorflow):
            return
        part = output.with_name(output.name + ".part")
        command = compile_command(target, compiler, tensorflow, part)
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(shlex.join(command), done.stdout, sep="\n", end="", flush=True)
        if done.returncode:
            part.unlink(missing_ok=True)
            raise NotBuilt(f"{compiler[0]} failed: {first_error(done.stdout)}\n\n{done.stdout}")
        os.replace(part, output)
    except (NotBuilt, OSError) as error:
        output.unlink(missing_ok=True)
        raise NotBuilt(str(error)) from None


class BuildNative(Command):
    """The step of `build` that makes all targets: into the wheel, or in place when editable."""

    description = "build the native parts against the installed TensorFlow"
    user_options: list = []
    editable_mode = False

    def initialize_options(self) -> None:
        """Sets what the `build` command decides."""
        self.build_lib = None
        self.built: list[str] = []

    def finalize_options(self) -> None:
        """Takes over where `build` puts its files."""
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        """Builds every target; those that fail are named in one notice and in BUILD_LOG."""
        folder = (ROOT if self.editable_mode else pathlib.Path(self.build_lib).resolve()) / KERNELS
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / BUILD_LOG
        log.unlink(missing_ok=True)
        if CUDA_TARGET not in targets():
            (folder / CUDA_TARGET.name).unlink(missing_ok=True)  # of older sources, by now
        failures = {}
        # The compilers are processes: threads only wait for them.
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = {t.name: pool.submit(build_target, t, folder) for t in targets()}
        for name, job in jobs.items():
            try:
                job.result()
                self.built.append(name)
            except NotBuilt as error:
                failures[name] = str(error)
        self.distribution.native_built = bool(self.built)
        if failures:
            log.write_text("\n".join(failures.values()) + "\n")
            reason = next(iter(failures.values())).splitlines()[0]
            print(
                f"tfsal: NOTICE: installed without {', '.join(failures)}: {reason}.\n"
                f"tfsal: Everything else works. To have it: apt-get install {PACKAGES}, "
                "then install tfsal again.",
                file=sys.stderr,
                flush=True,
            )

    def get_source_files(self) -> list[str]:
        """Returns the files that a source distribution must hold."""
        files = (ROOT / "cc").rglob("*")
        return sorted(str(path.relative_to(ROOT)) for path in files if path.is_file())

    def get_outputs(self) -> list[str]:
        """Returns what was built, as paths in the wheel's build folder."""
        return [str(pathlib.Path(self.build_lib) / KERNELS / name) for name in self.built]

    def get_output_mapping(self) -> dict[str, str]:
        """Returns, for an editable install, where each output lies in the clone."""
        if not self.editable_mode:
            return {}
        outputs = zip(self.get_outputs(), self.built, strict=True)
        return {output: str(KERNELS / name) for output, name in outputs}


class Build(build):
    """`build`, with the native parts."""

    sub_commands = [*build.sub_commands, ("build_native", None)]


class NativeDistribution(Distribution):
    """A distribution that belongs to one platform once a native part is in it."""

    native_built = False

    def has_ext_modules(self) -> bool:
        """Says so to the commands that ask."""
        return self.native_built or super().has_ext_modules()


def commands() -> dict[str, type[Command]]:
    """Returns the commands that differ from setuptools'."""
    found = {"build": Build, "build_native": BuildNative}
    try:
        base = Distribution().get_command_class("bdist_wheel")
    except BaseError:
        return found  # setuptools before 70 without wheel: it can still make an sdist

    class Wheel(base):
        """`bdist_wheel`, which learns only from the build whether the wheel is pure."""

        def run(self) -> None:
            self.run_command("build_native")
            self.root_is_pure = not self.distribution.has_ext_modules()
            super().run()

    return {**found, "bdist_wheel": Wheel}


if __name__ == "__main__":
    setup(license="Apache-2.0", distclass=NativeDistribution, cmdclass=commands())
