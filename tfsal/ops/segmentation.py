"""Segments of an image, in plain TensorFlow ops: a grid of rectangles, and superpixels.

Labels are [N, K, H, W] int32 for K scales; scale k has at most `scales[k]` labels, from 0. Sizes
need not be known when a function is traced. Superpixels are made of integers, once the colours are
rounded, so the labels are the same in a graph, under XLA, alone and in a batch.
"""

import tensorflow as tf

from tfsal.ops.precision import floating

# Levels that the range of an image's values is divided into.
_LEVELS = 2048.0
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


def grid(images, scales):
    """Rectangles of nearly equal size, as square as the count of them allows.

    Args:
      images: [N, H, W, C].
      scales: K ints, about how many rectangles there are at each scale, and at most.

    Returns:
      [N, K, H, W] int32.
    """
    count, height, width = tf.unstack(tf.shape(images)[:3])
    maps = [grid_labels(_cells(height, width, most), [height, width]) for most in scales]
    labels = tf.broadcast_to(tf.stack(maps), [count, len(scales), height, width])
    return tf.ensure_shape(labels, [None, None, *images.shape[1:3]])


def grid_labels(cells, positions):
    """Numbers the cells of a grid, the last axis first.

    Args:
      cells: cells along each axis; ints or scalar int32 tensors.
      positions: sizes of the axes; ints or scalar int32 tensors.

    Returns:
      [*positions] int32.
    """
    labels = tf.zeros([1] * len(cells), tf.int32)
    for axis, (count, size) in enumerate(zip(cells, positions, strict=True)):
        shape = [size if i == axis else 1 for i in range(len(cells))]
        labels = labels * count + tf.reshape(_cell_along(count, size), shape)
    return labels


