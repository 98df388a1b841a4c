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
    """

    name: str
    tensor: str
    op: str
    shape: tf.TensorShape
    dtype: tf.DType
    batched: bool = True

    @property
    def spec(self) -> tf.TensorSpec:
        """The tf.TensorSpec to trace a function with."""
        return tf.TensorSpec(self.shape, self.dtype, self.name)

    @property
    def spatial(self) -> tuple:
        """Sizes between batch and channels; () for a vector, None where a size is unknown."""
        return tuple(self.shape[1:-1]) if self.shape.rank is not None else ()

    @property
    def is_map(self) -> bool:
        """True when it has float channels at two positions or more: a map can be drawn on it."""
        has_positions = any(size is None or size > 1 for size in self.spatial)
        return self.dtype.is_floating and has_positions and self.batched

    def __str__(self):
        sizes = "unknown"
        if self.shape.rank is not None:
            sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}] {self.dtype.name}"
