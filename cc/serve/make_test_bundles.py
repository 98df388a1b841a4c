"""Writes what serve_test.sh serves: python make_test_bundles.py OP_LIBRARY OUT.tar.

A portable export and a SavedModel with a fused op, each with an input and the answer. All numbers
are small integers over powers of 2, so that there is one right answer to the last bit.
"""

import os
import pathlib
import sys
import tarfile
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TFSAL_COMPOSITE"] = "1"  # the op library to load is Bazel's

import keras
import numpy as np
import tensorflow as tf

import tfsal


def save(folder, name, array):
    """Writes folder/name.npy."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", array.astype("float32"))


def portable(folder, random):
    """A Keras model of one convolution, exported with Grad-CAM."""
    image = random.integers(0, 16, (1, 8, 8, 1))
    channels = random.integers(-4, 5, (1, 4))
    classes = random.integers(-4, 5, (4, 3))
    pixels = keras.Input((8, 8, 1), name="image")
    maps = keras.layers.Conv2D(4, 1, use_bias=False, activation="relu")
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(pixels, dense(keras.layers.GlobalAveragePooling2D()(maps(pixels))))
    maps.set_weights([channels.reshape(1, 1, 1, 4)])
    dense.set_weights([classes])
    tfsal.export(tfsal.load(model), str(folder / "bundle"), {"gradcam": tfsal.GradCAM()})

    activations = np.maximum(image * channels, 0)
    top = np.argmax(activations.mean((0, 1, 2)) @ classes)
    save(folder, "image", image)
    save(folder, "attribution", np.maximum(activations @ classes[:, top] / 64, 0))


def fused(folder, random, library):
    """A SavedModel with TfsalGradCam in it."""
    ops = tf.load_op_library(library)
    activations, gradients = random.integers(-8, 9, (2, 2, 16, 8, 37))
    spec = tf.TensorSpec([None, None, None, 37], tf.float32)

    @tf.function(input_signature=[spec, spec])
    def grad_cam(activations, gradients):
        return {"cam": ops.tfsal_grad_cam(activations=activations, gradients=gradients)[0]}

    module = tf.Module()
    module.grad_cam = grad_cam
    tf.saved_model.save(module, str(folder / "bundle"), signatures=grad_cam)
    save(folder, "activations", activations)
    save(folder, "gradients", gradients)
    weights = gradients.mean((1, 2))
    save(folder, "cam", np.einsum("nk,nhwk->nhw", weights, activations))


def main(library, output):
    """Writes the tar file."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("portable", "fused"):
            pathlib.Path(folder, name).mkdir()
        portable(pathlib.Path(folder, "portable"), random)
        fused(pathlib.Path(folder, "fused"), random, os.path.abspath(library))
        with tarfile.open(output, "w") as tar:
            tar.add(folder, ".")


if __name__ == "__main__":
    main(*sys.argv[1:])
