"""Image files: finding them, reading them as people have them, naming what is made of them."""

import glob
import pathlib

import numpy as np
from PIL import Image, ImageOps

from tfsal.errors import InputError

_SUFFIXES = frozenset(Image.registered_extensions())
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def find_images(patterns):
    """Finds the image files that files, folders and globs stand for.

    Folders are not searched recursively.

    Returns:
      ([path, in order, each once], [(pattern, reason) of what stands for no file]).

    Raises:
      InputError: there is no file at all.
    """
    found, missing = {}, []
    for pattern in patterns:
        try:
            files = _files(pathlib.Path(pattern), pattern)
        except OSError as error:
            missing.append((pattern, f"cannot be read ({error.strerror})"))
            continue
        if not files:
            is_folder = pathlib.Path(pattern).is_dir()
            missing.append((pattern, "holds no image" if is_folder else "is no file"))
        found.update(dict.fromkeys(files))
    if not found:
        raise InputError("; ".join(f"'{pattern}' {reason}" for pattern, reason in missing) + ".")
    return list(found), missing


def _files(path, pattern):
    if path.is_dir():
        return sorted(f for f in path.iterdir() if f.suffix.lower() in _SUFFIXES)
    files = [path] if path.exists() else map(pathlib.Path, sorted(glob.glob(pattern)))
    return [file for file in files if not file.is_dir()]


def read_image(path):
    """Reads an image file, turned as its EXIF data says; 16 bits become 8.

    Returns:
      A PIL image of mode RGB.

    Raises:
      OSError, ValueError, SyntaxError, Image.DecompressionBombError: it cannot be read.
    """
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode in _SIXTEEN_BIT:  # Pillow's own conversion clips them at 255.
            values = np.asarray(image).astype(np.float64)
            if values.min() < 0 or values.max() > 65535:
                raise ValueError("its pixels are integers of more than 16 bits")
            image = Image.fromarray(np.round(values / 257).astype(np.uint8))
        return image.convert("RGB")


def distinct_names(paths):
    """{path: file name without suffix}, with a counter where that is taken."""
    taken, names = set(), {}
    for path in paths:
        names[path] = free_name(path.stem, taken)
        taken.add(names[path])
    return names


def free_name(name, taken):
    """Returns name, or the first of name_2, name_3, ... that is not taken."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
