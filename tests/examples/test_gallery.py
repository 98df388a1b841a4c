"""The gallery's images and measures; what they show is in docs/gallery."""

import keras
import numpy as np
import pytest

import tfsal
from examples import gallery, photos


@pytest.fixture(scope="module")
def model():
    """As photos.train makes it, of two classes, and smaller."""
    image = keras.Input((None, None, 3), name="photo")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="features")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(8, activation="softmax", name="classes")(x))


def is_cut_out_of(crop, photo):
    """Whether the pixels of a crop, or of its mirror image, lie somewhere in a photo."""
    height, width = (p - c + 1 for p, c in zip(photo.shape[:2], crop.shape[:2], strict=True))
    for turned in (crop, crop[:, ::-1]):
        corners = (photo[:height, :width] == turned[0, 0]).all(-1)
        for y, x in np.argwhere(corners):
            if np.array_equal(photo[y : y + crop.shape[0], x : x + crop.shape[1]], turned):
                return True
    return False


def test_a_mosaic_holds_what_is_asked_for_in_its_box_only():
    images, asked, boxes = photos.mosaics(6, seed=4)
    assert images.shape == (6, 128, 128, 3) and len({tuple(b) for b in boxes}) > 1
    for image, label, box in zip(images, asked, boxes, strict=True):
        for place in range(4):
            top, left, bottom, right = photos.quarter(place)
            crop = image[top:bottom, left:right]
            found = any(is_cut_out_of(crop, photo) for photo in photos._pyramids()[label])
            assert found == np.array_equal([top, left, bottom, right], box)


def test_crops_are_the_same_for_the_same_seed():
    for one, again, other in zip(*(photos.random_crops(5, s) for s in (1, 1, 2)), strict=True):
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)


def test_evaluations_are_counted_at_the_input(model):
    images, asked, boxes = photos.mosaics(8, seed=1)
    study = gallery.Study(model, images, asked, boxes)
    assert study.chance == 0.25
    assert study.evaluations(tfsal.GradCAM()) == study.evaluations(tfsal.VanillaGradient()) == 1
    assert study.hits(tfsal.VanillaGradient()).shape == (8,)
    times = study.milliseconds({"gradcam": tfsal.GradCAM()}, rounds=2)
    assert 0 < times["gradcam"] < 1000


def test_a_page_names_every_method_and_why_one_is_missing(model):
    images, asked, boxes = photos.mosaics(2, seed=1)
    study = gallery.Study(model, images, asked, boxes)
    found = {"digits": np.array([True] * 9 + [False]), "mosaics": np.array([True, False])}
    row = ("gradcam", tfsal.GradCAM(), {**found, "evaluations": 1.0, "milliseconds": 2.5})
    page = gallery.page([row], {"other": "it needs a table"}, study, study)
    assert "![gradcam](gradcam.png)" in page and "- `other`: it needs a table" in page
    assert "| `gradcam` | 90.0% | 59.6% to 98.2% | 50.0% |" in page
    assert "| `gradcam` | 1 | 2.5 | 1 forward" in page


def test_a_method_without_defaults_is_an_error_that_can_be_printed():
    class Needy:
        def __init__(self, references):
            pass

    with pytest.raises(tfsal.TfsalError, match="told more .*references"):
        gallery.by_default(Needy)
