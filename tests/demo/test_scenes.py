"""tfsal.demo.scenes: the truth of a scene is what the demo's scores stand on."""

import dataclasses

import numpy as np
import pytest

from tfsal.demo import scenes as module
from tfsal.demo.scenes import CLASS_NAMES, SIZE, digit_scenes
from tfsal.errors import TfsalError

FIELDS = ("images", "labels", "boxes", "distractors")


@pytest.fixture(scope="module")
def scenes():
    return digit_scenes(1000, seed=3)


@pytest.fixture
def noiseless(monkeypatch):
    monkeypatch.setattr(module, "_NOISE", 0.0)
    return digit_scenes(200, seed=4)


def test_shapes_types_and_range(scenes):
    assert scenes.images.shape == (1000, SIZE, SIZE, 1)
    assert scenes.images.dtype == np.float32
    assert scenes.images.min() == 0 and 0.9 < scenes.images.max() <= 1
    for name, shape in [("labels", ()), ("boxes", (4,)), ("distractors", (6, 4))]:
        array = getattr(scenes, name)
        assert array.dtype == np.int32 and array.shape == (1000, *shape)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenes.labels = None


def test_the_same_seed_gives_the_same_scenes(scenes):
    again = digit_scenes(1000, seed=3)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(scenes, name), getattr(again, name))
    again.images[:] = 0  # what a caller does with its scenes changes no later ones
    np.testing.assert_array_equal(digit_scenes(1000, seed=3).images, scenes.images)


def test_seed_and_split_change_the_scenes(scenes):
    for other in (digit_scenes(1000, seed=4), digit_scenes(1000, seed=3, split="test")):
        assert (other.boxes != scenes.boxes).any(axis=1).mean() > 0.9


def test_the_splits_share_no_digit():
    (train, train_classes), (test, test_classes) = map(module._split, ("train", "test"))
    assert not set(train) & set(test)
    assert sorted([*train, *test]) == list(range(1797))
    pixels = module._load()[0].reshape(1797, -1)
    assert not {pixels[i].tobytes() for i in train} & {pixels[i].tobytes() for i in test}
    assert np.bincount(train_classes).min() >= 130 and np.bincount(test_classes).min() >= 43


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_scene_is_made_of_its_split(split, monkeypatch):
    used = set()

    class Recording(list):
        def __getitem__(self, index):
            used.add(int(index))
            return super().__getitem__(index)

    tiles = [Recording(row) for row in module._digit_tiles()]
    monkeypatch.setattr(module, "_digit_tiles", lambda: tiles)
    digit_scenes(500, 0, split)
    assert len(used) > 400 and used <= set(module._split(split)[0].tolist())


def test_labels_are_balanced(scenes):
    counts = np.bincount(scenes.labels, minlength=len(CLASS_NAMES))
    assert len(counts) == len(CLASS_NAMES) == 5
    assert counts.min() > 150 and counts.max() < 250  # 200 each, 12.6 standard deviation


def test_boxes_lie_close_to_the_ink(noiseless):
    for image, box in zip(noiseless.images[..., 0], noiseless.boxes, strict=True):
        top, left, bottom, right = box
        ink = image[top:bottom, left:right] > 0
        assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any()
        assert 14 <= bottom - top <= 20 and 4 <= right - left <= 20


def test_all_ink_lies_in_the_boxes(noiseless):
    everything = np.concatenate([noiseless.boxes[:, None], noiseless.distractors], axis=1)
    for image, boxes in zip(noiseless.images[..., 0].copy(), everything, strict=True):
        for top, left, bottom, right in boxes:
            assert image[top:bottom, left:right].sum() > 5 or not bottom
            image[top:bottom, left:right] = 0
        assert not image.any()


def test_the_box_holds_a_digit_of_the_label(noiseless):
    """Each target is, up to contrast, one of the enlarged digits of its class, and of no other."""
    classes = module._load()[1]
    tiles = [(t, c) for row in module._digit_tiles() for t, c in zip(row, classes, strict=True)]
    for image, (top, left, bottom, right), label in list(
        zip(noiseless.images[..., 0], noiseless.boxes, noiseless.labels, strict=True)
    )[:40]:
        crop = image[top:bottom, left:right]
        same = [(t, c) for t, c in tiles if t.shape == crop.shape]
        found = {int(c) for t, c in same if np.abs(crop / crop.max() - t / t.max()).max() < 1e-5}
        assert found == {label}


def test_nothing_overlaps(scenes):
    boxes = np.concatenate([scenes.boxes[:, None], scenes.distractors], axis=1)
    low, high = boxes[..., :2], boxes[..., 2:]
    for i in range(boxes.shape[1]):
        for j in range(i):
            apart = (low[:, i] >= high[:, j] + 2) | (low[:, j] >= high[:, i] + 2)
            absent = (high[:, i, 0] == 0) | (high[:, j, 0] == 0)
            assert (apart.any(axis=1) | absent).all()
    assert boxes.min() >= 0 and boxes.max() <= SIZE


def test_targets_and_distractors_look_alike(scenes):
    """Neither size nor brightness nor place tells the target from the digits beside it."""
    target, digits = scenes.boxes, scenes.distractors[:, :3].reshape(-1, 4)
    digits = digits[digits[:, 2] > 0]
    heights = [(b[:, 2] - b[:, 0]).mean() for b in (target, digits)]
    assert abs(heights[0] - heights[1]) < 0.5
    assert len(digits) > 2950  # nearly all find room
    centres = (target[:, :2] + target[:, 2:]) / 2
    np.testing.assert_allclose(centres.mean(axis=0), SIZE / 2, atol=2)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0),
        (-1, 0),
        (2.0, 0),
        (True, 0),
        ("3", 0),
        (1, -1),
        (1, None),
        (1, 0.5),
        (1, 0, "validation"),
        (1, 0, None),
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(TfsalError, match="must be"):
        digit_scenes(*arguments)


def test_one_scene_and_numpy_integers():
    scenes = digit_scenes(np.int64(1), np.int32(0), "test")
    assert scenes.images.shape == (1, SIZE, SIZE, 1)


def test_missing_scikit_learn_names_the_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install"):
        module._load.__wrapped__()
