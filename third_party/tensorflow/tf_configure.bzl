"""Where the TensorFlow of @tfsal_tensorflow comes from.

    :framework    headers and library for ops
    :tensorflow   all of it, with the C API and XLA (tf_configure only)
    :python       the Python that has it (tf_configure only)
"""

# find_spec does not import TensorFlow, which takes seconds.
_FIND = """
import importlib.metadata, importlib.util
print(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
print(importlib.metadata.version("tensorflow"))
"""

_PIP_BUILD = """
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(["include/**"]),
    defines = [
        "EIGEN_MAX_ALIGN_BYTES=64",
        "_GLIBCXX_USE_CXX11_ABI=1",
        'TFSAL_TENSORFLOW=\\\\"{version}\\\\"',
    ],
    includes = [
        "include",
        "include/external/farmhash_archive/src",
        "include/external/highwayhash",
    ],
)

cc_library(
    name = "framework",
    srcs = ["libtensorflow_framework.so.2"],
    deps = [":headers"],
)

cc_library(
    name = "tensorflow",
    srcs = [
        "libtensorflow_cc.so.2",
        "libtensorflow_framework.so.2",
    ],
    deps = [":headers"],
)

sh_binary(
    name = "python",
    srcs = ["python.sh"],
)
"""

_SOURCE_BUILD = """
cc_library(
    name = "framework",
    visibility = ["//visibility:public"],
    deps = [
        "@org_tensorflow//tensorflow/core:framework",
        "@org_tensorflow//tensorflow/core:lib",
    ],
)
"""

def _tf_configure_impl(ctx):
    python = ctx.os.environ.get("PYTHON_BIN_PATH")
    if not python:
        venv = ctx.path(str(ctx.path(Label("//:WORKSPACE")).dirname) + "/.venv/bin/python")
        python = str(venv) if venv.exists else "python3"
    found = ctx.execute([python, "-c", _FIND])
    if found.return_code:
        fail("%s has no TensorFlow: set PYTHON_BIN_PATH to a Python that does.\n%s" %
             (python, found.stderr))
    root, version = found.stdout.splitlines()
    for name in ["include", "libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]:
        ctx.symlink(root + "/" + name, name)
    ctx.file("python.sh", "#!/bin/sh\nexec '%s' \"$@\"\n" % python)
    ctx.file("BUILD", _PIP_BUILD.format(version = version))

tf_configure = repository_rule(
    doc = """The TensorFlow that pip installed for PYTHON_BIN_PATH: by default that of .venv,
else python3's.""",
    implementation = _tf_configure_impl,
    environ = ["PYTHON_BIN_PATH"],
    local = True,
)

def _tf_from_source_impl(ctx):
    ctx.file("BUILD", _SOURCE_BUILD)

tf_from_source = repository_rule(
    doc = "The TensorFlow that the main repository builds as @org_tensorflow.",
    implementation = _tf_from_source_impl,
)
