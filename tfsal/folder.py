"""Explaining files: find images, run methods on them in batches, write what they say."""

import csv
import dataclasses
import glob
import itertools
import pathlib

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from tfsal import visualize
from tfsal.errors import InputError, TfsalError

_SUFFIXES = frozenset(Image.registered_extensions())


@dataclasses.dataclass
class Results:
    """What came of a run.

    Attributes:
      done: number of images explained.
      failed: (path, reason) of the images that were skipped.
    """

    done: int = 0
    failed: list = dataclasses.field(default_factory=list)


def find_images(patterns):
    """Returns the image files that files, folders and globs stand for, in order, each once.

    Raises:
      InputError: a pattern matches nothing, or a folder holds no image.
    """
    found = {}
    for pattern in patterns:
        path = pathlib.Path(pattern)
        if path.is_dir():
            files = sorted(f for f in path.iterdir() if f.suffix.lower() in _SUFFIXES)
        else:
            files = [path] if path.exists() else map(pathlib.Path, sorted(glob.glob(pattern)))
            files = list(files)
        if not files:
            raise InputError(f"'{pattern}' {'holds no image' if path.is_dir() else 'is no file'}.")
        found.update(dict.fromkeys(files))
    return list(found)


def explain_images(
    net, paths, methods, out, preprocess, class_index=-1, batch_size=8, colormap="inferno"
):
    """Explains image files and writes overlays, raw maps and scores.csv.

    Memory is bounded by the batch: images are read as they are needed.

    Args:
      net: ModelGraph with one image input [N, H, W, C].
      paths: image files.
      methods: {name: Method}.
      out: folder to write to; made when missing.
      preprocess: Preprocess; an open size or channels are taken from the model's input.
      class_index: class to explain, -1 for the top one of each image.
      batch_size: images a batch.
      colormap: name of a matplotlib colormap.

    Returns:
      Results.

    Raises:
      InputError: the model's input is no image, or `out` cannot be written.
    """
    preprocess = fit_to_input(net, preprocess)
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial = out / "scores.csv.part"
        file = partial.open("w", newline="")
    except OSError as error:
        raise InputError(f"'{out}' cannot be written: {error.strerror}.") from error
    results = Results()
    try:
        with file, tqdm(total=len(paths), unit="image", disable=None) as bar:
            table = csv.writer(file)
            table.writerow(("image", "method", "class_index", "score", "overlay", "attribution"))
            names = _distinct_names(paths)
            for batch in _batches(_read(paths, preprocess, results, bar), batch_size):
                for name, method in methods.items():
                    rows = _explain_batch(net, name, method, batch, class_index, colormap)
                    for path, picture, attribution, index, score in rows:
                        stem = f"{names[path]}.{name}"
                        Image.fromarray(picture).save(out / f"{stem}.png")
                        np.save(out / f"{stem}.npy", attribution)
                        table.writerow((path, name, index, score, f"{stem}.png", f"{stem}.npy"))
                results.done += len(batch)
                bar.update(len(batch))
        partial.replace(out / "scores.csv")
    except OSError as error:
        raise InputError(f"'{out}' cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return results


def _explain_batch(net, name, method, batch, class_index, colormap):
    """(path, overlay, attribution, class index, score) of each image of a batch."""
    paths, pixels, inputs = zip(*batch, strict=True)
    explanation = method.explain(net, np.stack(inputs), class_index)
    if explanation.heatmap.shape.rank != 3:
        raise InputError(
            f"The maps of {name} have the shape {explanation.heatmap.shape}, no picture. For a "
            f"layer of tokens give the grid: --method '{name}:token_grid=(14,14)'."
        )
    overlays = visualize.overlay(np.stack(pixels), explanation.heatmap, colormap)
    return zip(
        paths,
        overlays.numpy(),
        explanation.attribution.numpy(),
        explanation.class_index.numpy().tolist(),
        explanation.score.numpy().tolist(),
        strict=True,
    )


def fit_to_input(net, preprocess):
    """Returns the Preprocess with an open size and channels taken from the model's input.

    Raises:
      InputError: the model does not take one image [N, H, W, 1 or 3].
    """
    info = next(iter(net.inputs.values()))
    if len(net.inputs) != 1 or info.shape.rank != 4 or info.shape[-1] not in (1, 3):
        shapes = ", ".join(map(str, net.inputs.values()))
        raise InputError(f"Image files fit a model with one input [N, H, W, 1 or 3]; got {shapes}.")
    size = preprocess.size or tuple(info.shape[1:3])
    gray = info.shape[-1] == 1
    if preprocess.channels == ("bgr" if gray else "gray"):
        raise InputError(
            f"channels='{preprocess.channels}' does not fit the model, which takes "
            f"{info.shape[-1]} channel{'s' * (not gray)}."
        )
    channels = "gray" if gray else preprocess.channels
    size = size if None not in size else None
    return dataclasses.replace(preprocess, size=size, channels=channels)


def _read(paths, preprocess, results, bar):
    """Yields (path, pixels [H, W, 3] in [0, 1], input of the model) of every readable image."""
    for path in paths:
        try:
            with Image.open(path) as image:
                rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            yield path, preprocess.resize(_tensor(rgb)) / 255.0, preprocess(rgb)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, TfsalError):
                raise
            results.failed.append((path, _reason(error)))
            bar.update(1)


def _tensor(array):
    import tensorflow as tf

    return tf.convert_to_tensor(array)


def _reason(error):
    text = str(error)
    return "not an image that can be read" if "cannot identify" in text else text


def _batches(items, size):
    """Groups items of one image size; a change of size ends a batch."""
    for _, group in itertools.groupby(items, key=lambda item: item[2].shape):
        while batch := list(itertools.islice(group, size)):
            yield batch


def _distinct_names(paths):
    """{path: file name without suffix}, with a counter where two are the same."""
    counts, names = {}, {}
    for path in paths:
        counts[path.stem] = counts.get(path.stem, 0) + 1
        count = counts[path.stem]
        names[path] = path.stem if count == 1 else f"{path.stem}_{count}"
    return names
