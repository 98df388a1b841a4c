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
    names = _distinct_names(paths)
    with file, tqdm(total=len(paths), unit="image", disable=None) as bar:
        table = csv.writer(file)
        table.writerow(("image", "method", "class_index", "score", "overlay", "attribution"))
        for batch in _batches(_read(paths, preprocess, results, bar), batch_size):
            read, pixels, inputs = zip(*batch, strict=True)
            for name, method in methods.items():
                explanation = method.explain(net, np.stack(inputs), class_index)
                pictures = _overlays(pixels, explanation.heatmap, colormap)
                for i, path in enumerate(read):
                    stem = f"{names[path]}.{name}"
                    Image.fromarray(pictures[i]).save(out / f"{stem}.png")
                    np.save(out / f"{stem}.npy", _row(explanation.attribution, i))
                    index, score = int(explanation.class_index[i]), float(explanation.score[i])
                    table.writerow((path, name, index, score, f"{stem}.png", f"{stem}.npy"))
            results.done += len(read)
            bar.update(len(read))
    partial.replace(out / "scores.csv")
    return results


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
    if gray and preprocess.channels == "bgr":
        raise InputError("The model takes one channel; use --channels gray.")
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


def _overlays(pixels, heatmap, colormap):
    if isinstance(heatmap, dict):
        heatmap = next(iter(heatmap.values()))
    if heatmap.shape.rank != 3:
        raise InputError(
            f"The map has the shape {heatmap.shape}, no picture. For a layer of tokens give the "
            "grid: --method 'gradcam:token_grid=(14,14)'."
        )
    return visualize.overlay(np.stack(pixels), heatmap, colormap).numpy()


def _row(attribution, i):
    values = next(iter(attribution.values())) if isinstance(attribution, dict) else attribution
    return values[i].numpy()


def _distinct_names(paths):
    """{path: file name without suffix}, with a counter where two are the same."""
    counts, names = {}, {}
    for path in paths:
        counts[path.stem] = counts.get(path.stem, 0) + 1
        count = counts[path.stem]
        names[path] = path.stem if count == 1 else f"{path.stem}_{count}"
    return names