def _cell_along(count, size):
    """[size] int32: the cell, of `count` of one size, that the middle of each place is in."""
    count, size = tf.cast(count, tf.int64), tf.cast(size, tf.int64)  # Products leave int32.
    return tf.cast((2 * tf.range(size) + 1) * count // (2 * size), tf.int32)


def slic(images, scales, compactness=0.1, iterations=10):
    """SLIC superpixels: connected segments of similar colour about a grid of centres.

    Achanta et al. 2012 (doi:10.1109/TPAMI.2012.120), with these differences: colours are the
    channels as they are, each image's values scaled from its own range to [0, 1]; a pixel belongs
    to one of the nine centres about its cell of the first grid; of each segment the part about its
    middle is kept, and the rest goes to the segments beside it.

    Args:
      images: [N, H, W, C] floating, any number of channels.
      scales: K ints, about how many superpixels there are at each scale, and at most.
      compactness: how much the way from one centre to the next counts, beside the whole range of a
        channel: above 0, with 0 a segment would be any pixels of one colour.
      iterations: how often the centres move to the middle of their pixels.

    Returns:
      [N, K, H, W] int32.
    """
    colors = _levels(images, _LEVELS / max(1.0, compactness))
    count, height, width = colors.shape[:3]
    maps = tf.map_fn(  # Traced once, not once for each scale.
        lambda most: _superpixels(colors, most, max(scales), compactness, iterations),
        tf.constant(scales, tf.int32),
        fn_output_signature=tf.TensorSpec([count, height, width], tf.int32),
        parallel_iterations=1,
    )
    labels = _connected(tf.transpose(maps, [1, 0, 2, 3]), max(scales))
    return tf.ensure_shape(labels, [None, len(scales), *images.shape[1:3]])


def _cells(height, width, most):
    """(rows, columns) of a grid of at most `most` cells, scalar int32 tensors."""
    whole = tf.cast(tf.stack([most, height, width]), tf.float64)
    rows = tf.floor(tf.sqrt(whole[0] * whole[1] / tf.maximum(whole[2], 1)) + 1e-6)
    rows = tf.clip_by_value(tf.cast(rows, tf.int32), 1, most)
    return rows, most // rows


def _levels(images, levels):
    """[N, H, W, C] -> int32 from 0 to `levels`, each image's own range; 0 for what is no number."""
    images = floating(images)
    finite = tf.math.is_finite(images)
    axes = [1, 2, 3]
    low = tf.reduce_min(tf.where(finite, images, images.dtype.max), axis=axes, keepdims=True)
    high = tf.reduce_max(tf.where(finite, images, images.dtype.min), axis=axes, keepdims=True)
    share = tf.math.divide_no_nan(images - low, high - low)
    return tf.cast(tf.round(tf.where(finite, share, 0) * levels), tf.int32)


def _superpixels(colors, most, limit, compactness, iterations):
    """Labels [N, H, W] int32 of one scale, below `most`; segments may be in pieces.

    Args:
      colors: [N, H, W, C] int32.
      most: scalar int32 tensor, at most `limit`, int.
      compactness, iterations: see slic.
    """
    count, height, width = tf.unstack(tf.shape(colors)[:3])
    rows, columns = _cells(height, width, most)
    row, column = _cell_along(rows, height), _cell_along(columns, width)
    cells = tf.cast(rows * columns, tf.float64)
    step = tf.sqrt(tf.cast(height * width, tf.float64) / cells)
    unit = compactness * (_LEVELS / max(1.0, compactness)) / step

    def places(size):
        return tf.cast(tf.round(tf.cast(tf.range(size), tf.float64) * unit), tf.int32)

    shape = [1, count, height, width]
    y = tf.broadcast_to(places(height)[:, tf.newaxis], shape)
    x = tf.broadcast_to(places(width), shape)
    features = tf.concat([y, x, tf.transpose(colors, [3, 0, 1, 2])], axis=0)
    near = [
        tf.clip_by_value(row + dy, 0, rows - 1)[:, tf.newaxis] * columns
        + tf.clip_by_value(column + dx, 0, columns - 1)
        for dy, dx in _NEIGHBOURS
    ]
    own = tf.tile(near[len(near) // 2][tf.newaxis], [count, 1, 1])

    def total(values, labels):
        """Sums [M, N, H, W] over each segment, [M, N, limit] int64."""
        maps = tf.shape(values)[0] * count
        first = tf.reshape(tf.range(maps), [-1, count, 1, 1]) * limit
        sums = tf.math.unsorted_segment_sum(
            tf.reshape(tf.cast(values, tf.int64), [-1]),
            tf.reshape(first + labels, [-1]),
            maps * limit,
        )
        return tf.reshape(sums, [-1, count, limit])

    def move(turn, labels, centers):
        sizes = total(tf.ones_like(labels)[tf.newaxis], labels)
        middle = (2 * total(features, labels) + sizes) // tf.maximum(2 * sizes, 1)
        centers = tf.where(sizes > 0, tf.cast(middle, tf.int32), centers)
        closest = tf.fill(tf.shape(labels), tf.int32.max)
        for candidate in near:
            away = features - tf.gather(centers, candidate, axis=2)
            distance = tf.reduce_sum(tf.square(away), axis=0)
            labels = tf.where(distance < closest, candidate, labels)
            closest = tf.minimum(distance, closest)
        centers = tf.ensure_shape(centers, nowhere.shape)
        return turn + 1, tf.ensure_shape(labels, own.shape), centers

    # A centre without pixels is nowhere near.
    nowhere = tf.fill([tf.shape(features)[0], count, limit], int(-4 * _LEVELS))
    _, labels, _ = tf.while_loop(
        lambda turn, *_: turn < iterations,
        move,
        (tf.constant(0), own, nowhere),
        maximum_iterations=iterations,
        parallel_iterations=1,
    )
    return labels


def _connected(labels, most):
    """Makes every segment connected, by its four sides.

    The part about the pixel next to its middle stays; what lies beside it takes over the rest.

    Args:
      labels: [N, K, H, W] int32, below `most`.
    """
    shape = tf.shape(labels)
    pixels = shape[2] * shape[3]
    seeds = _middles(labels, most)
    index = tf.reshape(tf.range(pixels), shape[2:])
    same = [labels == beside for beside in _beside(labels, -1)]

    def spread(changed, kept):
        more = kept
        for beside, alike in zip(_beside(kept, False), same, strict=True):
            more |= beside & alike
        return tf.reduce_any(more != kept), more

    _, kept = tf.while_loop(
        lambda changed, _: changed,
        spread,
        (tf.constant(True), seeds == index),
        maximum_iterations=pixels,
        parallel_iterations=1,
    )

    def take_over(labels):
        taken = labels
        for beside in _beside(labels, -1):
            taken = tf.where((taken < 0) & (beside >= 0), beside, taken)
        return (taken,)

    (labels,) = tf.while_loop(
        lambda labels: tf.reduce_any(labels < 0),
        take_over,
        (tf.where(kept, labels, -1),),
        maximum_iterations=pixels,
        parallel_iterations=1,
    )
    return labels


def _middles(labels, most):
    """[N, K, H, W] int32: of each pixel's segment, the index y * W + x next to its centre."""
    shape = tf.shape(labels)
    maps, pixels = shape[0] * shape[1], shape[2] * shape[3]
    flat = tf.reshape(labels, [maps, pixels]) + tf.range(maps)[:, tf.newaxis] * most
    index = tf.range(pixels)
    y, x = (tf.cast(place, tf.int64) for place in (index // shape[3], index % shape[3]))

    def of_segments(reduce, values):
        values = tf.broadcast_to(values, [maps, pixels])
        found = reduce(tf.reshape(values, [-1]), tf.reshape(flat, [-1]), maps * most)
        return tf.gather(found, flat)

    add = tf.math.unsorted_segment_sum
    size = of_segments(add, tf.ones_like(y))
    distance = tf.square(y - of_segments(add, y) // size)
    distance += tf.square(x - of_segments(add, x) // size)
    # Distance first, then index, in one number.
    many = tf.cast(pixels, tf.int64)
    key = distance * many + tf.cast(index, tf.int64)
    nearest = of_segments(tf.math.unsorted_segment_min, key) % many
    return tf.reshape(tf.cast(nearest, tf.int32), shape)


def _beside(maps, beyond):
    """Maps [N, K, H, W] seen from the pixels above, below, left and right; `beyond` the edges."""
    height, width = tf.unstack(tf.shape(maps)[2:])
    padded = tf.pad(maps, [[0, 0], [0, 0], [1, 1], [1, 1]], constant_values=beyond)
    seen = [
        padded[:, :, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    return [tf.ensure_shape(each, maps.shape) for each in seen]
