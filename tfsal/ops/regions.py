"""Regions of an image ranked by an attribution: what XRAI does with segments.

It is one fused op (cc/ops) where the graph runs on a CPU as it is and the op library is loaded, and
its composite otherwise.
"""

import tensorflow as tf

from tfsal.ops import fused, native_regions, region_composites


def rank_regions(
    attribution,
    labels,
    limits,
    *,
    radius=5,
    min_pixel_diff=50,
    area_threshold=1.0,
    fast=False,
):
    """XRAI: takes segments, the highest mean first, and gives each its mean.

    Kapishnikov et al. 2019 (arXiv:1906.02825), algorithm 1, as PAIR's saliency library computes it.
    Every segment of every scale, dilated by a disk, is a mask. In each step the mask is taken whose
    mean attribution over the pixels that are not taken yet is highest, the first of equals in the
    order of scales and labels; these pixels get that mean. A mask that adds too few pixels is not
    taken. The mean of what is left over stands there, so the sum of the map is that of the
    attribution.

    Args:
      attribution: [N, H, W] floating; the fused op rounds it to float32.
      labels: [N, K, H, W] int32, the segment of each pixel at K scales, from 0.
      limits: how many segments there may be at each scale: K ints, or one int for all.
      radius: of the disk, in pixels; 0 leaves the segments as they are.
      min_pixel_diff: the fewest pixels that a mask must add, 1 or more.
      area_threshold: ends when more than this share of the image is taken.
      fast: order the masks by their mean over all their pixels, once. Takes no notice of
        area_threshold.

    Returns:
      (map [N, H, W] float32, ranking [N, H, W] int32: 0 for the region that was taken first, -1 for
      what was left over). NaN and -1 for an image with a label out of range, or an attribution that
      is not finite.
    """
    good = tf.reduce_all(tf.math.is_finite(attribution), axis=[1, 2])
    good = (good & labels_in_range(labels, limits))[:, tf.newaxis, tf.newaxis]
    attribution = tf.where(good, attribution, tf.zeros_like(attribution))
    labels = tf.where(good[:, tf.newaxis], labels, 0)
    options = radius, min_pixel_diff, area_threshold
    if fused.host_ops():
        algorithm = "fast" if fast else "full"
        found, ranking = native_regions.xrai(
            tf.cast(attribution, tf.float32), labels, *options, algorithm
        )
    else:
        found, ranking = region_composites.rank_regions(attribution, labels, limits, *options, fast)
    return tf.where(good, found, float("nan")), tf.where(good, ranking, -1)


def labels_in_range(labels, limits):
    """[N] bool: all labels of [N, K, *positions] are from 0 to below `limits`, an int or K ints."""
    ones = [1] * (labels.shape.rank - 2)
    good = (labels >= 0) & (labels < tf.reshape(tf.constant(limits), [-1, *ones]))
    return tf.reduce_all(good, axis=list(range(1, labels.shape.rank)))
