"""tfsal.demo.model: a few steps only; `tfsal demo` itself measures what full training reaches."""

import keras
import numpy as np
import pytest

from tfsal.demo import model as module
from tfsal.demo.scenes import CLASS_NAMES, digit_scenes
from tfsal.errors import TfsalError


def weights(model):
    return [np.array(w) for w in model.get_weights()]


def test_the_network():
    model = module.build()
    assert model.input.name == "image" and model.input.shape == (None, 64, 64, 1)
    assert model.layers[-1].name == "predictions"
    assert model.output.shape == (None, len(CLASS_NAMES))
    assert model.get_layer(module.LAST_CONV).output.shape == (None, 16, 16, 48)
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


def test_a_short_training_learns_repeats_and_keeps_quiet(capfd):
    steps = []
    train = {"epochs": 2, "scenes_per_epoch": 200, "seed": 3}
    model = module.train(**train, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i, 8) for i in range(1, 9)]  # 3 full batches and one of 8 scenes, twice
    assert "".join(capfd.readouterr()) == ""
    for mine, again in zip(weights(model), weights(module.train(**train)), strict=True):
        np.testing.assert_allclose(mine, again, rtol=1e-4, atol=1e-5)
    fresh = weights(module.build(seed=3))
    assert not np.array_equal(fresh[0], weights(model)[0])
    assert not np.array_equal(fresh[0], weights(module.build(seed=4))[0])


def test_accuracy_counts_the_right_answers():
    scenes = digit_scenes(50, 0)
    model = module.build()
    *others, kernel, bias = model.get_weights()
    model.set_weights([*others, kernel * 0, np.eye(5)[2]])  # says "two" to everything
    assert module.accuracy(model, scenes) == pytest.approx(np.mean(scenes.labels == 2))


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"scenes_per_epoch": 0}, {"seed": -1}])
def test_bad_arguments(bad):
    with pytest.raises(TfsalError, match="must be"):
        module.train(**{"epochs": 1, "scenes_per_epoch": 8, **bad})


@pytest.mark.slow
def test_full_training_finds_the_digits():
    model = module.train()
    assert module.accuracy(model, digit_scenes(1000, 1, "test")) > 0.97
