"""The methods as a table, for the terminal and for docs/methods.md."""

import dataclasses

from tfsal.methods.base import Method, list_methods


def rows():
    """Returns (name, class name, first line of its docs, cost, hyperparameters) of each method."""
    table = []
    for name, kind in list_methods().items():
        fields = [f for f in dataclasses.fields(kind) if f.name != "target"]
        settings = [f"{f.name}={_shown(f.default)}" for f in fields]
        summary = kind.__doc__.strip().splitlines()[0]
        table.append((name, kind.__name__, summary, kind.cost, settings))
    return table


def _shown(value):
    return value.name if isinstance(value, Method) else value


def text():
    """Returns the methods as text of at most 80 columns."""
    lines = []
    for name, kind, summary, cost, settings in rows():
        lines.append(f"{name} ({kind})")
        lines.append(f"  {summary}")
        lines.append(f"  cost: {cost}")
        lines.append(f"  {', '.join(settings)}")
    return "\n".join(lines)


def markdown_table():
    """Returns the methods as a Markdown table."""
    lines = ["| name | class | what it is | cost | hyperparameters |", "|---|---|---|---|---|"]
    for name, kind, summary, cost, settings in rows():
        listed = ", ".join(f"`{s}`" for s in settings)
        lines.append(f"| `{name}` | `{kind}` | {summary} | {cost} | {listed} |")
    return "\n".join(lines)
