"""tfsal.visualize against PAIR's saliency library, 0.2.1."""

import numpy as np
import pytest

from tfsal import visualize

pair = pytest.importorskip("saliency.core")

KINDS = ("normal", "mostly negative", "sparse", "float16 range")


def attribution(kind):
    generator = np.random.default_rng(3)
    values = generator.normal(size=(3, 31, 24, 3)).astype("float32")
    if kind == "mostly negative":
        return -np.abs(values) + 0.3
    if kind == "sparse":
        return values * (generator.uniform(size=values.shape) > 0.9)
    return values * 1e-6 if kind == "float16 range" else values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("percentile", [99, 90, 50, 100, 99.5])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (visualize.grayscale, "VisualizeImageGrayscale"),
        (visualize.diverging, "VisualizeImageDiverging"),
    ],
)
def test_is_pairs(ours, theirs, percentile, kind):
    if kind == "sparse" and percentile == 50:
        pytest.skip("PAIR's library divides by 0 there")
    values = attribution(kind)
    expected = [getattr(pair, theirs)(v.astype("float64"), percentile) for v in values]
    # Where the percentile is near 0, the map divides by it, and by float32's rounding of it.
    np.testing.assert_allclose(ours(values, percentile), expected, rtol=1e-4, atol=2e-4)
