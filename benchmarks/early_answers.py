"""How many samples a tolerance takes, and how near the map then is to that of all samples.

On the networks of benchmarks/completeness.py. Run with `python -m benchmarks.early_answers`.
"""

import argparse
import dataclasses
import warnings

from benchmarks.completeness import networks, split
from benchmarks.timing import machine
from tfsal.quiet import import_tensorflow


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24, help="a multiple of 8")
    parser.add_argument("--epochs", type=int, default=4, help="of the demonstration's network")
    parser.add_argument("--tolerance", type=float, nargs="+", default=[0.2, 0.1, 0.05])
    options = parser.parse_args()
    import_tensorflow()
    warnings.simplefilter("ignore")  # Not reached is a column of the table.
    print(machine())
    import tfsal

    probability = tfsal.ClassScore(logits=False)
    methods = [tfsal.RISE(masks=4000, target=probability), tfsal.SmoothGrad(samples=1000)]
    for name, (model, images) in networks(options).items():
        net, batches = tfsal.load(model), split(images)
        for method in methods:
            most = getattr(method, method.limit)
            print(f"\n{name}, {method.name}, {len(images)} images, at most {most}")
            report(net, batches, method, options.tolerance)


def report(net, batches, method, tolerances):
    """Prints a row for each tolerance."""
    import numpy as np

    whole = maps(explained(net, batches, method))
    for tolerance in tolerances:
        answers = explained(net, batches, dataclasses.replace(method, tolerance=tolerance))
        used, reached = (
            np.concatenate([a.extras[name] for a in answers])
            for name in ("samples_used", "tolerance_reached")
        )
        alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(maps(answers), whole, strict=True)]
        print(
            f"  tolerance {tolerance}: {np.mean(reached):.0%} reached; samples: median "
            f"{np.median(used):.0f}, mean {used.mean():.0f}, {used.min()} to {used.max()}; "
            f"correlation with the map of all: median {np.median(alike):.3f}, "
            f"least {np.min(alike):.3f}"
        )


def explained(net, batches, method):
    """Explanations of the batches, the probability or logit of the best class of each image.

    Seeds differ: maps of the same samples would be alike because of these.
    """
    seed = 0 if method.tolerance is None else 1
    return [method.explain(net, batch, seed=seed, internal_batch_size=256) for batch in batches]


def maps(answers):
    """[images, values]."""
    import numpy as np

    found = np.concatenate([a.attribution for a in answers])
    return found.reshape(len(found), -1)


if __name__ == "__main__":
    main()
