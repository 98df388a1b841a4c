"""What Integrated Gradients and SmoothGrad cost beside so many input gradients.

ResNet50 and MobileNetV2 at 224 x 224, random weights. The floor is the number of steps times the
best time of one input gradient per image, over batch sizes and over graph and XLA; the methods run
as a call without options runs them. Run with
`python -m benchmarks.paths`; with the libraries of `benchmarks/peers.txt` installed beside, also
against them.
"""

import argparse
import importlib.util
import statistics

from benchmarks.timing import interleaved, machine
from tfsal.quiet import import_tensorflow


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["MobileNetV2", "ResNet50"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-xla", action="store_true")
    options = parser.parse_args()
    import_tensorflow()
    import keras
    import numpy as np

    print(machine())
    for name in options.models:
        shape = (options.size, options.size, 3)
        model = getattr(keras.applications, name)(weights=None, input_shape=shape)
        images = np.random.default_rng(0).random((max(options.batches), *shape), np.float32)
        report(name, model, images, options)


def report(name, model, images, options):
    """Prints the time per image of each contender, and its ratio to the floor."""
    import tfsal

    net = tfsal.load(model)
    largest = max(options.batches)
    executors = {"graph": False} if options.no_xla else {"graph": False, "XLA": True}
    contenders, evaluations, rows = {}, {}, {}

    def add(label, count, batch, run):
        contenders[label], evaluations[label], rows[label] = run, count, batch

    gradient = tfsal.VanillaGradient()
    for executor, jit in executors.items():
        for b in options.batches:
            add(
                f"gradient, {executor}, batch {b}",
                1,
                b,
                lambda j=jit, b=b: gradient(net, images[:b], 0, jit_compile=j).numpy(),
            )
    for label, method, count in (
        ("IG", tfsal.IntegratedGradients(steps=options.steps), options.steps),
        ("SmoothGrad", tfsal.SmoothGrad(samples=options.samples), options.samples),
    ):
        for b in sorted({1, largest}):
            add(
                f"{label} {count}, as called, batch {b}",
                count,
                b,
                lambda m=method, b=b: m(net, images[:b], 0).numpy(),
            )
    for label, run in peers(model, net, images[:1], options).items():
        add(label, options.steps, 1, run)
    seconds = interleaved(contenders, options.rounds, warmup=1)
    each = {k: statistics.median(v) / rows[k] for k, v in seconds.items()}
    floor = min(t for k, t in each.items() if evaluations[k] == 1)
    print(f"\n{name}, {options.size} x {options.size}: ms per image, medians of {options.rounds}")
    for label, time in each.items():
        ratio = time / (floor * evaluations[label])
        print(f"  {label:36} {time * 1e3:10.1f}   {ratio:6.2f} x the floor", flush=True)


def peers(model, net, images, options):
    """{label: callable} of the other libraries that are installed: the same steps, batch 1."""
    found = {}
    if importlib.util.find_spec("saliency"):
        import saliency.core as pair

        import tfsal

        method = tfsal.VanillaGradient()

        def call(x, call_model_args=None, expected_keys=None):
            gradients = method(net, x.astype("float32"), 0).numpy()
            return {pair.base.INPUT_OUTPUT_GRADIENTS: gradients}

        found[f"PAIR with our gradient, IG {options.steps}"] = lambda: (
            pair.IntegratedGradients().GetMask(images[0], call, x_steps=options.steps, batch_size=8)
        )
    if importlib.util.find_spec("xplique"):
        import tensorflow as tf
        from xplique.attributions import IntegratedGradients

        explainer = IntegratedGradients(model, steps=options.steps, batch_size=8)
        targets = tf.one_hot([0], 1000)
        found[f"xplique, IG {options.steps}"] = lambda: explainer.explain(images, targets)
    return found


if __name__ == "__main__":
    main()
