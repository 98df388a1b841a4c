"""What is known of one tensor of a model before it runs."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A tensor of a model: an input, an output or a layer.

    Attributes:
      name: what a person calls it: the input's or output's key, the layer's name.
      tensor: its name in the flat graph, 'op:index'.
      op: type of the op that makes it.
      shape: static shape; unknown sizes are None.
      dtype: its tf.DType.
      batched: False where the first axis is known not to be the batch.
      channels_first: True where the channels are known to be the second axis, not the last.
    """

    name: str
    tensor: str
    op: str
    shape: tf.TensorShape
    dtype: tf.DType
    batched: bool = True
    channels_first: bool = False

    @property
    def spec(self) -> tf.TensorSpec:
        """The tf.TensorSpec to trace a function with."""
        return tf.TensorSpec(self.shape, self.dtype, self.name)

    @property
    def spatial(self) -> tuple:
        """Sizes of the axes of positions; () for a vector, None where a size is unknown."""
        if self.shape.rank is None:
            return ()
        return tuple(self.shape[2:] if self.channels_first else self.shape[1:-1])

    @property
    def spatial_axes(self) -> list:
        """The axes of `spatial`, ints."""
        first = 2 if self.channels_first else 1
        return list(range(first, first + len(self.spatial)))

    @property
    def is_map(self) -> bool:
        """True when it is [N, *positions, C] in floats, with two positions or more.

        A map can be drawn on it.
        """
        has_positions = any(size is None or size > 1 for size in self.spatial)
        laid_out = self.batched and not self.channels_first
        return self.dtype.is_floating and has_positions and laid_out

    @property
    def is_quantity(self) -> bool:
        """True for floats, and for the uint8 of images; other integers are more often indices."""
        return self.dtype.is_floating or self.dtype == tf.uint8

    def __str__(self):
        sizes = "unknown"
        if self.shape.rank is not None:
            sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}] {self.dtype.name}"
