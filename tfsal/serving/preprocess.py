"""Preprocess: how pixels become the input of a model, declared instead of coded."""

import dataclasses

import tensorflow as tf

from tfsal.errors import InputError, MethodError
from tfsal.graph.summary import shape_text

# What keras.applications.NAME.preprocess_input does; the names are those of its modules.
_CAFFE = {"mean": (103.939, 116.779, 123.68), "channels": "bgr"}
_SIGNED = {"scale": 1 / 127.5, "mean": 1.0}
_IMAGENET = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_APPLICATIONS = {
    **dict.fromkeys(("vgg16", "vgg19", "resnet", "resnet50"), _CAFFE),
    **dict.fromkeys(
        (
            "inception_resnet_v2",
            "inception_v3",
            "mobilenet",
            "mobilenet_v2",
            "nasnet",
            "resnet_v2",
            "xception",
        ),
        _SIGNED,
    ),
    "densenet": _IMAGENET,
    **dict.fromkeys(("convnext", "efficientnet", "efficientnet_v2", "mobilenet_v3"), {}),
}


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """(pixels * scale - mean) / std, after resizing; pixels are 0 to 255.

    Attributes:
      size: (height, width) in pixels to resize to; None keeps the image's own.
      scale: factor for the pixel values.
      mean: number, or one for each channel, in the scaled unit and in the order of `channels`.
      std: as mean.
      channels: 'rgb', 'bgr' or 'gray'.
    """

    size: tuple[int, int] | None = None
    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    channels: str = "rgb"

    def __post_init__(self):
        """Checks the declaration.

        Raises:
          MethodError: a value is out of range.
        """
        for field in ("size", "mean", "std"):
            value = getattr(self, field)
            if isinstance(value, list):
                object.__setattr__(self, field, tuple(value))
        if self.channels not in ("rgb", "bgr", "gray"):
            raise MethodError(f"channels is 'rgb', 'bgr' or 'gray', not {self.channels!r}.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise MethodError(f"size is (height, width) in pixels, not {self.size}.")
        count = 1 if self.channels == "gray" else 3
        for field in ("mean", "std"):
            value = getattr(self, field)
            if isinstance(value, tuple) and len(value) != count:
                raise MethodError(f"{field} is one number or {count}, not {value}.")
        if 0 in (self.std if isinstance(self.std, tuple) else (self.std,)):
            raise MethodError("std must not be 0.")
        if self.scale == 0:
            raise MethodError("scale must not be 0.")

    @classmethod
    def named(cls, application, size=None):
        """Returns what a Keras application expects, such as 'resnet50' or 'mobilenet_v2'.

        Raises:
          MethodError: there is no such application; lists those there are.
        """
        if application not in _APPLICATIONS:
            raise MethodError(
                f"There is no preprocessing named '{application}'. Names: "
                f"{', '.join(sorted(_APPLICATIONS))}."
            )
        return cls(size=size, **_APPLICATIONS[application])

    def fitted_to(self, info):
        """Returns this with an open size and the channels taken from an image input of a model.

        Args:
          info: TensorInfo of the input, [N, H, W, 1 or 3].

        Raises:
          InputError: the channels or the size do not fit the input.
        """
        gray = info.shape[-1] == 1
        if self.channels == ("bgr" if gray else "gray"):
            raise InputError(
                f"channels='{self.channels}' does not fit the model, which takes "
                f"{info.shape[-1]} channel{'s' * (not gray)}."
            )
        size = self.size or tuple(info.shape[1:3])
        if not info.shape[1:3].is_compatible_with(size):
            raise InputError(
                f"size={tuple(size)} does not fit the model, which takes images of "
                f"{shape_text(info.shape[1:3])}."
            )
        channels = "gray" if gray else self.channels
        return dataclasses.replace(self, size=None if None in size else size, channels=channels)

    def resize(self, image):
        """Returns [H, W, 3] pixels as [height, width, 3] float32, antialiased; 0 to 255."""
        if image.shape.rank != 3 or image.shape[-1] != 3:
            raise InputError(f"An image is [height, width, 3] (RGB), not {image.shape}.")
        image = tf.cast(image, tf.float32)
        if self.size is None:
            return image
        return tf.image.resize(image, self.size, antialias=True)

    def __call__(self, image):
        """Turns one RGB image into the input of a model.

        Args:
          image: [H, W, 3] numbers from 0 to 255.

        Returns:
          [height, width, 3 or 1] float32.
        """
        pixels = self.resize(tf.convert_to_tensor(image))
        if self.channels == "bgr":
            pixels = pixels[..., ::-1]
        elif self.channels == "gray":
            pixels = tf.image.rgb_to_grayscale(pixels)
        return (pixels * self.scale - self.mean) / self.std

    def undo(self, inputs):
        """Turns the input of a model back into images; the size stays.

        Args:
          inputs: [N, H, W, 3 or 1] numbers, as calling this makes them.

        Returns:
          [N, H, W, 3 or 1] float32, RGB or gray, 0 to 1 where the pixels were 0 to 255.
        """
        pixels = (tf.cast(inputs, tf.float32) * self.std + self.mean) / (self.scale * 255.0)
        return pixels[..., ::-1] if self.channels == "bgr" else pixels
