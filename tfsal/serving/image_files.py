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
    """[H, W, 3] uint8 of a JPEG, PNG or WebP file; a JPEG is turned as its EXIF data says."""

    def decode_jpeg():
        # The accurate transform gives the pixels that Pillow and OpenCV give; the default is up
        # to 17 of 255 off.
        image = tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")
        return turned(image, exif_orientation(file))

    def decode_other():
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(file), decode_jpeg, decode_other)
    return tf.ensure_shape(image, [None, None, 3])


def turned(image, orientation):
    """The image [H, W, C] as it is meant to be seen, by the orientation 1 to 8 of EXIF."""

    def apply(values, change, image):
        wanted = tf.reduce_any(orientation == tf.constant(values))
        return tf.cond(wanted, lambda: change(image), lambda: image)

    image = apply([5, 6, 7, 8], lambda image: tf.transpose(image, [1, 0, 2]), image)
    image = apply([2, 3, 6, 7], lambda image: image[:, ::-1], image)
    return apply([3, 4, 7, 8], lambda image: image[::-1], image)


def exif_orientation(file):
    """int32: the orientation that the EXIF data of a JPEG file states, 1 where it states none.

    Phones save what the sensor saw, and beside it how they were held.
    """
    # EXIF data lies at the front, in a segment of at most 64 kB, behind a short one at most.
    front = tf.strings.join([tf.strings.substr(file, 0, 2**17), b"\0" * 16])
    data = tf.cast(tf.io.decode_raw(front, tf.uint8), tf.int32)
    last = tf.size(data) - 1
    shifted = [data[i : last + i - 4] == byte for i, byte in enumerate(b"Exif\0\0")]
    begins = tf.reduce_all(shifted, axis=0)
    tiff = tf.argmax(begins, output_type=tf.int32) + 6
    little = data[tf.minimum(tiff, last)] == ord("I")

    def number(at, size):
        digits = tf.gather(data, tf.clip_by_value(at[..., tf.newaxis] + tf.range(size), 0, last))
        digits = tf.where(little, digits[..., ::-1], digits)
        return tf.reduce_sum(digits * 256 ** tf.range(size - 1, -1, -1), axis=-1)

    directory = tiff + number(tiff + 4, 4)
    count = tf.clip_by_value(number(directory, 2), 1, 512)
    entries = directory + 2 + 12 * tf.range(count)
    states = number(entries, 2) == 0x0112
    value = number(entries[tf.argmax(states)] + 8, 2)
    stated = tf.reduce_any(begins) & tf.reduce_any(states) & (value >= 1) & (value <= 8)
    return tf.where(stated, value, 1)


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
