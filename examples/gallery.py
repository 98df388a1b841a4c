"""docs/gallery: every registered method on the same images, with its cost and its hits.

    python -m examples.gallery [--out docs/gallery] [--scenes 300] [--mosaics 200]

Two models are trained for it, from labels alone: the demonstration's, on scenes of handwritten
digits, and one that says which photo of scikit-image a crop comes from.
"""

import argparse
import dataclasses
import os
import pathlib
import time

from tfsal.quiet import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from tqdm import tqdm  # noqa: E402

import tfsal  # noqa: E402
from examples import photos  # noqa: E402
from tfsal import visualize  # noqa: E402
from tfsal.demo import model as demo_model  # noqa: E402
from tfsal.demo.pointing import chance, hits, interval  # noqa: E402
from tfsal.demo.run import point_maps  # noqa: E402
from tfsal.demo.scenes import CLASS_NAMES, digit_scenes  # noqa: E402

_TILE, _GAP = 104, 6  # pixels
_TEST_SEED = 1000003
_TIMED = 8  # images a batch
_MARK = "#00c0a0"  # the truth


@dataclasses.dataclass
class Pictured:
    """One image of the gallery: which model it is for, what is asked, and how it is shown.

    image [H, W, 1 or 3] in [0, 1]; box: top, left, bottom, right of what the class is, or None.
    """

    net: object
    image: np.ndarray
    class_index: int
    title: str
    box: object = None


class Study:
    """A model with images whose truth is known: hits, evaluations and time of a method."""

    def __init__(self, model, images, classes, boxes):
        self.net = tfsal.load(model)
        self.images, self.classes, self.boxes = images, classes, boxes
        self.chance = chance(boxes, images.shape[1:3])
        self._rows = 0
        self._counted = tfsal.load(self._counting(model), specs=self._spec())

    def hits(self, method):
        """[N] bool: is the strongest point of the map in the box?"""
        found = []
        for start in range(0, len(self.images), 50):
            part = slice(start, start + 50)
            answer = method.explain(self.net, self.images[part], self.classes[part])
            points = point_maps(answer.attribution.numpy(), answer.heatmap.numpy())
            found.append(hits(points, self.boxes[part]))
        return np.concatenate(found)

    def evaluations(self, method):
        """Rows that the model computed for each image, counted at its input."""
        self._rows = 0
        method.explain(self._counted, self.images[:_TIMED], self.classes[:_TIMED])
        return self._rows / _TIMED

    def milliseconds(self, methods, rounds=9):
        """{name: least time for an image, in batches}, of calls that take turns."""
        times = {name: [] for name in methods}
        for _ in range(rounds + 1):  # The first may trace.
            for name, method in methods.items():
                start = time.perf_counter()
                answer = method.explain(self.net, self.images[:_TIMED], self.classes[:_TIMED])
                answer.heatmap.numpy()
                times[name].append(time.perf_counter() - start)
        return {name: min(found[1:]) / _TIMED * 1000 for name, found in times.items()}

    def _spec(self):
        (info,) = self.net.inputs.values()
        return tf.TensorSpec(info.shape, info.dtype, info.name)

    def _counting(self, model):
        def count(rows):
            self._rows += int(rows)
            return np.float32(0)

        def run(image):
            zero = tf.numpy_function(count, [tf.shape(image)[0]], tf.float32)
            return {"classes": model(image + tf.ensure_shape(zero, []))}

        return run


