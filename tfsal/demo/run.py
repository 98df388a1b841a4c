"""The demonstration, from training to answers without Python."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from tfsal import kernels, visualize
from tfsal.demo.model import accuracy, train
from tfsal.demo.pointing import chance, hits, interval
from tfsal.demo.scenes import CLASS_NAMES, digit_scenes
from tfsal.graph import load
from tfsal.methods import list_methods
from tfsal.serving import export

_SHOWN = 6  # scenes on the contact sheet
_TEST_SEED = 1000003


def run(out, count):
    """Trains, exports, answers through tfsal_run, scores and draws.

    Args:
      out: pathlib.Path of a folder for the bundle, the answers and the pictures.
      count: number of held-out scenes to score on.
    """
    console = Console(highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    console.print("[bold]1. Train[/] a small CNN on scenes of handwritten digits")
    model = _train()
    scenes = digit_scenes(count, _TEST_SEED, "test")
    console.print(f"   {accuracy(model, scenes):.1%} right on {count} scenes it has not seen")
    bundle = out / "digit_finder" / "1"
    methods = _methods()
    console.print(f"[bold]2. Export[/] it with {len(methods)} explanations to {bundle}")
    export(load(model), bundle, methods, overwrite=True)
    answers = out / "answers"
    answers.mkdir(exist_ok=True)
    np.save(answers / "scenes.npy", scenes.images)
    np.save(answers / "labels.npy", scenes.labels)
    runner = kernels.runner_path()
    how = f"tfsal_run, {_megabytes(runner)} of C" if runner else "Python in a fresh process"
    console.print(f"[bold]3. Answer[/] {count} scenes with {how}")
    if not runner:
        console.print(f"   {kernels.native_hint()}", style="yellow")
    _answer(console, bundle, methods, answers, runner)
    console.print("[bold]4. Score[/] how often the strongest point of a map is on the digit")
    console.print(_scores(methods, answers, scenes))
    if {"gradcam", "hirescam"} <= methods.keys():
        console.print("   (This head averages positions, so gradcam is hirescam but for its ReLU.)")
    sheet = out / "overlays.png"
    _draw(methods, answers, scenes, sheet)
    console.print(f"[bold]5. Look[/] at {sheet}")


def _methods():
    """{name: Method}, those that take a few evaluations of the model; `make gallery` shows all."""
    return {name: kind() for name, kind in list_methods().items() if not kind.loops}


def _train():
    with tqdm(unit="step", desc="  ", disable=None, leave=False) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        return train(progress=progress)


def _megabytes(path):
    return f"{pathlib.Path(path).stat().st_size / 1024:.0f} kB"


def _answer(console, bundle, methods, answers, runner):
    for name in methods:
        folder = answers / name
        arguments = [
            *("--signature", name),
            *("--input", f"image={answers / 'scenes.npy'}"),
            *("--input", f"class_index={answers / 'labels.npy'}"),
            *("--output-dir", str(folder)),
        ]
        program = [str(runner)] if runner else [sys.executable, "-m", "tfsal.demo.answer"]
        start = time.perf_counter()
        done = subprocess.run(
            [*program, str(bundle), *arguments], capture_output=True, text=True, env=_environment()
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(program)} failed:\n{done.stderr}")
        seconds = time.perf_counter() - start
        report = json.loads(done.stdout)
        load_ms = report.get("load_ms")
        loading = f", {load_ms:.0f} ms of it loading" if load_ms else ""
        console.print(f"   {name:22} {seconds:5.2f} s{loading}")


def _environment():
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def point_maps(attribution, heatmap):
    """Maps [N, H, W] whose maximum is the place a method points at.

    An attribution at the input's resolution is taken as it is, because the clipping of its heatmap
    makes one percent of all pixels maximal.
    """
    if attribution.ndim == heatmap.ndim + 1:
        return np.abs(attribution).sum(-1)
    return attribution if attribution.shape == heatmap.shape else heatmap


def _scores(methods, answers, scenes):
    table = Table(box=None, pad_edge=False)
    table.add_column("   method")
    for column in ("on the digit", "95% interval", "chance", "times chance"):
        table.add_column(column, justify="right")
    luck = chance(scenes.boxes, scenes.images.shape[1:3])
    for name in methods:
        found = hits(_points(answers / name), scenes.boxes)
        low, high = interval(found)
        table.add_row(
            f"   {name}",
            f"{found.mean():.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{luck:.1%}",
            f"{found.mean() / luck:.1f}",
        )
    return table


def _points(folder):
    return point_maps(np.load(folder / "attribution.npy"), np.load(folder / "heatmap.npy"))


def _draw(methods, answers, scenes, sheet, scale=2):
    """A contact sheet: a row a scene with its true box, a column a method."""
    tile, gap, header = scenes.images.shape[1] * scale, 8, 22
    width = (tile + gap) * (len(methods) + 1) + gap
    image = Image.new("RGB", (width, header + (tile + gap) * _SHOWN), "white")
    draw = ImageDraw.Draw(image)
    rgb = np.repeat(scenes.images[:_SHOWN], 3, -1)
    columns = {"scene": (rgb * 255).astype("uint8")}
    for name in methods:
        heatmap = np.load(answers / name / "heatmap.npy")[:_SHOWN]
        columns[name] = visualize.overlay(rgb, heatmap).numpy()
    for x, (name, pictures) in enumerate(columns.items()):
        left = gap + x * (tile + gap)
        draw.text((left, 5), name, fill="black")
        for y, picture in enumerate(pictures):
            top = header + y * (tile + gap)
            image.paste(Image.fromarray(picture).resize((tile, tile), 0), (left, top))
            if name == "scene":
                y0, x0, y1, x1 = scenes.boxes[y] * scale
                box = (left + x0 - 1, top + y0 - 1, left + x1, top + y1)
                draw.rectangle(box, outline="#00c0a0", width=2)
                draw.text((left + 4, top + 3), CLASS_NAMES[scenes.labels[y]], fill="#00c0a0")
    image.save(sheet)
