"""The network of the demonstration: small enough to train in under a minute on two cores.

It learns from labels alone; the boxes of the scenes are kept for scoring its explanations.
"""

import math
from collections.abc import Callable

import keras
import numpy as np

from tfsal.demo.scenes import CLASS_NAMES, SIZE, Scenes, digit_scenes
from tfsal.errors import TfsalError

LAST_CONV = "features"  # the activation after the last convolution, [N, 16, 16, 48]

_BATCH = 64


def build(seed: int = 0) -> keras.Model:
    """The untrained network: "image" [N, 64, 64, 1] float32 in [0, 1] -> "predictions" [N, 5].

    Four convolutions, each with batch normalization and ReLU, down to 16 x 16 positions that see
    27 x 27 pixels each, a little more than a digit. Their average feeds the softmax, so the
    gradient of a logit is the same at every position: at "features" Grad-CAM is plain CAM, and
    HiResCAM is Grad-CAM before its ReLU.

    Args:
        seed: of the initial weights, an int. Keras' global seed is neither used nor changed.
    """
    layers = keras.layers
    seeds = iter(range(seed * 10, seed * 10 + 10))

    def block(x, name, filters, size, strides=1):
        init = keras.initializers.HeNormal(seed=next(seeds))
        x = layers.Conv2D(
            filters, size, strides, "same", use_bias=False, kernel_initializer=init,
            name=f"{name}_conv",
        )(x)  # fmt: skip
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return layers.ReLU(name=name)(x)

    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = block(image, "edges", 16, 5, strides=2)
    x = block(x, "strokes", 32, 3)
    x = layers.MaxPooling2D(name="pool")(x)
    x = block(x, "parts", 48, 3)
    x = block(x, LAST_CONV, 48, 3)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    init = keras.initializers.GlorotUniform(seed=next(seeds))
    x = layers.Dense(
        len(CLASS_NAMES), "softmax", kernel_initializer=init, name="predictions"
    )(x)  # fmt: skip
    return keras.Model(image, x, name="digit_finder")


def train(
    epochs: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    scenes_per_epoch: int = 6144,
) -> keras.Model:
    """Trains the network on fresh scenes every epoch, made of the training digits.

    Args:
        epochs: how often new scenes are drawn; 4 reach about 99 % on unseen digits.
        seed: of weights and scenes, a non-negative int. On one machine the same seed gives the
            same network.
        progress: called after every batch with the batches done and their total.
        scenes_per_epoch: how many are drawn each time.

    Returns:
        The trained model; nothing is printed.

    Raises:
        TfsalError: epochs or scenes_per_epoch is less than 1.
    """
    if epochs < 1 or scenes_per_epoch < 1:
        raise TfsalError("epochs and scenes_per_epoch must be at least 1.")
    model = build(seed)
    total = epochs * math.ceil(scenes_per_epoch / _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, total, warmup_target=4e-3, warmup_steps=total // 10, alpha=0.01
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    done = 0

    def count(batch, logs=None):
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    for epoch in range(epochs):
        scenes = digit_scenes(scenes_per_epoch, seed * 1000 + epoch)
        model.fit(
            scenes.images, scenes.labels, batch_size=_BATCH, shuffle=False, verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=count)],
        )  # fmt: skip
    return model


def accuracy(model: keras.Model, scenes: Scenes) -> float:
    """The share of scenes, 0 to 1, whose class the model names."""
    predicted = model.predict(scenes.images, batch_size=256, verbose=0).argmax(axis=-1)
    return float(np.mean(predicted == scenes.labels))
