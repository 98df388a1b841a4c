"""The command line: tfsal demo | layers | explain | export | check | methods."""

import ast
import dataclasses
import functools
import pathlib
import warnings

import click

from tfsal.version import __version__

_SOURCE_OPTIONS = (
    click.option("--signature", help="Signature of a SavedModel [default: serving_default]."),
    click.option(
        "--input", "inputs", multiple=True, metavar="TENSOR", help="Frozen graph: tensor to feed."
    ),
    click.option(
        "--output", "outputs", multiple=True, metavar="TENSOR", help="Frozen graph: result."
    ),
    click.option(
        "--feed",
        multiple=True,
        metavar="TENSOR=VALUE",
        help="Frozen graph: constant for another placeholder, as is_training:0=false.",
    ),
    click.option(
        "--op-library",
        "libraries",
        multiple=True,
        metavar="FILE",
        help="Library of custom ops that the model needs.",
    ),
)

_METHOD_OPTION = click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="A method, as gradcam or layercam:relu=false; repeat for several. `tfsal methods` "
    "lists them.  [default: gradcam]",
)

_LAYER_OPTION = click.option(
    "--layer", help="Layer of the class activation maps [default: the last one with positions]."
)

_TARGET_OPTION = click.option(
    "--target",
    default="class",
    show_default=True,
    metavar="class|region[:OUTPUT]",
    help="Score to explain: a class, or a class over all positions of a segmentation; of the "
    "output named, where the model has several.",
)

_PREPROCESS_OPTIONS = (
    click.option(
        "--preprocess",
        "application",
        metavar="NAME",
        help="Preprocessing of a Keras application, as resnet50 or mobilenet_v2.",
    ),
    click.option("--scale", type=float, help="Factor for pixels, which are 0 to 255."),
    click.option("--mean", help="Subtracted after --scale: one number, or one a channel."),
    click.option("--std", help="Divides after --mean: one number, or one a channel."),
    click.option(
        "--channels", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of the channels."
    ),
    click.option(
        "--resize", metavar="HxW", help="Size of the images [default: what the model takes]."
    ),
)


def _with(options):
    def decorate(command):
        return functools.reduce(lambda c, option: option(c), reversed(options), command)

    return decorate


class _Command(click.Command):
    """Shows errors of tfsal as one line, and keeps TensorFlow quiet."""

    def invoke(self, ctx):
        from tfsal.errors import TfsalError
        from tfsal.quiet import import_tensorflow

        import_tensorflow()
        warnings.showwarning = lambda message, *_: click.echo(f"Warning: {message}", err=True)
        try:
            return super().invoke(ctx)
        except TfsalError as error:
            raise click.ClickException(str(error)) from error


class _Group(click.Group):
    command_class = _Command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tfsal")
def main():
    """Explain what a TensorFlow model saw, and where it looked.

    \b
    tfsal layers my_model/
    tfsal explain my_model/ photos/ --method gradcam --out maps/
    tfsal export my_model/ served/my_model/1 --method gradcam
    """


