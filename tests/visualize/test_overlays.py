"""Overlays, colours and figures, against NumPy and matplotlib."""

import io
import subprocess
import sys

import numpy as np
import pytest
from made_up import as_pixels, images, run_everywhere
from PIL import Image

from tfsal import visualize
from tfsal.errors import InputError

NAN = float("nan")

# ---------------------------------------------------------------- overlay


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_leaves_the_image_where_the_map_is_zero(channels):
    image = images(2, 8, 6, channels)
    for found in run_everywhere(visualize.overlay, image, np.zeros((2, 8, 6), "float32")):
        assert found.shape == (2, 8, 6, 3) and found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.broadcast_to(as_pixels(image), found.shape))


def test_overlay_without_opacity_leaves_the_image():
    image, heatmap = images(1, 8, 6, 3), images(1, 8, 6)
    np.testing.assert_array_equal(visualize.overlay(image, heatmap, alpha=0), as_pixels(image))


@pytest.mark.parametrize("colormap", ["inferno", "viridis", "cividis", "jet"])
def test_overlay_shows_the_colour_of_the_map(colormap):
    import matplotlib

    image, heatmap = images(1, 8, 6, 3), images(1, 8, 6)
    color = matplotlib.colormaps[colormap](np.round(heatmap * 255).astype(int))[..., :3]
    opaque = 0.7 * np.sqrt(heatmap)[..., None]
    expected = np.round((image * (1 - opaque) + color * opaque) * 255)
    for found in run_everywhere(lambda i, h: visualize.overlay(i, h, colormap), image, heatmap):
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_overlay_of_a_nan_map_is_the_image():
    image, heatmap = images(2, 8, 6, 3), images(2, 8, 6)
    clean = visualize.overlay(image, heatmap).numpy()
    heatmap[1] = NAN
    for found in run_everywhere(visualize.overlay, image, heatmap):
        np.testing.assert_array_equal(found[0], clean[0])
        np.testing.assert_array_equal(found[1], as_pixels(image[1]))


def test_overlay_clips_a_map_that_leaves_its_range():
    image = images(1, 8, 6, 3)
    for outside, inside in ((1.5, 1.0), (-0.5, 0.0)):
        for found in run_everywhere(
            visualize.overlay, image, np.full((1, 8, 6), outside, "float32")
        ):
            expected = visualize.overlay(image, np.full((1, 8, 6), inside, "float32"))
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("colormap", ["RdBu_r", "PuOr"])
def test_a_diverging_overlay_is_the_image_in_its_middle(colormap):
    import matplotlib

    image, heatmap = images(1, 8, 6, 3), images(1, 8, 6)
    heatmap[0, :4] = 0.5
    color = matplotlib.colormaps[colormap](np.round(heatmap * 255).astype(int))[..., :3]
    opaque = 0.7 * np.sqrt(np.abs(2 * heatmap - 1))[..., None]
    expected = np.round((image * (1 - opaque) + color * opaque) * 255)
    for found in run_everywhere(lambda i, h: visualize.overlay(i, h, colormap), image, heatmap):
        assert np.abs(found.astype(int) - expected).max() <= 1
        np.testing.assert_array_equal(found[:, :4], as_pixels(image)[:, :4])
    nothing = visualize.overlay(image, np.full((1, 8, 6), NAN, "float32"), colormap)
    np.testing.assert_array_equal(nothing, as_pixels(image))


@pytest.mark.parametrize(
    "name", "viridis plasma inferno magma cividis jet RdBu_r PuOr gray".split()
)
def test_colours_are_matplotlibs(name):
    """Against the colours that matplotlib itself draws an image with."""
    from matplotlib.cm import ScalarMappable

    drawn = ScalarMappable(cmap=name)
    drawn.set_clim(0, 255)
    table = visualize.colormap_table(name)
    assert table.shape == (256, 3) and table.dtype == np.float32
    np.testing.assert_allclose(table, drawn.to_rgba(np.arange(256))[:, :3], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colormap": "virids"}, "no colormap 'virids'. Some it has: .*viridis"),
        ({"alpha": 1.5}, "alpha is the opacity, 0 to 1, not 1.5"),
        ({"alpha": NAN}, "alpha is the opacity"),
        ({"heatmap": np.zeros((2, 8, 5), "float32")}, r"visualize.heatmap\(attribution, \[H, W\]"),
        ({"heatmap": np.zeros((2, 8, 6, 3), "float32")}, "not \\[N, H, W\\] of the same size"),
        ({"image": np.zeros((8, 6, 3), "float32")}, "Images are"),
        ({"image": np.zeros((2, 8, 6, 4), "float32")}, "Images are"),
    ],
)
def test_what_cannot_be_painted(change, message):
    arguments = {"image": images(2, 8, 6, 3), "heatmap": images(2, 8, 6), **change}
    with pytest.raises(InputError, match=message):
        visualize.overlay(**arguments)


# ---------------------------------------------------------------- figures


def test_a_figure_has_a_row_an_example_and_a_column_a_map():
    image, a, b = images(2, 8, 6, 3), images(2, 8, 6), images(2, 8, 6) ** 2
    figure = visualize.figure(image, {"one": a, "two": b}, ["cat", "dog"], alpha=0.5)
    *tiles, bar = figure.axes
    assert [t.get_title() for t in tiles] == ["", "one", "two", "", "", ""]
    assert [t.get_ylabel() for t in tiles] == ["cat", "", "", "dog", "", ""]
    shown = [t.images[0].get_array() for t in tiles]
    np.testing.assert_allclose(shown[3], image[1])
    np.testing.assert_array_equal(shown[5], visualize.overlay(image, b, alpha=0.5)[1])
    assert bar.get_ylim() == (0, 1)


def test_a_notebook_shows_a_figure():
    from matplotlib import pyplot

    gray = (images(8, 6, 1) * 255).astype("uint8")
    figure = visualize.figure(gray, images(8, 6), "a moth", colormap="RdBu_r")
    picture = np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("RGB"))
    assert picture.std() > 10
    assert [t.get_text() for t in figure.axes[-1].get_yticklabels()] == ["against", "0", "for"]
    assert not pyplot.get_fignums()  # which would keep it alive


def test_what_no_figure_can_be_made_of():
    image = images(2, 8, 6, 3)
    with pytest.raises(InputError, match="3 titles for 2 images"):
        visualize.figure(image, images(2, 8, 6), ["a", "b", "c"])
    with pytest.raises(InputError, match="There are no maps"):
        visualize.figure(image, {})
    with pytest.raises(InputError, match="visualize.heatmap"):
        visualize.figure(image, {"cam": images(2, 4, 3)})
    with pytest.raises(InputError, match="no colormap 'nope'"):
        visualize.figure(image, images(2, 8, 6), colormap="nope")


def test_class_activation_maps_do_not_wait_for_tensorflow_probability():
    code = """if True:
        import sys
        from tfsal.quiet import import_tensorflow
        import_tensorflow()
        import numpy as np
        from tfsal import visualize
        visualize.overlay(np.zeros((1, 4, 4, 3)), visualize.heatmap(np.ones((1, 2, 2)), (4, 4)))
        assert "tensorflow_probability" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
