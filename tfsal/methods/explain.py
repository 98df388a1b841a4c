"""One explanation as a graph: shared by Python calls and exported signatures."""

import tensorflow as tf

from tfsal.methods.request import Request


def explain(method, net, feeds, asked, internal_batch_size=8, compile_bodies=False, progress=None):
    """Builds an explanation inside the function being traced.

    Nothing here asserts on values: a row whose class index is out of range or whose input holds a
    NaN gets NaN maps and class -2, and its neighbours are untouched.

    Args:
      method: a Method.
      net: a ModelGraph.
      feeds: {input name: tensor}.
      asked: {name: tensor}, what `question.argument_specs` lists. `class_index`: [N] or [1]
        int32, or in its place `class_indices`: [N, K] or [1, K], K known, for K classes of each
        example at once. `region`: [N, *spatial] or [1, *spatial] float32 weights, for a target
        with regions. `seed`: [N] or [1] int32, for a random method. `segments`: [N, K, *positions]
        or [1, K, *positions] int32, for a method that takes them.
      internal_batch_size, compile_bodies, progress: see Request.

    Returns:
      {"attribution", "heatmap", "score", "class_index", "outputs", "extras"} of tensors;
      attribution and heatmap, and the extras that are shaped as the attribution, are dicts when
      several inputs are explained; outputs and extras always are. With K classes, all but the
      outputs have an axis of K after N.
    """
    count = _batch_size(net, feeds)
    feeds = {k: _one_row_at_least(v) if net.inputs[k].batched else v for k, v in feeds.items()}
    asked = {k: _one_row_at_least(v) for k, v in asked.items()}
    several = "class_indices" in asked
    request = Request(
        method.graph(net),
        method.target,
        feeds,
        asked["class_indices" if several else "class_index"],
        asked.get("region"),
        asked.get("seed"),
        segments=asked.get("segments"),
        internal_batch_size=internal_batch_size,
        compile_bodies=compile_bodies,
        progress=progress,
    )
    if several:
        columns = tf.unstack(request.classes, axis=1)
        answers = [_answer(method, request.about(column), count) for column in columns]
        answer = tf.nest.map_structure(lambda *values: tf.stack(values, axis=1), *answers)
    else:
        answer = _answer(method, request, count)
    outputs = {
        name: value[:count] if info.batched and value.shape.rank else value
        for (name, value), info in zip(request.outputs().items(), net.outputs.values(), strict=True)
    }
    return {**answer, "outputs": outputs}


def _answer(method, request, count):
    """The explanation of one class of each example: the first `count` rows, bad ones NaN.

    In extras of integers bad rows are -1, in those of booleans False.
    """
    attribution = method.attribute(request)
    heatmap = method.heatmap(request, attribution)
    good = _good_rows(request)
    if request.segments is not None:
        good &= method.segments_input(request.net).good_rows(request.segments)

    def keep(value):
        rows = tf.reshape(good, tf.concat([[-1], tf.ones([tf.rank(value) - 1], tf.int32)], 0))
        return tf.where(rows, value, tf.constant(bad_value(value.dtype), value.dtype))[:count]

    return {
        "attribution": tf.nest.map_structure(keep, attribution),
        "heatmap": tf.nest.map_structure(keep, heatmap),
        "score": keep(request.score),
        "class_index": tf.where(good, request.classes, -2)[:count],
        "extras": {
            name: tf.nest.map_structure(keep, request.extras[name]) for name in method.extras
        },
    }


def bad_value(dtype):
    """What stands in the rows of an explanation that have no answer."""
    return float("nan") if dtype.is_floating else False if dtype.is_bool else -1


def _good_rows(request):
    """[N] bool: a class in range, a score that is a number, and no NaN in the inputs."""
    good = (request.classes != -2) & ~tf.math.is_nan(request.score)
    for name, value in request.feeds.items():
        if value.dtype.is_floating:
            own_rows = request.net.inputs[name].batched and value.shape.rank
            axes = list(range(1 if own_rows else 0, value.shape.rank))
            good &= ~tf.reduce_any(tf.math.is_nan(value), axis=axes)
    return good


def _batch_size(net, feeds):
    """Number of rows asked for, or None where the model fixes it."""
    for name, value in feeds.items():
        if net.inputs[name].batched and value.shape.rank and value.shape[0] is None:
            return tf.shape(value)[0]
    return None


def _one_row_at_least(value):
    """Adds a row of zeros to an empty batch; TensorFlow's fused convolutions fail on one."""
    if not value.shape.rank or value.shape[0] is not None:
        return value
    shape = tf.shape(value)
    missing = tf.cast(shape[:1] == 0, tf.int32)
    return tf.concat([value, tf.zeros(tf.concat([missing, shape[1:]], 0), value.dtype)], 0)
