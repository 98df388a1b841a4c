"""The demonstration from end to end, on a network that has hardly trained."""

import functools

import numpy as np
import pytest

import tfsal
from tfsal import kernels
from tfsal.demo import model, run


@pytest.fixture
def barely_trained(monkeypatch):
    brief = functools.partial(model.train, epochs=1, scenes_per_epoch=256)
    monkeypatch.setattr(run, "train", brief)
    chosen = (tfsal.GradCAM, tfsal.HiResCAM, tfsal.VanillaGradient)
    monkeypatch.setattr(run, "list_methods", lambda: {kind.name: kind for kind in chosen})


def answers(folder):
    return {str(f.relative_to(folder)): np.load(f) for f in sorted(folder.rglob("*.npy"))}


def test_same_answers_with_and_without_tfsal_run(barely_trained, tmp_path, monkeypatch, capsys):
    if kernels.runner_path():
        run.run(tmp_path / "native", 20)
        assert "Answer 20 scenes with tfsal_run" in capsys.readouterr().out
    monkeypatch.setenv("TFSAL_RUN", str(tmp_path / "none"))
    run.run(tmp_path / "python", 20)
    printed = capsys.readouterr().out
    assert "Python in a fresh process" in printed and "TFSAL_RUN" in printed
    assert "times chance" in printed and "gradcam is hirescam but for its ReLU" in printed
    assert (tmp_path / "python" / "overlays.png").stat().st_size > 10_000
    found = answers(tmp_path / "python" / "answers")
    assert found["gradcam/heatmap.npy"].shape == (20, 64, 64)
    before_relu = found["hirescam/attribution.npy"]
    np.testing.assert_allclose(
        found["gradcam/attribution.npy"], np.maximum(before_relu, 0), atol=1e-6
    )
    for name, value in answers(tmp_path / "native" / "answers").items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)


def test_the_point_of_an_input_attribution_is_not_clipped():
    attribution = np.zeros((1, 4, 4, 2))
    attribution[0, 1, 2] = (-3, 1)
    assert run.point_maps(attribution, np.ones((1, 4, 4))).argmax() == 6
    cam = np.zeros((1, 2, 2))
    heatmap = np.arange(16.0).reshape(1, 4, 4)
    assert run.point_maps(cam, heatmap) is heatmap
    full = np.arange(16.0, 0.0, -1).reshape(1, 4, 4)
    assert run.point_maps(full, heatmap) is full
