"""docs/gallery: every registered method on the same images, with its cost and its hits.

    python -m examples.gallery [--out docs/gallery] [--scenes 300] [--mosaics 100]

Two models are trained for it, from labels alone: the demonstration's, on scenes of handwritten
digits, and one that says which photo of scikit-image a crop comes from.
"""

import argparse
import dataclasses
import os
import pathlib

from tfsal.quiet import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from tqdm import tqdm  # noqa: E402

import tfsal  # noqa: E402
from examples import photos  # noqa: E402
from examples.study import FEW, MAKES_INPUTS, TIMED, Measured, Study  # noqa: E402
from tfsal import visualize  # noqa: E402
from tfsal.demo import model as demo_model  # noqa: E402
from tfsal.demo.pointing import interval  # noqa: E402
from tfsal.demo.scenes import CLASS_NAMES, digit_scenes  # noqa: E402

_TILE, _GAP = 112, 6  # pixels
_TEST_SEED = 1000003
_FEWER_SCENES, _FEWER_MOSAICS = 50, 20  # for methods of many evaluations
_MARK = "#00c0a0"  # the truth
_REMARKS = {  # on methods that point badly here
    "eigencam": "knows no class: it shows what stands out in the layer, in whichever quarter.",
    "deconvnet": "does not see the image where no layer takes a maximum, as in the photo model: "
    "what it passes back depends on the weights alone.",
    "xrai": "takes at each pixel the largest of the three colours' attributions, as PAIR's library "
    "does, and so does not see that colours cancel: in each of 40 mosaics the base's values (16 "
    "Gauss-Legendre steps) add up to most in the right quarter, the largest of the colours in 13.",
}


@dataclasses.dataclass
class Pictured:
    """One image of the gallery: which study it is of, what is asked, and how it is shown.

    image [H, W, 1 or 3] in [0, 1]; box: top, left, bottom, right of what the class is, or None.
    """

    study: object
    image: np.ndarray
    class_index: int
    title: str
    box: object = None


def main():
    """Trains, explains, draws and writes the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/gallery"))
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--mosaics", type=int, default=100)
    options = parser.parse_args()
    print("Training on digits and on photos, about a minute each...")
    scenes = digit_scenes(options.scenes, _TEST_SEED, "test")
    digits = Study(demo_model.train(), scenes.images, scenes.labels, scenes.boxes, _FEWER_SCENES)
    crops = Study(photos.train(), *photos.mosaics(options.mosaics, _TEST_SEED), _FEWER_MOSAICS)
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("*.png"):
        old.unlink()
    pictured = pictures(digits, crops)
    save(strip([shown(p) for p in pictured], [p.title for p in pictured]), options.out / "images")
    measured, refused = {}, {}
    for name, kind in tqdm(tfsal.list_methods().items(), unit="method", disable=None):
        try:
            overlays = [painted(kind, p) for p in pictured]
            measured[kind] = measures(kind, digits, crops)
        except tfsal.TfsalError as error:
            refused[name] = str(error).splitlines()[0]
            continue
        save(strip(overlays), options.out / name)
    calls = {kind: 1 if m.evaluations > FEW else TIMED for kind, m in measured.items()}
    for kind, milliseconds in crops.milliseconds(calls).items():
        measured[kind].milliseconds = milliseconds
    (options.out / "README.md").write_text(page(measured, refused, digits, crops), "utf-8")
    size = sum(file.stat().st_size for file in options.out.iterdir())
    print(f"{options.out / 'README.md'}: {len(measured)} methods, {size / 1e6:.2f} MB")


def pictures(digits, crops):
    """The images that every method is shown on."""
    found = []
    for i in (0, 2):
        title = f"{CLASS_NAMES[digits.classes[i]]}?"
        found.append(Pictured(digits, digits.images[i], digits.classes[i], title, digits.boxes[i]))
    names = ("cat", "coins", "coffee", "motorcycle")
    classes = [photos.CLASSES.index(name) for name in names]
    (mosaic,) = photos.mosaic(classes, seed=2)
    for place in (0, 2):
        box = photos.quarter(place)
        found.append(Pictured(crops, mosaic, classes[place], f"{names[place]}?", box))
    (cat,) = photos.whole("cat")
    return [*found, Pictured(crops, cat, classes[0], "cat?")]


def measures(kind, digits, crops):
    """What the tables say of a method, but for its time."""
    evaluations = crops.evaluations(kind)
    found = (study.hits(kind, study.asked(evaluations)) for study in (digits, crops))
    return Measured(evaluations, *found)


# ---------------------------------------------------------------- drawing


def painted(kind, pictured):
    """The heatmap over the image, as a tile; the image gray, for its colours are the map's too."""
    method = pictured.study.method(kind)
    answer = method.explain(pictured.study.net, pictured.image[None], pictured.class_index)
    if kind.name in MAKES_INPUTS:
        return tile(pixels(answer.attribution[0].numpy()))
    gray = pictured.image.mean(-1, keepdims=True)
    return tile(visualize.overlay(gray[None], answer.heatmap)[0].numpy())


def pixels(image):
    """[H, W, 1 or 3] in [0, 1] as [H, W, 3] uint8."""
    levels = (np.clip(image, 0, 1) * 255).round().astype("uint8")
    return np.broadcast_to(levels, (*image.shape[:2], 3))


