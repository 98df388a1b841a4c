"""Image files to pixels inside a graph, in stock TensorFlow ops."""

import tensorflow as tf

LARGEST = 2**27  # pixels; as float32, on the way to the model's size, 1.6 GB

_PNG = b"\x89PNG\r\n\x1a\n"


def read_or_none(file, function, nothing):
    """What `function` makes of the pixels of a file, or `nothing` where it cannot be read.

    A server batches strangers together, so one bad file must not fail the batch, as a decoder
    alone would; no op catches that but a dataset that ignores errors.

    Args:
      file: string scalar: JPEG, PNG or WebP of at most LARGEST pixels.
      function: from [H, W, 3] uint8 to tensors of fixed shapes.
      nothing: tensors of those shapes.
    """
    files = tf.data.Dataset.from_tensors(file).filter(_not_too_large)
    read = files.map(lambda file: function(decode(file))).ignore_errors()
    return read.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1).get_single_element()


def decode(file):
    """[H, W, 3] uint8 of a JPEG, PNG or WebP file."""
    image = tf.cond(
        tf.io.is_jpeg(file),
        # The accurate transform gives the pixels that Pillow and OpenCV give; the default is up
        # to 17 of 255 off.
        lambda: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(file, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _not_too_large(file):
    pixels = pixel_count(file)
    return (pixels > 0) & (pixels <= LARGEST)


def pixel_count(file):
    """int64: height times width, as the header of a file says; 0 for what is no JPEG, PNG or WebP.

    A small file can claim, and with compression hold, gigabytes of pixels: this is known before
    they are decoded.
    """
    # With zeros behind it, the shortest file has every byte that is looked at.
    header = tf.strings.join([tf.strings.substr(file, 0, 30), b"\0" * 30])

    def starts(position, mark):
        return tf.strings.substr(header, position, len(mark)) == mark

    return tf.case(
        [
            (tf.io.is_jpeg(file), lambda: _product(tf.io.extract_jpeg_shape(file)[:2])),
            (starts(0, _PNG), lambda: _product(_big_endian(tf.strings.substr(header, 16, 8)))),
            (starts(0, b"RIFF") & starts(8, b"WEBP"), lambda: _webp_pixels(header, starts)),
        ],
        default=lambda: tf.constant(0, tf.int64),
        exclusive=False,
    )


def _webp_pixels(header, starts):
    """Of the three kinds of WebP: extended, lossless and lossy (RFC 9649)."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(header, 20, 10), tf.uint8), tf.int64)

    def number(first, last):
        return tf.reduce_sum(data[first:last] * 256 ** tf.range(last - first, dtype=tf.int64))

    bits = number(1, 5)
    return tf.case(
        [
            (starts(12, b"VP8X"), lambda: (number(4, 7) + 1) * (number(7, 10) + 1)),
            (starts(12, b"VP8L"), lambda: (bits % 2**14 + 1) * (bits // 2**14 % 2**14 + 1)),
        ],
        default=lambda: (number(6, 8) % 2**14) * (number(8, 10) % 2**14),
    )


def _big_endian(text):
    return tf.io.decode_raw(text, tf.int32, little_endian=False)


def _product(sizes):
    return tf.reduce_prod(tf.cast(sizes, tf.int64))
