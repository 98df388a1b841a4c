"""A model as a table for a terminal."""

from tfsal.errors import TfsalError

_SHOWN = 12


def rows(net):
    """Returns (name, op, shape, dtype, note) for each layer of a ModelGraph, as text."""
    try:
        default = net.default_layer
    except TfsalError:
        default = None
    return [
        (
            layer.name,
            layer.op,
            shape_text(layer.shape),
            layer.dtype.name,
            "default layer" if layer.name == default else "",
        )
        for layer in net.layers()
    ]


def shape_text(shape):
    """Returns a static shape as text: 'N x 7 x 7 x 512'."""
    if shape.rank is None:
        return "?"
    sizes = ["?" if size is None else str(size) for size in shape]
    return " x ".join(["N" if sizes[0] == "?" else sizes[0], *sizes[1:]]) if sizes else "scalar"


def summary(net):
    """Returns the inputs, outputs and last layers of a ModelGraph as a table."""
    lines = [f"ModelGraph from {net.origin}"]
    for kind, infos in (("input", net.inputs.values()), ("output", net.outputs.values())):
        lines += [f"  {kind:7}{i.name}  {shape_text(i.shape)}  {i.dtype.name}" for i in infos]
    table = rows(net)
    lines.append(f"  {len(table)} layers, {len(net.variables)} variables")
    if len(table) > _SHOWN:
        lines.append(f"  ... {len(table) - _SHOWN} more: net.layers()")
    shown = table[-_SHOWN:]
    widths = [max((len(row[i]) for row in shown), default=0) for i in range(5)]
    for row in shown:
        lines.append(
            ("    " + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True))).rstrip()
        )
    return "\n".join(lines)
