"""XRAI's ranking of regions in plain TensorFlow ops: specification and fallback of the fused op.

The masks of an image are bits: a word holds 32 of them for one pixel, and the words of all pixels
lie together, [words, pixels]. A mask's number is 32 * word + bit, in the order of scales and
labels. Sums of the attribution are made of 64-bit integers, so they are exact and the same in any
order: in a graph, under XLA, on any device, alone and in a batch.
"""

import numpy as np
import tensorflow as tf

_BITS = 32
# Pixels whose masks are unpacked at once.
_CHUNK = 1024
# Sums stay below 2^61.
_HEADROOM = 61
_POWERS = 2.0 ** np.arange(-200, 200)


def rank_regions(attribution, labels, limits, radius, min_pixel_diff, area_threshold, fast=False):
    """See regions.rank_regions."""
    scale, first = _places_of_words(labels, limits)
    chunk = tf.range(_CHUNK)

    def of_one(row):
        values, maps = row
        area = tf.gather(maps, scale) - first[:, tf.newaxis, tf.newaxis]
        inside = (area >= 0) & (area < _BITS)
        words = tf.where(inside, tf.bitwise.left_shift(1, tf.where(inside, area, 0)), 0)
        words = tf.reshape(_dilated(words, radius), [tf.shape(words)[0], -1])
        exact, unit = _fixed_point(tf.reshape(values, [-1]))
        found = _greedy(exact, words, chunk, min_pixel_diff, area_threshold, fast)
        heights, ranking = (tf.reshape(each, tf.shape(values)) for each in found)
        return tf.cast(heights * unit, tf.float32), ranking

    # One image at a time: the masks are what takes memory.
    return tf.map_fn(
        of_one,
        (attribution, labels),
        fn_output_signature=(tf.float32, tf.int32),
        parallel_iterations=1,
    )


