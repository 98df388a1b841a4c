"""A classifier that says which photo a crop comes from, and mosaics of crops to ask it about.

The photos ship with scikit-image. Nothing tells the classifier where in a mosaic a crop lies.
"""

import functools

import keras
import numpy as np
import skimage.data
import tensorflow as tf

CROP = 64  # pixels a side
CLASSES = ("astronaut", "cat", "coffee", "motorcycle", "rocket", "galaxies", "bricks", "coins")


@functools.cache
def photos():
    """{class: [H, W, 3] float32 in [0, 1]}."""
    data = skimage.data
    found = (
        data.astronaut(), data.chelsea(), data.coffee(), data.stereo_motorcycle()[0],
        data.rocket(), data.hubble_deep_field(), data.brick(), data.coins(),
    )  # fmt: skip
    rgb = [p if p.ndim == 3 else np.repeat(p[..., None], 3, -1) for p in found]
    return {n: (p / 255).astype("float32") for n, p in zip(CLASSES, rgb, strict=True)}


def random_crops(count, seed):
    """([count, CROP, CROP, 3] crops, [count] classes): squares of a third to half a photo."""
    generator = np.random.default_rng(seed)
    pyramids = _pyramids()
    labels = generator.integers(0, len(CLASSES), count)
    crops = np.empty((count, CROP, CROP, 3), "float32")
    for crop, label in zip(crops, labels, strict=True):
        photo = pyramids[label][generator.integers(3)]
        top, left = (generator.integers(0, size - CROP + 1) for size in photo.shape[:2])
        crop[:] = photo[top : top + CROP, left : left + CROP]
        if generator.random() < 0.5:
            crop[:] = crop[:, ::-1]
    return crops, labels


def mosaics(count, seed):
    """Four crops of four photos each, and which of them is asked for.

    Returns:
      ([count, 2 CROP, 2 CROP, 3] mosaics; [count] classes asked for; [count, 4] boxes: top, left,
      bottom, right of the crop that is of that class).
    """
    generator = np.random.default_rng(seed)
    chosen = np.stack([generator.permutation(len(CLASSES))[:4] for _ in range(count)])
    place = generator.integers(0, 4, count)
    images = np.concatenate([mosaic(classes, seed + i) for i, classes in enumerate(chosen)])
    return images, chosen[np.arange(count), place].astype("int32"), quarter(place)


def mosaic(classes, seed):
    """[1, 2 CROP, 2 CROP, 3]: a crop of each of four classes; left to right, then down."""
    crops, labels = random_crops(80, seed)
    rows = [np.flatnonzero(labels == k) for k in classes]
    if not all(len(r) for r in rows):  # Of 80 crops, one in 10,000 classes has none.
        return mosaic(classes, seed + 1_000_000)
    tiles = crops[[r[0] for r in rows]].reshape(2, 2, CROP, CROP, 3)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(1, 2 * CROP, 2 * CROP, 3)


def quarter(place):
    """[..., 4] ints: the box of a place of a mosaic."""
    corner = np.stack([np.asarray(place) // 2, np.asarray(place) % 2], -1) * CROP
    return np.concatenate([corner, corner + CROP], -1)


def whole(name, height):
    """A photo at a height in pixels, [1, height, W, 3]."""
    photo = photos()[name]
    width = round(photo.shape[1] * height / photo.shape[0])
    return tf.image.resize(photo[None], (height, width), antialias=True).numpy()


def train(steps=400, seed=0):
    """The classifier, "photo" [N, H, W, 3] in [0, 1] -> "classes" [N, 8]: a minute on two cores."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    photo = x = keras.Input((None, None, 3), name="photo")
    for name, filters, size, strides in (
        ("edges", 24, 5, 2), ("textures", 48, 3, 2), ("parts", 64, 3, 1), ("features", 64, 3, 1),
    ):  # fmt: skip
        x = layers.Conv2D(filters, size, strides, "same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = layers.ReLU(name=name)(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    model = keras.Model(photo, layers.Dense(len(CLASSES), "softmax", name="classes")(x))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    crops, labels = random_crops(steps * 64, seed)
    model.fit(crops, labels, batch_size=64, verbose=0)
    return model


@functools.cache
def _pyramids():
    """Of each photo, three sizes: a crop is then cut out and not resized."""
    return [[_smaller(p, CROP / share) for share in (0.3, 0.4, 0.5)] for p in photos().values()]


def _smaller(photo, side):
    """The photo with its shorter side `side` pixels long."""
    size = np.round(np.array(photo.shape[:2]) * side / min(photo.shape[:2])).astype(int)
    return tf.image.resize(photo, size, antialias=True).numpy()
