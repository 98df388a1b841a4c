"""The gallery's images and measures; what they show is in docs/gallery."""

import dataclasses

import keras
import numpy as np
import pytest

import tfsal
from examples import gallery, photos
from examples.study import FEW, Measured, Study, one_point


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


def study_of(model, count, **kwargs):
    return Study(model, *photos.mosaics(count, seed=1), **kwargs)


def test_evaluations_are_counted_at_the_input(model):
    study = study_of(model, 8)
    assert study.chance == 0.25
    assert study.evaluations(tfsal.GradCAM) == study.evaluations(tfsal.VanillaGradient) == 1
    assert study.evaluations(tfsal.FeatureAblation) == 8 * 8 + 1
    assert study.evaluations(tfsal.AblationCAM) == 1  # The head alone is not counted.
    assert study.hits(tfsal.VanillaGradient, 3).shape == (3,)
    times = study.milliseconds({tfsal.GradCAM: 8, tfsal.VanillaGradient: 1}, rounds=2)
    assert 0 < times[tfsal.GradCAM] < 1000 and 0 < times[tfsal.VanillaGradient] < 1000


def test_methods_of_many_evaluations_are_asked_about_fewer_images(model):
    study = study_of(model, 8, fewer=3)
    assert study.asked(1) == study.asked(FEW) == 8 and study.asked(FEW + 1) == 3
    assert study_of(model, 2, fewer=3).asked(FEW + 1) == 2


def test_a_map_points_at_one_of_its_strongest_positions():
    maps = np.zeros((2000, 3, 4), "float32")
    maps[:, 1, 1:] = 7
    maps[:, 2, 0] = 6
    (row, column) = np.divmod(one_point(maps).reshape(2000, -1).argmax(axis=1), 4)
    assert (row == 1).all() and (np.bincount(column)[1:] > 600).all()


def test_a_map_that_points_nowhere_does_not_by_a_draw():
    maps = np.array([[[1, 1]], [[0, 0]], [[np.nan, 1]], [[np.inf, 1]], [[-2, -1]]])
    points = one_point(maps)
    assert not points[:4].any() and points[4].argmax() == 1


def test_a_page_names_every_method_and_why_one_is_missing(model):
    study = study_of(model, 2)
    found = {
        tfsal.GradCAM: Measured(1, np.array([True] * 9 + [False]), np.array([True, False]), 2.5),
        tfsal.ActivationMaximization: Measured(130, None, None, 9.0),
        tfsal.XRAI: Measured(203, np.array([True]), np.array([False]), 9.0),
    }
    page = gallery.page(found, {"other": "it needs a table"}, study, study)
    assert "![gradcam](gradcam.png)" in page and "- `other`: it needs a table" in page
    assert "| `gradcam` | 10 | 90.0% | 59.6% to 98.2% | 2 | 50.0% |" in page
    assert "| `activation_maximization` |  | makes an input, no map |" in page
    assert "| `gradcam` | 1 | 2.5 | 1 forward" in page
    assert "- `xrai` " in page and "- `deconvnet` " not in page


def test_references_are_images_of_the_study(model):
    @dataclasses.dataclass(frozen=True)
    class NeedsReferences:
        references: object

    study = study_of(model, 9)
    np.testing.assert_array_equal(study.method(NeedsReferences).references, study.images[1:])
    assert study.method(tfsal.GradCAM) == tfsal.GradCAM()