def _places_of_words(labels, limits):
    """The scale that each word is of, and the label of its first bit: two [words] int32."""
    if isinstance(limits, int):
        each = -(-limits // _BITS)
        word = tf.range(tf.shape(labels)[1] * each)
        return word // each, word % each * _BITS
    first = [range(0, limit, _BITS) for limit in limits]
    scale = [k for k, labels_of_k in enumerate(first) for _ in labels_of_k]
    return tf.constant(scale), tf.constant(np.concatenate(first), tf.int32)


def _dilated(words, radius):
    """Dilates every mask by the disk y^2 + x^2 <= radius^2: [words, H, W]; beyond is no mask."""
    if radius == 0:
        return words
    shape = tf.shape(words)
    either = tf.bitwise.bitwise_or
    padded = tf.pad(words, [[0, 0], [radius, radius], [radius, radius]])

    def columns(offset):
        return padded[:, :, radius + offset : radius + offset + shape[2]]

    width = [int((radius**2 - dy**2) ** 0.5) for dy in range(radius + 1)]
    run, reached, result = columns(0), 0, None
    for dy in reversed(range(radius + 1)):  # From the narrowest row of the disk to the widest.
        for offset in range(reached + 1, width[dy] + 1):
            run = either(run, either(columns(-offset), columns(offset)))
        reached = width[dy]
        for start in {radius - dy, radius + dy}:
            row = run[:, start : start + shape[1]]
            result = row if result is None else either(result, row)
    return result


def _fixed_point(values):
    """Floats [P] -> (int64 [P], scalar float64 unit), as fine as a sum of all of them allows.

    The unit is a power of two, so that what is exact in floating point stays so.
    """
    values = tf.cast(values, tf.float64)
    most = tf.reduce_max(tf.abs(values)) * tf.cast(tf.size(values), tf.float64)
    above = tf.reduce_sum(tf.cast(most >= _POWERS, tf.int32))
    unit = tf.gather(tf.constant(_POWERS * 2.0**-_HEADROOM), tf.minimum(above, len(_POWERS) - 1))
    return tf.cast(tf.round(values / unit), tf.int64), unit


def _greedy(values, words, chunk, least, area_threshold, fast):
    """Takes one mask after the other, the one of the highest mean first.

    Args:
      values: [P] int64.
      words: [words, P] int32.
      chunk: [_CHUNK] int32, the numbers from 0.
      least: pixels that a mask must add.
      area_threshold: share of the image; when more is taken it ends. Not with `fast`.
      fast: the means are those of whole masks, not of what they add.

    Returns:
      [P] float64, the mean of what was taken together, and [P] int32, when, -1 for the rest.
    """
    pixels = tf.shape(values)[0]
    numbers = tf.range(tf.size(words) // pixels * _BITS)
    tally = _tally(values, words, chunk)
    mean = _mean_of(values)

    def gains(sums, counts):
        means = tf.cast(sums, tf.float64) / tf.cast(tf.maximum(counts, 1), tf.float64)
        return tf.where(counts >= least, means, tf.constant(-np.inf, tf.float64))

    def goes_on(step, covered, gain, *_):
        share = tf.reduce_sum(tf.cast(covered, tf.int32)) / pixels
        return tf.reduce_any(gain > -np.inf) & (fast or share <= area_threshold)

    def take(step, covered, gain, sums, counts, heights, ranking):
        # The first of equals.
        best = tf.reduce_min(tf.where(gain == tf.reduce_max(gain), numbers, tf.size(numbers)))
        added = _bit(tf.gather(words, best // _BITS), best % _BITS) & ~covered
        if fast:
            added &= tf.reduce_sum(tf.cast(added, tf.int32)) >= least
            gain = tf.where(numbers == best, tf.constant(-np.inf, tf.float64), gain)
        else:
            fewer = tally(added)
            sums, counts = sums - fewer[0], counts - fewer[1]
            gain = gains(sums, counts)
        heights = tf.where(added, mean(added), heights)
        ranking = tf.where(added, step, ranking)
        step += tf.cast(tf.reduce_any(added), tf.int32)
        return step, covered | added, gain, sums, counts, heights, ranking

    nowhere = tf.zeros_like(values, tf.bool)
    sums, counts = tally(~nowhere)
    _, covered, _, _, _, heights, ranking = tf.while_loop(
        goes_on,
        take,
        (
            tf.constant(0),
            nowhere,
            gains(sums, counts),
            sums,
            counts,
            tf.zeros_like(values, tf.float64),
            tf.fill(tf.shape(values), -1),
        ),
        parallel_iterations=1,
    )
    return tf.where(covered, heights, mean(~covered)), ranking


def _bit(words, bit):
    """bool: whether the bit of each word is set."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(words, bit), 1) == 1


def _mean_of(values):
    """A function of some pixels [P] bool -> the mean of their values, a scalar float64."""

    def mean(some):
        total = tf.reduce_sum(tf.where(some, values, tf.zeros_like(values)))
        count = tf.reduce_sum(tf.cast(some, tf.int32))
        return tf.cast(total, tf.float64) / tf.cast(tf.maximum(count, 1), tf.float64)

    return mean


def _tally(values, words, chunk):
    """A function of some pixels [P] bool -> every mask's sum of values over them, and number.

    Only these pixels are unpacked, so that a whole ranking does about as much work as unpacking
    every pixel twice.

    Args: see _greedy.

    Returns:
      The function; it returns [masks] int64 and [masks] int32.
    """
    pixels = tf.shape(values)[0]
    every = tf.range(pixels)
    bits = tf.range(_BITS)[:, tf.newaxis]
    # A pixel more, in no mask and of no value, fills up the last chunk.
    words = tf.pad(words, [[0, 0], [0, 1]])
    values = tf.pad(values, [[0, 1]])
    none = tf.zeros([tf.shape(words)[0], _BITS], tf.int32)
    nobody = tf.fill([pixels + _CHUNK + 1], pixels)

    def tally(some):
        chosen = tf.cast(some, tf.int32)
        slots = tf.where(some, tf.cumsum(chosen) - 1, pixels + _CHUNK)
        places = tf.tensor_scatter_nd_update(nobody, slots[:, tf.newaxis], every)
        count = tf.reduce_sum(chosen)

        def add(first, sums, counts):
            here = tf.gather(places, first + chunk)
            inside = _bit(tf.gather(words, here, axis=1)[:, tf.newaxis], bits)
            own = tf.where(inside, tf.gather(values, here), tf.constant(0, tf.int64))
            sums += tf.reduce_sum(own, axis=2)
            return first + _CHUNK, sums, counts + tf.reduce_sum(tf.cast(inside, tf.int32), axis=2)

        _, sums, counts = tf.while_loop(
            lambda first, *_: first < count,
            add,
            (tf.constant(0), tf.cast(none, tf.int64), none),
            parallel_iterations=1,
        )
        return tf.reshape(sums, [-1]), tf.reshape(counts, [-1])

    return tally
