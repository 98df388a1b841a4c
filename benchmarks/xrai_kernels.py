"""XRAI without its model: segmentation, dilation and ranking, against PAIR's package.

PAIR's `saliency` segments with scikit-image, dilates every mask by itself and counts all masks
anew for each region. The same photo, labels and attribution are given to both, at 224 x 224 and
PAIR's six scales. Run with `python -m benchmarks.xrai_kernels`.
"""

import argparse
import pathlib
import statistics

from benchmarks.timing import interleaved, machine, ratio
from tfsal.quiet import import_tensorflow

SIZE = 224


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--photos", nargs="+", default=["astronaut", "chelsea", "coffee"])
    options = parser.parse_args()
    import_tensorflow()
    print(f"{machine()}, {options.threads} threads, {options.rounds} rounds, medians")
    for name in options.photos:
        report(name, options)


def report(name, options):
    """Prints a table for one photo."""
    import numpy as np

    image = photo(name)
    attribution = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype("float32")
    contenders, regions = contest(image, attribution, options.threads)
    seconds = interleaved(contenders, options.rounds, warmup=1)
    rows = ("segmentation", "dilation + full", "dilation + fast", "all, full", "all, fast")
    for algorithm in ("full", "fast"):
        for side in ("tfsal", "PAIR"):
            parts = (seconds["segmentation", side], seconds[f"dilation + {algorithm}", side])
            seconds[f"all, {algorithm}", side] = [sum(part) for part in zip(*parts, strict=True)]
    print(f"\n{name}, {regions} regions\n  {'':16} {'tfsal':>10} {'PAIR':>11} {'ratio':>7}")
    for row in rows:
        mine, theirs = (statistics.median(seconds[row, side]) for side in ("tfsal", "PAIR"))
        times = ratio(seconds, (row, "PAIR"), (row, "tfsal"))
        print(f"  {row:16} {mine * 1e3:7.2f} ms {theirs * 1e3:8.1f} ms {times:6.1f}x")


def contest(image, attribution, threads):
    """Checks that both find the same; returns ({(part, side): call}, number of regions)."""
    import numpy as np
    import saliency.core.xrai as pair
    from skimage import segmentation

    from tfsal.kernels import regions

    scales = pair._FELZENSZWALB_SCALE_VALUES

    def segment():
        return regions.felzenszwalb(image[np.newaxis], scales, threads=threads)

    def segment_pair():
        options = {"sigma": 0.8, "min_size": pair._FELZENSZWALB_MIN_SEGMENT_SIZE}
        return [segmentation.felzenszwalb(image, scale=scale, **options) for scale in scales]

    labels = segment()
    exact = attribution.astype("float64")

    def rank(algorithm):
        values = attribution[np.newaxis]
        return regions.xrai(values, labels, algorithm=algorithm, threads=threads)[0]

    def rank_pair(function):
        masks = pair._unpack_segs_to_masks(list(labels[0]))
        masks = [pair.dilation(mask, footprint=pair.disk(5)) for mask in masks]
        return function(exact, masks)[0]

    for mine, theirs in (
        (labels[0], np.stack(segment_pair())),
        (rank("full")[0], rank_pair(pair.XRAI._xrai)),
        (rank("fast")[0], rank_pair(pair.XRAI._xrai_fast)),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    contenders = {
        ("segmentation", "tfsal"): segment,
        ("segmentation", "PAIR"): segment_pair,
        ("dilation + full", "tfsal"): lambda: rank("full"),
        ("dilation + full", "PAIR"): lambda: rank_pair(pair.XRAI._xrai),
        ("dilation + fast", "tfsal"): lambda: rank("fast"),
        ("dilation + fast", "PAIR"): lambda: rank_pair(pair.XRAI._xrai_fast),
    }
    return contenders, len(np.unique(rank("full")))


def photo(name):
    """A photo of scikit-image as PAIR's XRAI segments it, [SIZE, SIZE, 3] in [-1, 1]."""
    import numpy as np
    import skimage
    from PIL import Image

    path = pathlib.Path(skimage.__file__).parent / "data" / f"{name}.png"
    with Image.open(path) as file:
        resized = file.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    image = np.asarray(resized, "float64")
    return (image - image.min()) / np.ptp(image) * 2 - 1


if __name__ == "__main__":
    main()