@main.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path))
@_with(_SOURCE_OPTIONS)
def layers(model, **source):
    """List the inputs, outputs and layers of MODEL.

    \b
    Example: tfsal layers my_model/
    """
    from rich.console import Console
    from rich.table import Table

    from tfsal.graph.summary import rows, shape_text

    net = _load(model, **source)
    click.echo(f"{net.origin}")
    for kind, infos in (("input", net.inputs), ("output", net.outputs)):
        for info in infos.values():
            click.echo(f"  {kind:6} {info.name}  {shape_text(info.shape)}  {info.dtype.name}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("layer", "op", "shape", "dtype", ""):
        table.add_column(column, no_wrap=column == "shape", overflow="fold")
    for row in rows(net):
        table.add_row(*row, style="bold" if row[-1] else None)
    Console().print(table)


@main.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path))
@click.argument("images", nargs=-1, required=True)
@_METHOD_OPTION
@click.option("--out", type=click.Path(path_type=pathlib.Path), required=True, help="Folder.")
@_LAYER_OPTION
@_TARGET_OPTION
@click.option("--class-index", type=int, default=-1, help="Class to explain; -1 is the top one.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--colormap", default="inferno", show_default=True, help="A matplotlib colormap.")
@_with(_PREPROCESS_OPTIONS)
@_with(_SOURCE_OPTIONS)
def explain(model, images, methods, out, layer, target, class_index, batch_size, colormap, **rest):
    """Explain IMAGES (files, folders or globs) with MODEL.

    Writes an overlay and the raw map of each image and method, and scores.csv. Images that cannot
    be read are reported and skipped, and the exit code is then 1.

    \b
    Example: tfsal explain my_model/ photos/ --scale 0.00392 --out maps/
    """
    from tfsal import folder

    preprocess, source = _preprocess_of(rest)
    paths = folder.find_images(images)
    chosen = _methods_of(methods, layer, target)
    net = _load(model, **source)
    results = folder.explain_images(
        net, paths, chosen, out, preprocess, class_index, batch_size, colormap
    )
    click.echo(f"{results.done} of {len(paths)} images explained: {out / 'scores.csv'}")
    for path, reason in results.failed:
        click.echo(f"Skipped {path}: {reason}", err=True)
    if results.failed:
        raise SystemExit(1)


@main.command()
@click.argument("model", type=click.Path(path_type=pathlib.Path))
@click.argument("bundle", type=click.Path(path_type=pathlib.Path))
@_METHOD_OPTION
@_LAYER_OPTION
@_TARGET_OPTION
@click.option("--overwrite", is_flag=True, help="Replace a SavedModel that is there.")
@click.option(
    "--warmup", type=click.IntRange(1), multiple=True, help="Batch size to warm up; repeatable."
)
@click.option(
    "--rewrite-default",
    is_flag=True,
    help="Make serving_default of plain ops where the model's own needs XLA.",
)
@_with(_PREPROCESS_OPTIONS)
@_with(_SOURCE_OPTIONS)
def export(model, bundle, methods, layer, target, overwrite, warmup, rewrite_default, **rest):
    """Write MODEL with its explanations as the SavedModel BUNDLE.

    \b
    Example: tfsal export my_model/ served/my_model/1 --method gradcam
    """
    from tfsal.serving import Preprocess
    from tfsal.serving import export as write
    from tfsal.serving.contract import read_contract

    preprocess, source = _preprocess_of(rest)
    net = _load(model, **source)
    write(
        net,
        bundle,
        _methods_of(methods, layer, target),
        preprocess=None if preprocess == Preprocess() else preprocess,
        warmup_batch_sizes=warmup,
        overwrite=overwrite,
        rewrite_default=rewrite_default,
    )
    click.echo(f"{bundle} answers:")
    for name, signature in read_contract(bundle)["signatures"].items():
        where = f" at {signature['layer']}" if signature.get("layer") else ""
        click.echo(f"  {name}{where}; runs on {', '.join(signature['host'])}")


@main.command()
@click.argument("bundle", type=click.Path(path_type=pathlib.Path))
def check(bundle):
    """Check that BUNDLE is as exported and answers.

    \b
    Example: tfsal check served/my_model/1
    """
    from tfsal.serving import check as run

    findings = run(bundle)
    for finding in findings:
        mark = "FAIL" if finding.problem else "ok"
        click.echo(f"{mark:5} {finding.subject}: {finding.problem or finding.detail}")
    if any(finding.problem for finding in findings):
        raise SystemExit(1)


