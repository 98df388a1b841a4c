"""Lowers methods to HLO for a device that need not be there.

As a program, `python lowering.py tpu_backend.so`, it lowers every method for TPUs and prints
{method: [custom calls] or an error} as JSON.
"""

import json
import re
import sys

import oracles
import tensorflow as tf

import tfsal
from tfsal.methods.explain import explain
from tfsal.methods.question import argument_specs

# What cannot be left out of a method.
OPTIONS = {"expected_gradients": {"references": oracles.draw(2, *oracles.SIZES[2], 2)}}


def custom_calls(kind, platform):
    """Lowers an explanation, heatmap and all; returns what its HLO leaves to others."""
    net = oracles.GapNet().load()  # Of its kind is every method's, Saliency Tubes included.
    method = kind(**OPTIONS.get(kind.name, {}))
    specs = argument_specs(method, net)

    @tf.function(jit_compile=True, autograph=False)
    def explanation(*arguments):
        feeds = dict(zip(net.inputs, arguments, strict=False))
        asked = zip((spec.name for spec in specs), arguments[len(feeds) :], strict=True)
        results = explain(method, net, feeds, dict(asked))
        return {name: value for name, value in results.items() if name != "outputs"}

    values = [tf.zeros([2, *net.inputs["x"].shape[1:]])]
    values += [tf.zeros([2] * spec.shape.rank, spec.dtype) for spec in specs]
    compiler_ir = explanation.experimental_get_compiler_ir(*values)
    hlo = compiler_ir(stage="hlo", platform_name=platform)
    assert "ENTRY" in hlo and "convolution" in hlo
    return sorted(set(re.findall(r'custom_call_target="([^"]*)"', hlo)))


def main(library):
    tf.load_library(library)
    found = {}
    for name, kind in tfsal.list_methods().items():
        try:
            found[name] = custom_calls(kind, "TPU")
        except Exception as error:  # All of them are to be seen, not only the first.
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
