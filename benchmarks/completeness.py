"""How exact Integrated Gradients are: each rule against its steps, and steps that adapt.

On two trained networks, the demonstration's and one on scikit-learn's digits. The gap is the sum of
the attribution minus the change of the score, over the change of the score (or a thousandth of the
score, where the change is smaller). Rows are what the model computed, those of examples that were
done included, in batches of 8. With PAIR's library installed, also the time it takes to be as
exact. Run with `python -m benchmarks.completeness`.
"""

import argparse
import bisect
import importlib.util
import statistics

from benchmarks.timing import interleaved, machine, ratio
from tfsal.quiet import import_tensorflow

RULES = ("midpoint", "gauss_legendre", "trapezoid", "left", "right", "pair")
BATCH = 8
MOST_STEPS = 1024  # of PAIR's rule, when it is asked to be as exact


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=96, help="a multiple of 8")
    parser.add_argument("--epochs", type=int, default=4, help="of the demonstration's network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--share", type=float, default=0.95)
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=[4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 96, 128, 192, 256],
    )
    options = parser.parse_args()
    import_tensorflow()
    print(machine())
    for name, (model, images) in networks(options).items():
        report(name, model, images, options)
        if importlib.util.find_spec("saliency"):
            against_pair(model, images, options)


def networks(options):
    """{name: (trained Keras model, images it has not seen)}."""
    import keras
    import numpy as np
    from sklearn.datasets import load_digits

    from tfsal.demo.model import train
    from tfsal.demo.scenes import digit_scenes

    digits = load_digits()
    x, y = (digits.images[..., np.newaxis] / 16).astype("float32"), digits.target
    layers = keras.layers
    keras.utils.set_random_seed(0)
    small = keras.Sequential(
        [
            layers.Input([8, 8, 1]),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    small.compile("adam", "sparse_categorical_crossentropy")
    small.fit(x[:1300], y[:1300], epochs=15, batch_size=32, verbose=0)
    return {
        "scenes (demonstration)": (
            train(options.epochs),
            digit_scenes(options.images, 77, "test").images,
        ),
        "digits": (small, x[1300 : 1300 + options.images]),
    }


def split(images):
    """The images in batches."""
    return [images[i : i + BATCH] for i in range(0, len(images), BATCH)]


def change_of_score(net, batches):
    """[images] by how much the score changes from black to the image: gaps are relative to it."""
    import numpy as np

    import tfsal

    gradient = tfsal.VanillaGradient()
    answers = [gradient.explain(net, batch) for batch in batches]
    black = [
        gradient.explain(net, 0 * batch, answer.class_index).score
        for batch, answer in zip(batches, answers, strict=True)
    ]
    score = np.concatenate([answer.score for answer in answers])
    return np.maximum(np.abs(score - np.concatenate(black)), 1e-3 * np.abs(score))


def relative_gaps(answers, scale):
    """[images] of the Explanations of all batches."""
    import numpy as np

    return np.abs(np.concatenate([a.extras["completeness_gap"] for a in answers])) / scale


def report(name, model, images, options):
    """Prints the curve of every rule, and what adapting takes."""
    import numpy as np

    import tfsal

    net = tfsal.load(model)
    batches = split(images)
    scale = change_of_score(net, batches)

    def answers(method):
        return [method.explain(net, batch) for batch in batches]

    def gaps(found):
        return relative_gaps(found, scale)

    print(f"\n{name}: {len(images)} images; median relative gap, and share within the tolerance")
    enough = {}
    for rule in RULES:
        line = []
        for steps in options.steps:
            if steps == 1 and rule == "trapezoid":
                continue
            found = gaps(answers(tfsal.IntegratedGradients(steps=steps, rule=rule)))
            share = np.mean(found <= options.tolerance)
            line.append(f"{steps}: {np.median(found):.4f} {share:.0%}")
            if share >= options.share:
                enough.setdefault(rule, steps)
        needs = f"{options.share:.0%} at {enough[rule]}" if rule in enough else "not reached"
        print(f"  {rule:14} {needs:14} {'   '.join(line)}")
    adaptive = tfsal.IntegratedGradients(tolerance=options.tolerance)
    found = answers(adaptive)
    used = np.array([a.extras["evaluations"] for a in found])
    reached = np.mean(gaps(found) <= options.tolerance)
    rows = used.max(axis=1).mean()
    print(
        f"  adaptive       {reached:.1%} reached; gradients per image: mean {used.mean():.1f}, "
        f"median {np.median(used):.0f}, most {used.max()}; rows per image {rows:.1f}"
    )
    if not enough:
        return
    rule, steps = min(enough.items(), key=lambda item: item[1])
    fixed = tfsal.IntegratedGradients(steps=steps, rule=rule)
    methods = {"adaptive": adaptive, f"{rule}, {steps} steps": fixed}
    seconds = interleaved(
        {
            name: lambda method=method: [method(net, b).numpy() for b in batches]
            for name, method in methods.items()
        },
        options.rounds,
        warmup=1,
    )
    print(f"  rows: {rows / (steps + 2):.2f} of the best fixed rule's {steps + 2}")
    for name, times in seconds.items():
        each = statistics.median(times) / len(images)
        print(f"  {name:26} {each * 1e3:8.2f} ms an image")


def against_pair(model, images, options):
    """Prints the time of PAIR's library, given our compiled gradient, to be as exact as we are."""
    import numpy as np
    import saliency.core as pair

    import tfsal

    net = tfsal.load(model)
    batches = split(images)
    scale = change_of_score(net, batches)

    def gaps(method):
        return relative_gaps([method.explain(net, b) for b in batches], scale)

    gradient = tfsal.VanillaGradient()
    first = batches[0]
    classes = gradient.explain(net, first).class_index.numpy()

    def by_pair(steps):
        for image, index in zip(first, classes, strict=True):

            def call(x, call_model_args=None, expected_keys=None, index=index):
                gradients = gradient(net, x.astype("float32"), index).numpy()
                return {pair.base.INPUT_OUTPUT_GRADIENTS: gradients}

            pair.IntegratedGradients().GetMask(image, call, x_steps=steps, batch_size=BATCH)

    promises = {
        f"{options.share:.0%} within {options.tolerance}": lambda g: (
            np.mean(g <= options.tolerance) >= options.share
        )
    }
    ours = {next(iter(promises)): tfsal.IntegratedGradients(tolerance=options.tolerance)}
    for steps in (16, 50):
        method = tfsal.IntegratedGradients(steps=steps)
        median = np.median(gaps(method))
        label = f"median gap {median:.4f} ({steps} steps)"
        promises[label] = lambda g, median=median: np.median(g) <= median
        ours[label] = method
    for label, kept in promises.items():
        steps = bisect.bisect_left(
            range(MOST_STEPS),
            True,
            lo=2,
            key=lambda n: bool(kept(gaps(tfsal.IntegratedGradients(steps=n, rule="pair")))),
        )
        if steps == MOST_STEPS:
            print(f"  {label}: not reached by PAIR's rule in {MOST_STEPS} steps")
            continue
        seconds = interleaved(
            {
                "tfsal": lambda label=label: ours[label](net, first).numpy(),
                "PAIR": lambda steps=steps: by_pair(steps),
            },
            options.rounds,
            warmup=1,
        )
        times = {k: statistics.median(v) / BATCH * 1e3 for k, v in seconds.items()}
        print(
            f"  {label}: PAIR's library needs {steps} steps, {times['PAIR']:.2f} ms an image "
            f"against {times['tfsal']:.2f}: {ratio(seconds, 'PAIR', 'tfsal'):.1f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