@main.command()
@click.option("--markdown", is_flag=True, help="As a table for the docs.")
def methods(markdown):
    """List the methods and their hyperparameters.

    \b
    Example: tfsal methods
    """
    from tfsal.methods.docs import markdown_table, text

    click.echo(markdown_table() if markdown else text())


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=pathlib.Path),
    default="tfsal-demo",
    show_default=True,
    help="Folder for the bundle and the pictures.",
)
@click.option("--scenes", type=click.IntRange(10), default=500, show_default=True)
def demo(out, scenes):
    """Train a small model, export it, answer without Python, and score the maps.

    \b
    Example: tfsal demo --out tfsal-demo
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise click.ClickException(
            "The demo's digits come with scikit-learn: pip install 'tfsal[demo]'"
        ) from error
    from tfsal.demo.run import run

    run(out, scenes)


def _load(model, signature, inputs, outputs, feed, libraries):
    import tensorflow as tf

    from tfsal.graph import load

    for library in libraries:
        try:
            tf.load_op_library(library)
        except (tf.errors.NotFoundError, OSError) as error:
            raise click.ClickException(f"'{library}' cannot be loaded: {error}") from error
    constants = dict(_assignment(text, "--feed") for text in feed)
    return load(
        model,
        signature=signature,
        inputs=list(inputs) or None,
        outputs=list(outputs) or None,
        constants=constants or None,
    )


def _assignment(text, option):
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{option} takes NAME=VALUE, not '{text}'.")
    return name, _literal(value)


def _literal(text):
    """Python literals and lower-case true, false, none; anything else is a string."""
    try:
        return ast.literal_eval({"true": "True", "false": "False", "none": "None"}[text.lower()])
    except KeyError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _methods_of(texts, layer, target):
    """{signature name: Method} of --method options."""
    from tfsal.errors import MethodError
    from tfsal.methods import ClassScore, RegionScore, get_method

    kind, _, output = target.partition(":")
    kinds = {"class": ClassScore, "region": RegionScore}
    if kind not in kinds:
        raise click.UsageError(f"--target is class or region, not '{kind}'.")
    goal = kinds[kind](output=output or None)
    chosen = {}
    for text in texts or ("gradcam",):
        name, _, settings = text.partition(":")
        kind = get_method(name)
        fields = {f.name: f for f in dataclasses.fields(kind) if f.name != "target"}
        values = {"layer": layer} if layer and "layer" in fields else {}
        for key, value in (_assignment(s, "--method") for s in _split(settings)):
            if key not in fields:
                raise MethodError(
                    f"{name} has no hyperparameter '{key}'. It has: {', '.join(fields)}."
                )
            values[key] = value
        chosen[name if name not in chosen else f"{name}_{len(chosen)}"] = kind(
            target=goal, **values
        )
    return chosen


def _split(settings):
    """Splits at commas that are not inside brackets: 'a=1,b=(2,3)'."""
    parts, depth, current = [], 0, ""
    for character in settings:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [p for p in (*parts, current) if p]


def _preprocess_of(options):
    """Takes the preprocessing options out -> (Preprocess, the other options)."""
    from tfsal.serving import Preprocess

    size = options.pop("resize")
    if size is not None:
        height, _, width = size.lower().partition("x")
        if not (height.isdigit() and (width or height).isdigit()):
            raise click.UsageError(f"--resize takes HEIGHTxWIDTH, as 224x224, not '{size}'.")
        size = (int(height), int(width or height))
    application = options.pop("application")
    values = {k: options.pop(k) for k in ("scale", "mean", "std", "channels")}
    given = {k: v for k, v in values.items() if v is not None}
    for key in ("mean", "std"):
        if key in given:
            numbers = [_literal(part) for part in given[key].split(",")]
            if not all(isinstance(n, (int, float)) for n in numbers):
                raise click.UsageError(f"--{key} takes numbers, as 0.5 or 0.4,0.5,0.6.")
            given[key] = numbers[0] if len(numbers) == 1 else tuple(numbers)
    base = Preprocess.named(application, size) if application else Preprocess(size=size)
    return dataclasses.replace(base, **given), options
