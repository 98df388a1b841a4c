"""Segmentation of images and XRAI's ranking of their regions, as the ops of cc/ops.

They run on the host's CPU only, and XLA does not know them. They have no gradient.
"""

import tensorflow as tf

from tfsal.kernels import library

# The scales of PAIR's XRAI, for images in [-1, 1] of 224 x 224 pixels.
SCALES = (50, 100, 150, 250, 500, 1200)


def felzenszwalb(images, scales=SCALES, sigma=0.8, min_size=150):
    """Felzenszwalb's graph segmentation at several scales, from one blur and one sort of the edges.

    Felzenszwalb and Huttenlocher 2004 (doi:10.1023/B:VISI.0000022288.19776.77), with the labels of
    skimage.segmentation.felzenszwalb; edges of exactly the same cost, whose order is open there,
    come in the order right, down, down and right, up and right.

    Args:
      images: [N, H, W, C], float32 or float64, of any values.
      scales: K numbers, finite and not negative; the larger, the larger the segments.
      sigma: of the Gaussian that blurs the images before, in pixels, from 0 to 1000.
      min_size: segments of fewer pixels join a neighbour.

    Returns:
      Labels [N, K, H, W], int32, numbered in the order of the segments' first pixels.

    Raises:
      ImportError: the op library is missing or not usable.
      tf.errors.InvalidArgumentError: a shape or a value is none of the above.
    """
    return _ops().tfsal_felzenszwalb(
        images,
        tf.convert_to_tensor(scales, tf.float64),
        tf.convert_to_tensor(sigma, tf.float64),
        min_size=min_size,
    )


def xrai(
    attribution,
    labels,
    radius=5,
    min_pixel_diff=50,
    area_threshold=1.0,
    algorithm="full",
):
    """XRAI: regions ranked by their attribution.

    Kapishnikov et al. 2019 (arXiv:1906.02825), with the parameters of PAIR's package. The pixels of
    equal label at one scale are a segment, dilated by a disk. Regions are taken one after the
    other, each as the pixels of a segment that no region has covered before.

    Args:
      attribution: [N, H, W], float32. An example with NaN or infinity gets a map of NaN.
      labels: [N, K, H, W], int32, not negative, below 65536 or H * W, whichever is more.
      radius: of the disk, in pixels; 0 leaves the segments as they are.
      min_pixel_diff: segments with fewer uncovered pixels make no region; at least 1.
      area_threshold: "full" stops when the regions cover more than this part of the image, 0 to 1.
      algorithm: "full" takes the segment whose uncovered pixels have the greatest mean attribution,
        again and again; "fast" takes segments in the order of the mean over all of their pixels.

    Returns:
      (map, ranking), both [N, H, W]: the mean attribution of each pixel's region, float32; and 0
      for the region taken first, 1 for the second, ..., int32. Pixels in no region have the mean of
      their attribution, and rank -1.

    Raises:
      ImportError: the op library is missing or not usable.
      tf.errors.InvalidArgumentError: a shape or a value is none of the above.
    """
    return tuple(
        _ops().tfsal_xrai(
            attribution,
            labels,
            tf.convert_to_tensor(area_threshold, tf.float64),
            radius=radius,
            min_pixel_diff=min_pixel_diff,
            algorithm=algorithm,
        )
    )


def _ops():
    """The library, loaded; what calls these has asked fused.host_ops() whether it may."""
    reason = library.unusable()
    if reason is not None:
        raise ImportError(f"the op library is needed here, and {reason}: install tfsal again")
    return library.load()


for _op in ("TfsalFelzenszwalb", "TfsalXrai"):
    tf.no_gradient(_op)
