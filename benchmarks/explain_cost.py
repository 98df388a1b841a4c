"""What Grad-CAM costs beside the prediction: ResNet50 at 224 x 224, random weights.

The floor is the forward pass: the gradient from the logit to the last convolution is a pooling and
a matrix product. Run with `make bench`.
"""

import argparse
import importlib.util
import pathlib
import statistics
import tempfile
import time

from benchmarks.timing import interleaved, machine, ratio
from tfsal.quiet import import_tensorflow


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    import_tensorflow()
    import keras
    import numpy as np

    import tfsal

    print(machine())
    model = keras.applications.ResNet50(weights=None, input_shape=(options.size, options.size, 3))
    images = np.random.default_rng(0).random((8, options.size, options.size, 3), np.float32)
    net = tfsal.load(model)
    start = time.perf_counter()
    tfsal.GradCAM()(net, images[:1]).numpy()
    print(f"first Grad-CAM call, tracing included, no XLA: {time.perf_counter() - start:.2f} s")
    print(f"traces for batch sizes 1, 2 and 8: {count_traces(net, images)}")
    with tempfile.TemporaryDirectory() as folder:
        bundle = tfsal.export(net, pathlib.Path(folder) / "1", {"gradcam": tfsal.GradCAM()})
        print(f"convolution gradients in the gradcam signature: {backward_ops(bundle)}")
        for batch in (1, 8):
            report(bundle, model, images[:batch], options.rounds)


def count_traces(net, images):
    """Number of times that GradCAM is traced for three batch sizes."""
    import dataclasses

    import tfsal

    traced = []

    @dataclasses.dataclass(frozen=True)
    class Counted(tfsal.GradCAM):
        def combine(self, activations, gradients):
            traced.append(1)
            return super().combine(activations, gradients)

    for batch in (1, 2, 8):
        Counted()(net, images[:batch])
    return len(traced)


def backward_ops(bundle):
    """Op types in the gradcam signature that differentiate a convolution."""
    from tfsal.serving import audit

    ops = audit.signature_needs(audit.read_meta_graph(bundle))["gradcam"].ops
    return ", ".join(op for op in ops if op.startswith("Conv") and "Backprop" in op) or "none"


def report(bundle, model, images, rounds):
    """Prints medians, and ratios to the prediction of the same round."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(bundle)).signatures
    x = tf.constant(images)
    index = tf.fill([len(images)], -1)
    predict, gradcam = signatures["serving_default"], signatures["gradcam"]
    contenders = {
        "predict": lambda: predict(inputs=x),
        "predict + Grad-CAM": lambda: gradcam(inputs=x, class_index=index),
        **peers(model, images),
    }
    seconds = interleaved(contenders, rounds)
    print(f"\nbatch {len(images)}, {rounds} interleaved rounds, medians")
    for name, times in seconds.items():
        print(
            f"  {name:24} {statistics.median(times) * 1e3:8.1f} ms   "
            f"{ratio(seconds, name, 'predict'):6.3f} x predict"
        )


def peers(model, images):
    """{name: callable} of the other libraries that are installed, at the same layer."""
    found = {}
    classes = [0] * len(images)
    if importlib.util.find_spec("xplique"):
        import tensorflow as tf
        from xplique.attributions import GradCAM

        explainer = GradCAM(model, conv_layer="conv5_block3_out")
        targets = tf.one_hot(classes, 1000)
        found["xplique GradCAM"] = lambda: explainer.explain(images, targets)
    if importlib.util.find_spec("tf_keras_vis"):
        from tf_keras_vis.gradcam import Gradcam
        from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
        from tf_keras_vis.utils.scores import CategoricalScore

        vis = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
        score = CategoricalScore(classes)
        found["tf-keras-vis Gradcam"] = lambda: vis(
            score, images, penultimate_layer="conv5_block3_out"
        )
    return found


if __name__ == "__main__":
    main()
