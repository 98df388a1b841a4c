"""One explanation as a graph: shared by Python calls and exported signatures."""

import tensorflow as tf

from tfsal.methods.request import Request


def explain(method, net, feeds, class_index, region=None):
    """Builds an explanation inside the function being traced.

    Nothing here asserts on values: a row whose class index is out of range or whose input holds a
    NaN gets NaN maps and class -2, and its neighbours are untouched.

    Args:
      method: a Method.
      net: a ModelGraph.
      feeds: {input name: tensor}.
      class_index: [N] or [1] int32.
      region: [N, *spatial] or [1, *spatial] float32 weights, for a target with regions.

    Returns:
      {"attribution", "heatmap", "score", "class_index", "outputs"} of tensors; attribution and
      heatmap are dicts when several inputs are explained, outputs always is one.
    """
    request = Request(net, method.target, feeds, class_index, region)
    attribution = method.attribute(request)
    heatmap = method.heatmap(request, attribution)
    good = request.classes != -2
    for value in feeds.values():
        if value.dtype.is_floating and value.shape.rank:
            good &= ~tf.reduce_any(tf.math.is_nan(value), axis=list(range(1, value.shape.rank)))

    def keep_good(value):
        rows = tf.reshape(good, tf.concat([[-1], tf.ones([tf.rank(value) - 1], tf.int32)], 0))
        return tf.where(rows, value, tf.constant(float("nan"), value.dtype))

    return {
        "attribution": tf.nest.map_structure(keep_good, attribution),
        "heatmap": tf.nest.map_structure(keep_good, heatmap),
        "score": keep_good(request.score),
        "class_index": tf.where(good, request.classes, -2),
        "outputs": request.outputs(),
    }
