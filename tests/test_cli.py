"""The command line, as a person types it."""

import csv
import json
import os
import subprocess
import sys

import click.testing
import keras
import numpy as np
import pytest
from PIL import Image

import tfsal
from tfsal import cli
from tfsal.serving import Preprocess


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A small image model as a SavedModel."""
    keras.utils.set_random_seed(3)
    image = keras.Input((24, 24, 3), name="image")
    x = keras.layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax", name="head")(x))
    path = tmp_path_factory.mktemp("cli") / "model"
    model.export(path, verbose=False)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images as people have them: gray, CMYK, 16 bit, rotated by EXIF, and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 80, (40, 30, 3), np.uint8)
    pixels += np.linspace(0, 170, 40, dtype=np.uint8)[:, None, None]
    Image.fromarray(pixels).save(folder / "rgb.png")
    Image.fromarray(pixels[..., 0]).save(folder / "gray.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "rotated.jpg", exif=exif)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not really")
    (folder / "notes.txt").write_text("no image")
    return folder


def run(*arguments):
    return click.testing.CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_layers_shows_names_shapes_and_the_default_layer(model_dir):
    result = run("layers", model_dir)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if "default layer" in line]
    assert line.split()[0] == "second" and "N x 20 x 20 x 8" in line


def test_explain_writes_everything_and_reports_what_it_skipped(model_dir, photos, tmp_path):
    out = tmp_path / "maps"
    result = run(
        *("explain", model_dir, photos, "--out", out, "--scale", 1 / 255, "--batch-size", 2),
        *("--method", "gradcam:relu=false", "--method", "vanilla_gradient"),
    )
    assert result.exit_code == 1
    assert "5 of 6 images explained" in result.output and "Skipped" in result.output
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [r["method"] for r in rows].count("gradcam") == 5
    assert len({r["image"] for r in rows}) == 5
    net = tfsal.load(model_dir)
    row = next(r for r in rows if r["image"].endswith("rgb.png") and r["method"] == "gradcam")
    prepared = Preprocess(size=(24, 24), scale=1 / 255)(np.asarray(Image.open(row["image"])))
    expected = tfsal.GradCAM(relu=False).explain(net, prepared[None])
    np.testing.assert_allclose(
        np.load(out / row["attribution"]), expected.attribution[0], rtol=1e-4, atol=1e-7
    )
    assert int(row["class_index"]) == int(expected.class_index[0])
    assert Image.open(out / row["overlay"]).size == (24, 24)
    assert not list(out.glob("*.part"))


def test_explain_turns_an_image_as_its_exif_says(model_dir, photos, tmp_path):
    run("explain", model_dir, photos / "rotated.jpg", "--out", tmp_path)
    overlay = np.asarray(Image.open(tmp_path / "rotated.gradcam.png").convert("L"), float)
    across, down = overlay[:, :8].mean() - overlay[:, -8:].mean(), overlay[:8].mean()
    assert across > 50 > abs(down - overlay[-8:].mean())  # the file itself is dark at its top


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "gradcamm"), "There is no method 'gradcamm'"),
        (("--method", "gradcam:colour=1"), "no hyperparameter 'colour'"),
        (("--layer", "secnd"), "Nearest names: second"),
        (("--class-index", "9"), "classes go from 0 to 3"),
        (("--resize", "big"), "--resize takes HEIGHTxWIDTH"),
        (("--mean", "a,b,c"), "--mean takes numbers"),
        (("--preprocess", "resnet99"), "There is no preprocessing named 'resnet99'"),
        (("--target", "loss"), "--target is class or region"),
        (("--signature", "nope"), "has no signature 'nope'"),
        (("--op-library", "no.so"), "'no.so' cannot be loaded"),
        (("--channels", "gray"), "does not fit the model, which takes 3 channels"),
    ],
)
def test_explain_says_what_is_wrong(model_dir, photos, tmp_path, arguments, said):
    result = run("explain", model_dir, photos / "rgb.png", "--out", tmp_path, *arguments)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("scores*"))


def test_explain_of_nothing(model_dir, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no image" in run("explain", model_dir, tmp_path / "empty", "--out", "x").output
    assert "is no file" in run("explain", model_dir, tmp_path / "*.png", "--out", "x").output


def test_export_then_check(model_dir, tmp_path):
    bundle = tmp_path / "served" / "1"
    result = run(
        *("export", model_dir, bundle, "--method", "gradcam", "--method", "layercam:layer=first"),
        *("--preprocess", "mobilenet_v2"),
    )
    assert result.exit_code == 0, result.output
    contract = json.loads((bundle / "assets.extra" / "tfsal.json").read_text())
    assert contract["signatures"]["layercam"]["layer"] == "first"
    assert contract["preprocess"]["scale"] == pytest.approx(1 / 127.5)
    assert run("check", bundle).exit_code == 0
    again = run("export", model_dir, bundle)
    assert again.exit_code == 1 and "--overwrite" in again.output
    with (bundle / "variables" / "variables.data-00000-of-00001").open("r+b") as file:
        file.write(b"\x01\x02\x03")
    checked = run("check", bundle)
    assert checked.exit_code == 1 and "was changed after the export" in checked.output


def test_methods_lists_the_registry():
    result = run("methods")
    for name, kind in tfsal.list_methods().items():
        assert f"{name} ({kind.__name__})" in result.output


def test_docs_table_is_up_to_date(request):
    docs = (request.config.rootpath / "docs" / "methods.md").read_text()
    assert run("methods", "--markdown").output.strip() in docs


def test_a_process_shows_no_noise(model_dir):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-m", "tfsal", "layers", str(model_dir)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0 and done.stderr == ""


def test_help_does_not_wait_for_tensorflow():
    code = "import sys; from tfsal.cli import main\ntry: main(['explain', '--help'])\n"
    code += "except SystemExit: assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