def main():
    """Trains, explains, draws and writes the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/gallery"))
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--mosaics", type=int, default=200)
    options = parser.parse_args()
    print("Training on digits and on photos, about a minute each...")
    scenes = digit_scenes(options.scenes, _TEST_SEED, "test")
    digits = Study(demo_model.train(), scenes.images, scenes.labels, scenes.boxes)
    crops = Study(photos.train(), *photos.mosaics(options.mosaics, _TEST_SEED))
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("*.png"):
        old.unlink()
    pictured = pictures(digits, crops)
    save(strip([shown(p) for p in pictured], [p.title for p in pictured]), options.out / "images")
    methods, measured, refused = {}, {}, {}
    for name, kind in tqdm(tfsal.list_methods().items(), unit="method", disable=None):
        try:
            method = by_default(kind)
            overlays = [painted(method, p) for p in pictured]
            measured[name] = measures(method, digits, crops)
        except tfsal.TfsalError as error:
            refused[name] = str(error).splitlines()[0]
            continue
        methods[name] = method
        save(strip(overlays), options.out / name)
    for name, milliseconds in crops.milliseconds(methods).items():
        measured[name]["milliseconds"] = milliseconds
    rows = [(name, method, measured[name]) for name, method in methods.items()]
    (options.out / "README.md").write_text(page(rows, refused, digits, crops), "utf-8")
    size = sum(file.stat().st_size for file in options.out.iterdir())
    print(f"{options.out / 'README.md'}: {len(rows)} methods, {size / 1e6:.2f} MB")


def pictures(digits, crops):
    """The images that every method is shown on."""
    found = []
    for i in (0, 2):
        title = f"{CLASS_NAMES[digits.classes[i]]}?"
        found.append(
            Pictured(digits.net, digits.images[i], digits.classes[i], title, digits.boxes[i])
        )
    names = ("cat", "coins", "coffee", "motorcycle")
    classes = [photos.CLASSES.index(name) for name in names]
    (mosaic,) = photos.mosaic(classes, seed=2)
    for place in (0, 2):
        box = photos.quarter(place)
        found.append(Pictured(crops.net, mosaic, classes[place], f"{names[place]}?", box))
    (cat,) = photos.whole("cat", 2 * photos.CROP)
    return [*found, Pictured(crops.net, cat, classes[0], "cat?")]


def by_default(kind):
    """The method with its defaults; an error that the page can print where it has none."""
    try:
        return kind()
    except TypeError as error:
        raise tfsal.TfsalError(f"it needs to be told more ({error})") from error


def measures(method, digits, crops):
    """What the tables say of a method, but for its time: hits on both studies, evaluations."""
    return {
        "digits": digits.hits(method),
        "mosaics": crops.hits(method),
        "evaluations": crops.evaluations(method),
    }


# ---------------------------------------------------------------- drawing


def painted(method, pictured):
    """The heatmap over the image, as a tile; the image gray, for its colours are the map's too."""
    answer = method.explain(pictured.net, pictured.image[None], pictured.class_index)
    gray = pictured.image.mean(-1, keepdims=True)
    return tile(visualize.overlay(gray[None], answer.heatmap)[0].numpy())


def shown(pictured):
    """The image itself, with the truth as a box."""
    rgb = np.broadcast_to(pictured.image, (*pictured.image.shape[:2], 3))
    picture = tile((rgb * 255).round().astype("uint8"))
    if pictured.box is not None:
        top, left, bottom, right = np.asarray(pictured.box) * _TILE / pictured.image.shape[0]
        box = (max(left - 1, 0), max(top - 1, 0), min(right, _TILE - 1), min(bottom, _TILE - 1))
        ImageDraw.Draw(picture).rectangle(box, outline=_MARK, width=2)
    return picture


def tile(pixels):
    """[H, W, 3] uint8 as an image of the height of all tiles."""
    width = round(_TILE * pixels.shape[1] / pixels.shape[0])
    return Image.fromarray(pixels).resize((width, _TILE), Image.Resampling.BICUBIC)


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


def page(rows, refused, digits, crops):
    """README.md of the gallery."""
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
    lines += [f"| `{name}` | ![{name}]({name}.png) |" for name, _, _ in rows]
    lines += ["", *_cost_table(rows, crops), "", *_hits_table(rows, digits, crops)]
    if refused:
        lines += ["", "Not shown, because the defaults do not explain these models:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in refused.items()]
    return "\n".join(lines) + "\n"


def _cost_table(rows, crops):
    side = crops.images.shape[1]
    yield "## Cost"
    yield ""
    yield (
        f"Evaluations are rows that the model computed for each image, counted at its input. Time "
        f"is of one image of {side} x {side} pixels through the photo model, in batches of "
        f"{_TIMED}, without XLA, on {_cores()}, the least of nine calls that take turns; compare "
        "the numbers with each other only."
    )
    yield ""
    yield "| method | evaluations per image | ms per image | as its docs say |"
    yield "|---|--:|--:|---|"
    for name, method, measured in rows:
        evaluations, milliseconds = measured["evaluations"], measured["milliseconds"]
        yield f"| `{name}` | {evaluations:.4g} | {milliseconds:.1f} | {method.cost} |"


def _cores():
    count = len(os.sched_getaffinity(0))
    return f"{count} CPU core{'s' * (count > 1)}"


def _hits_table(rows, digits, crops):
    yield "## Localisation"
    yield ""
    yield (
        "The pointing game: how often is the strongest point of a map on the digit that decides "
        f"the label ({len(digits.images)} scenes; a point at random: {digits.chance:.1%}), and in "
        f"the quarter of the mosaic that holds the class asked for ({len(crops.images)} mosaics; "
        f"at random: {crops.chance:.1%})? With 95% intervals (Wilson)."
    )
    yield ""
    yield "| method | on the digit | 95% interval | in the quarter | 95% interval |"
    yield "|---|--:|--:|--:|--:|"
    for name, _, measured in rows:
        cells = [f"`{name}`"]
        for found in (measured["digits"], measured["mosaics"]):
            low, high = interval(found)
            cells += [f"{found.mean():.1%}", f"{low:.1%} to {high:.1%}"]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
