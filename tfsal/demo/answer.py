"""Answers a signature from Python, for machines where tfsal_run could not be built.

Takes the options of tfsal_run that the demonstration uses.
"""

import argparse
import json
import pathlib

import numpy as np

from tfsal.quiet import import_tensorflow


def main():
    """Runs one signature of a SavedModel on .npy files and writes its outputs as .npy files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--output-dir", type=pathlib.Path, required=True)
    options = parser.parse_args()
    import_tensorflow()
    import tensorflow as tf

    function = tf.saved_model.load(options.bundle).signatures[options.signature]
    files = dict(text.split("=", 1) for text in options.input)
    results = function(**{name: tf.constant(np.load(file)) for name, file in files.items()})
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for name, value in results.items():
        np.save(options.output_dir / f"{name.replace('/', '.')}.npy", value.numpy())
    print(json.dumps({"signature": options.signature, "outputs": sorted(results)}))


if __name__ == "__main__":
    main()
