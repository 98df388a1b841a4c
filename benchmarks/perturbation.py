"""What Occlusion, RISE and Score-CAM cost beside so many predictions, and beside other libraries.

MobileNetV2, random weights. The floor is the number of masks times the best time of one prediction
per image, over batch sizes. PAIR's Occlusion moves its patch by one pixel, so it is compared on a
smaller image, with our compiled model as its function. Run with `python -m benchmarks.perturbation`
(`make bench` installs the other libraries).
"""

import argparse
import importlib.util
import statistics

from benchmarks.timing import interleaved, machine, ratio
from tfsal.quiet import import_tensorflow

LAYER, CHANNELS = "block_6_project_BN", 64


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--small", type=int, default=40, help="size of the image for PAIR's library"
    )
    parser.add_argument("--masks", type=int, default=400)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import_tensorflow()
    print(machine())
    report(options)
    if importlib.util.find_spec("saliency"):
        against_pair(options)


def network(size):
    """(Keras model, ModelGraph, one image)."""
    import keras
    import numpy as np

    import tfsal

    shape = (size, size, 3)
    model = keras.applications.MobileNetV2(weights=None, input_shape=shape)
    return model, tfsal.load(model), np.random.default_rng(0).random((1, *shape), np.float32)


def report(options):
    """Prints the time of each contender, and its ratio to the floor."""
    import numpy as np
    import tensorflow as tf

    import tfsal

    model, net, image = network(options.size)
    patch = options.size // 7
    patches = len(range(0, options.size - patch + 1, patch // 2)) ** 2
    predict = tf.function(net.as_function())
    evaluations = {}
    contenders = {}
    for batch in options.batches:
        x = tf.constant(np.repeat(image, batch, axis=0))
        contenders[f"prediction, batch {batch}"] = lambda x=x: predict(x)
    ours = {
        "Occlusion": (tfsal.Occlusion(patch=patch, stride=patch // 2), patches),
        "RISE": (tfsal.RISE(masks=options.masks), options.masks),
        "ScoreCAM": (tfsal.ScoreCAM(LAYER), CHANNELS),
    }
    for name, (method, count) in ours.items():
        contenders[name] = lambda m=method: m(net, image, 0).numpy()
        evaluations[name] = count
    for name, run in peers(model, image, patch, options.masks).items():
        contenders[name] = run
        evaluations[name] = evaluations[name.split()[-1]]
    seconds = interleaved(contenders, options.rounds, warmup=1)
    floor = min(
        statistics.median(seconds[f"prediction, batch {batch}"]) / batch
        for batch in options.batches
    )
    print(f"\nMobileNetV2, {options.size} x {options.size}, medians of {options.rounds} rounds")
    for name, times in seconds.items():
        line = f"  {name:24} {statistics.median(times) * 1e3:10.1f} ms"
        if name in evaluations:
            line += f"   {statistics.median(times) / floor / evaluations[name]:6.2f} x the floor"
        if " " in name and name in evaluations:
            line += f"   {ratio(seconds, name, name.split()[-1]):6.2f} x ours"
        print(line, flush=True)


def peers(model, image, patch, masks):
    """{"LIBRARY METHOD": callable} of the other libraries that are installed."""
    found = {}
    if importlib.util.find_spec("xplique"):
        import tensorflow as tf
        from xplique.attributions import Occlusion, Rise

        target = tf.one_hot([0], 1000)
        occlusion = Occlusion(
            model, batch_size=32, patch_size=patch, patch_stride=patch // 2, occlusion_value=0.0
        )
        rise = Rise(model, batch_size=32, nb_samples=masks, grid_size=7)
        found["xplique Occlusion"] = lambda: occlusion.explain(image, target)
        found["xplique RISE"] = lambda: rise.explain(image, target)
    if importlib.util.find_spec("tf_keras_vis"):
        from tf_keras_vis.scorecam import Scorecam
        from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
        from tf_keras_vis.utils.scores import CategoricalScore

        vis = Scorecam(model, model_modifier=ReplaceToLinear(), clone=True)
        score = CategoricalScore([0])
        found["tf-keras-vis ScoreCAM"] = lambda: vis(score, image, penultimate_layer=LAYER)
    return found


def against_pair(options):
    """Prints the time of PAIR's Occlusion, given the compiled model, and of ours."""
    import saliency.core as pair
    import tensorflow as tf

    import tfsal

    _, net, image = network(options.small)
    predict = tf.function(net.as_function())

    def call(x, call_model_args=None, expected_keys=None):
        scores = next(iter(predict(tf.constant(x, tf.float32)).values()))
        return {pair.base.OUTPUT_LAYER_VALUES: scores.numpy()[:, 0]}

    ours = tfsal.Occlusion(
        patch=15, stride=1, normalize=False, target=tfsal.ClassScore(logits=False)
    )
    seconds = interleaved(
        {
            "tfsal": lambda: ours(net, image, 0).numpy(),
            "PAIR": lambda: pair.Occlusion().GetMask(image[0], call),
        },
        options.rounds,
        warmup=1,
    )
    times = {k: f"{statistics.median(v) * 1e3:.0f} ms" for k, v in seconds.items()}
    print(f"\nOcclusion 15 x 15 by 1, {options.small} x {options.small}, compiled model")
    print(f"  {times}; PAIR's is {ratio(seconds, 'PAIR', 'tfsal'):.2f} x ours")


if __name__ == "__main__":
    main()