def shown(pictured):
    """The image itself, with the truth as a box."""
    picture = tile(pixels(pictured.image))
    if pictured.box is not None:
        top, left, bottom, right = np.asarray(pictured.box) * _TILE / pictured.image.shape[0]
        box = (max(left - 1, 0), max(top - 1, 0), min(right, _TILE - 1), min(bottom, _TILE - 1))
        ImageDraw.Draw(picture).rectangle(box, outline=_MARK, width=2)
    return picture


def tile(levels):
    """[H, W, 3] uint8 as an image of the height of all tiles."""
    width = round(_TILE * levels.shape[1] / levels.shape[0])
    return Image.fromarray(levels).resize((width, _TILE), Image.Resampling.BICUBIC)


def strip(tiles, titles=()):
    """Tiles in a row, under their titles."""
    header = 20 if titles else 0
    width = sum(t.width + _GAP for t in tiles) - _GAP
    sheet = Image.new("RGB", (width, header + _TILE), "white")
    left, font = 0, ImageFont.load_default(13)
    for place, picture in enumerate(tiles):
        if titles:
            ImageDraw.Draw(sheet).text((left + 2, 1), titles[place], fill="black", font=font)
        sheet.paste(picture, (left, header))
        left += picture.width + _GAP
    return sheet


def save(image, path):
    """Writes a PNG of 256 colours: a third of the size, and no eye sees it at this scale."""
    small = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path.with_suffix(".png"), optimize=True)


# ---------------------------------------------------------------- the page


def page(measured, refused, digits, crops):
    """README.md of the gallery.

    Args:
      measured: {class of a method: Measured}.
      refused: {name: why a method is missing}.
      digits, crops: the studies.
    """
    lines = [
        "# Gallery",
        "",
        "Made by `make gallery` ([examples/gallery.py](../../examples/gallery.py)): every method, "
        "with its defaults, on the same images. The heatmaps are the explanations' `heatmap`, "
        "drawn by `tfsal.visualize.overlay` on the image without its colours.",
        "",
        "Two small models were trained for it from labels alone. One says which digit from zero "
        "to four a scene holds, among others and strokes that do not count (`make demo`). The "
        "other says which of eight photos of scikit-image a crop comes from; it is asked about "
        "mosaics of four crops and about a whole photo. Its crops are new, the photos are those it "
        "was trained on: the question is where it looks, not whether it would know another cat. "
        "The third and the fourth picture are one mosaic, asked about two classes: a map that "
        "tells classes apart moves from one quarter to the other.",
        "",
        "| | |",
        "|---|---|",
        "| the question, and the truth as a box | ![images](images.png) |",
    ]
    lines += [f"| `{kind.name}` | ![{kind.name}]({kind.name}.png) |" for kind in measured]
    lines += ["", *_cost_table(measured, crops), "", *_hits_table(measured, digits, crops)]
    names = [kind.name for kind in measured if kind.name in _REMARKS]
    if names:
        lines += ["", "What points badly here, and why:", ""]
        lines += [f"- `{name}` {_REMARKS[name]}" for name in names]
    if refused:
        lines += ["", "Not shown, because the defaults do not explain these models:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in refused.items()]
    return "\n".join(lines) + "\n"


def _cost_table(measured, crops):
    side = crops.images.shape[1]
    yield "## Cost"
    yield ""
    yield (
        "Evaluations are rows that the model computed for an image, counted at its input: heads "
        "that run alone, from a layer on, are not among them. Time is of one image of "
        f"{side} x {side} pixels through the photo model, {TIMED} rows at once, without XLA, on "
        f"{_cores()}, the least of three calls that take turns; compare the numbers with each "
        "other only."
    )
    yield ""
    yield "| method | evaluations per image | ms per image | as its docs say |"
    yield "|---|--:|--:|---|"
    for kind, m in measured.items():
        yield f"| `{kind.name}` | {m.evaluations} | {m.milliseconds:.1f} | {kind.cost} |"


def _cores():
    count = len(os.sched_getaffinity(0))
    return f"{count} CPU core{'s' * (count > 1)}"


def _hits_table(measured, digits, crops):
    yield "## Localisation"
    yield ""
    yield (
        "The pointing game: how often is the strongest point of a map on the digit that decides "
        f"the label ({len(digits.images)} scenes; a point at random: {digits.chance:.1%}), and in "
        f"the quarter of the mosaic that holds the class asked for ({len(crops.images)} mosaics; "
        f"at random: {crops.chance:.1%})? With 95% intervals (Wilson). A method of more than {FEW} "
        f"evaluations is asked about the first {digits.fewer} scenes and {crops.fewer} mosaics, "
        "and its interval is wider. Where several points are the strongest, as in methods of "
        "patches and regions, one of them is drawn: segments are cells of 8 x 8 pixels of a scene, "
        "which reach beyond the digit."
    )
    yield ""
    yield "| method | scenes | on digit | 95% interval | mosaics | in quarter | 95% interval |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for kind, m in measured.items():
        cells = [f"`{kind.name}`"]
        for found in (m.digits, m.mosaics):
            if found is None:
                cells += ["", "makes an input, no map", ""]
                continue
            low, high = interval(found)
            cells += [str(len(found)), f"{found.mean():.1%}", f"{low:.1%} to {high:.1%}"]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
