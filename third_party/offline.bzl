"""Makes Bazel 4, which Debian has, work without a network.

It downloads rules_cc, rules_java and coverage tools even where a build needs
only what Bazel itself has; these stand in for them.
"""

def _stub_impl(ctx):
    for path, text in ctx.attr.files.items():
        ctx.file(path, text)

_stub = repository_rule(
    implementation = _stub_impl,
    attrs = {"files": attr.string_dict(doc = "What is in the repository.")},
)

def _native(names):
    return "".join(["%s = native.%s\n" % (name, name) for name in names])

def offline_rules():
    """Defines the stubs; other versions of Bazel get what they ask for."""
    version = native.bazel_version  # Debian's does not know it
    if version and not version.startswith("4."):
        return
    _stub(
        name = "rules_cc",
        files = {
            "cc/BUILD": "",
            "cc/defs.bzl": _native([
                "cc_binary",
                "cc_import",
                "cc_library",
                "cc_proto_library",
                "cc_test",
                "cc_toolchain",
                "cc_toolchain_suite",
                "fdo_prefetch_hints",
                "fdo_profile",
                "objc_library",
            ]),
        },
    )
    _stub(
        name = "rules_java",
        files = {
            "java/BUILD": "",
            "java/defs.bzl": _native([
                "java_binary",
                "java_import",
                "java_library",
                "java_package_configuration",
                "java_plugin",
                "java_runtime",
                "java_toolchain",
            ]),
        },
    )
    _stub(
        name = "remote_coverage_tools",
        files = {
            "BUILD": """filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
""",
        },
    )
