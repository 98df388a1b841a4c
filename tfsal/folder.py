"""Explaining files: run methods on images in batches, write what they say."""

import csv
import dataclasses
import itertools
import typing

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from tfsal import visualize
from tfsal.errors import InputError, TfsalError
from tfsal.images import distinct_names, read_image

_LARGEST = 1600  # pixels a side of an overlay at the photo's own size


@dataclasses.dataclass
class Results:
    """What came of a run.

    Attributes:
      done: number of images explained.
      failed: (path, reason) of the images that were skipped.
    """

    done: int = 0
    failed: list = dataclasses.field(default_factory=list)


class _Photo(typing.NamedTuple):
    """path; pixels [H, W, 3] uint8 to draw on; input of the model [h, w, C]."""

    path: typing.Any
    pixels: np.ndarray
    input: tf.Tensor


class _Answer(typing.NamedTuple):
    """What one method says of one photo; heatmap [h, w], attribution as the method gives it."""

    photo: _Photo
    method: str
    heatmap: np.ndarray
    attribution: np.ndarray
    class_index: int
    score: float


def explain_images(
    net,
    paths,
    methods,
    out,
    preprocess,
    *,
    class_index=-1,
    seed=0,
    batch_size=8,
    colormap="inferno",
    size="original",
    labels=None,
):
    """Explains image files and writes overlays, raw maps and scores.csv.

    Memory is bounded by the batch: images are read as they are needed. Nothing is written before
    the model has answered for the first batch.

    Args:
      net: ModelGraph with one image input [N, H, W, C].
      paths: image files.
      methods: {name: Method}.
      out: folder to write to; made when missing.
      preprocess: Preprocess; an open size or channels are taken from the model's input.
      class_index: class to explain, -1 for the top one of each image.
      seed: int, for the random methods; the noise of an image does not depend on the others.
      batch_size: images a batch.
      colormap: name of a matplotlib colormap.
      size: of the overlays; 'original', the photo's own, at most 1600 pixels a side, or 'model'.
      labels: names of the classes, for a column of scores.csv; None leaves the column out.

    Returns:
      Results.

    Raises:
      InputError: the model's input is no image, the colormap does not fit a heatmap, the labels
        are not one for each class, or `out` cannot be written.
    """
    visualize.check_sequential(colormap)
    preprocess = fit_to_input(net, preprocess)
    for name, method in methods.items():
        method.check(net)
        count = method.target.class_count(net)
        if labels is not None and count not in (None, len(labels)):
            raise InputError(
                f"There are {len(labels)} labels, and the model has {count} classes ({name})."
            )
    results = Results()
    with tqdm(total=len(paths), unit="image", disable=None) as bar:
        photos = _read(paths, preprocess, size, results, bar)
        answers = _answers(net, methods, photos, (class_index, seed), batch_size, results, bar)
        first = list(itertools.islice(answers, 1))
        try:
            out.mkdir(parents=True, exist_ok=True)
            _write(itertools.chain(first, answers), paths, out, colormap, labels)
        except OSError as error:
            raise InputError(f"'{out}' cannot be written: {error.strerror}.") from error
    return results


def _write(answers, paths, out, colormap, labels):
    names = distinct_names(paths)
    partial = out / "scores.csv.part"
    header = ["image", "method", "class_index", "score", "overlay", "attribution"]
    if labels is not None:
        header.insert(3, "label")
    try:
        with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.DictWriter(file, header, extrasaction="ignore")
            table.writeheader()
            for answer in answers:
                stem = f"{names[answer.photo.path]}.{answer.method}"
                Image.fromarray(_overlay(answer, colormap)).save(out / f"{stem}.png")
                np.save(out / f"{stem}.npy", answer.attribution)
                known = labels is not None and answer.class_index < len(labels)
                row = {
                    "image": answer.photo.path,
                    "method": answer.method,
                    "class_index": answer.class_index,
                    "label": labels[answer.class_index] if known else "",
                    "score": answer.score,
                    "overlay": f"{stem}.png",
                    "attribution": f"{stem}.npy",
                }
                table.writerow(row)
        partial.replace(out / "scores.csv")
    finally:
        partial.unlink(missing_ok=True)


def _overlay(answer, colormap):
    """The heatmap over the photo, at the photo's size; [H, W, 3] uint8."""
    pixels = answer.photo.pixels
    heatmap = visualize.resize(answer.heatmap[np.newaxis], pixels.shape[:2])
    image = tf.cast(pixels, tf.float32)[tf.newaxis] / 255.0
    return visualize.overlay(image, heatmap, colormap)[0].numpy()


def _answers(net, methods, photos, asked, batch_size, results, bar):
    """Yields an _Answer of every method for every photo; asked: (class_index, seed)."""
    class_index, seed = asked
    for batch in _batches(photos, batch_size):
        inputs = tf.stack([photo.input for photo in batch])
        for name, method in methods.items():
            explanation = method.explain(net, inputs, class_index, seed=seed)
            if explanation.heatmap.shape.rank != 3:
                raise InputError(
                    f"The maps of {name} have the shape {explanation.heatmap.shape}, no picture. "
                    f"For a layer of tokens give the grid: --method '{method.name}:"
                    "token_grid=(14,14)'."
                )
            values = zip(
                batch,
                explanation.heatmap.numpy(),
                explanation.attribution.numpy(),
                explanation.class_index.numpy().tolist(),
                explanation.score.numpy().tolist(),
                strict=True,
            )
            for photo, heatmap, attribution, index, score in values:
                yield _Answer(photo, name, heatmap, attribution, index, score)
        results.done += len(batch)
        bar.update(len(batch))


def fit_to_input(net, preprocess):
    """Returns the Preprocess with an open size and channels taken from the model's input.

    Raises:
      InputError: the model does not take one image [N, H, W, 1 or 3], or not such a one.
    """
    info = next(iter(net.inputs.values()))
    if len(net.inputs) != 1 or info.shape.rank != 4 or info.shape[-1] not in (1, 3):
        shapes = ", ".join(map(str, net.inputs.values()))
        raise InputError(f"Image files fit a model with one input [N, H, W, 1 or 3]; got {shapes}.")
    return preprocess.fitted_to(info)


def _read(paths, preprocess, size, results, bar):
    """Yields a _Photo of every readable image."""
    for path in paths:
        try:
            image = read_image(path)
            rgb = np.asarray(image)
            if size == "model":
                pixels = np.round(preprocess.resize(tf.constant(rgb))).astype(np.uint8)
            else:
                image.thumbnail((_LARGEST, _LARGEST))
                pixels = np.asarray(image)
            yield _Photo(path, pixels, preprocess(rgb))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, TfsalError):
                raise
            results.failed.append((path, _reason(error)))
            bar.update(1)


def _reason(error):
    text = str(error)
    return "not an image that can be read" if "cannot identify" in text else text


def _batches(photos, size):
    """Groups photos whose inputs have one size; a change of size ends a batch."""
    for _, group in itertools.groupby(photos, key=lambda photo: photo.input.shape):
        while batch := list(itertools.islice(group, size)):
            yield batch
