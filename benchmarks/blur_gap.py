"""How exact BlurIG is: rules and spacings against steps, on two trained networks.

The gap is the sum of the attribution minus the change of the score from the widest blur, over that
change (or a thousandth of the score, where the change is smaller). Run with
`python -m benchmarks.blur_gap`.
"""

import argparse

from benchmarks.completeness import networks
from benchmarks.timing import machine
from tfsal.quiet import import_tensorflow

SPACINGS = ("linear", "variance", "logarithmic")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=96, help="a multiple of 8")
    parser.add_argument("--epochs", type=int, default=4, help="of the demonstration's network")
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--rules", nargs="+", default=["midpoint", "gauss_legendre", "trapezoid"])
    options = parser.parse_args()
    import_tensorflow()
    print(machine())
    for name, (model, images) in networks(options).items():
        report(name, model, images, options)


def report(name, model, images, options):
    """Prints the median and the 90th percentile of the gap for every rule and spacing."""
    import numpy as np

    import tfsal

    net = tfsal.load(model)

    def gaps(method):
        answer = method.explain(net, images, internal_batch_size=len(images))
        gap = answer.extras["completeness_gap"].numpy()
        change = answer.attribution.numpy().sum((1, 2, 3)) - gap
        relative = np.abs(gap) / np.maximum(np.abs(change), 1e-3 * np.abs(answer.score))
        return f"{np.median(relative):.4f} {np.quantile(relative, 0.9):.3f}"

    print(f"\n{name}: {len(images)} images; relative gap, median and 90th percentile")
    print(f"  pair, its 100 steps           {gaps(tfsal.BlurIG(rule='pair', steps=100))}")
    for rule in options.rules:
        for spacing in SPACINGS:
            line = (
                f"{steps}: {gaps(tfsal.BlurIG(steps=steps, rule=rule, spacing=spacing))}"
                for steps in options.steps
            )
            print(f"  {rule:14} {spacing:14} {'   '.join(line)}")


if __name__ == "__main__":
    main()
