"""Image files in, pictures out: what a signature does so that a client need not."""

import dataclasses

import tensorflow as tf

from tfsal import visualize
from tfsal.errors import ExportError, MethodError
from tfsal.methods.explain import bad_value
from tfsal.serving.image_files import read_or_none
from tfsal.serving.preprocess import Preprocess

BYTES = "image_bytes"  # the input that takes files


@dataclasses.dataclass(frozen=True)
class Overlay:
    """A PNG of the image with the heatmap over it, as an output of a signature.

    Attributes:
      colormap: name of a matplotlib colormap, not a diverging one.
      alpha: opacity where the map is strongest, 0 to 1.
      output: name of the output. TensorFlow Serving's REST API writes bytes as base64 only where
        the name ends in `_bytes`, and no valid JSON elsewhere.
    """

    colormap: str = "inferno"
    alpha: float = 0.7
    output: str = "overlay_png"

    def __post_init__(self):
        """Checks the values.

        Raises:
          InputError: there is no such colormap, or it is a diverging one.
          MethodError: a value is out of range.
        """
        visualize.check_sequential(self.colormap)
        if not 0 <= self.alpha <= 1:
            raise MethodError(f"alpha is the opacity, 0 to 1, not {self.alpha}.")
        if not self.output:
            raise MethodError("The output of an overlay needs a name, such as 'overlay_png'.")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How the explanation signatures of one bundle read and draw images.

    Attributes:
      image: name of the model's image input.
      dtype: of that input.
      preprocess: Preprocess of that input, with its size where that is known.
      image_bytes: the signatures take image files in place of the array.
      overlay: Overlay, or None for none.
    """

    image: str
    dtype: tf.DType
    preprocess: Preprocess
    image_bytes: bool
    overlay: Overlay | None

    def decode(self, files):
        """Turns image files into the model's input, as `preprocess` says.

        Args:
          files: [N] strings: JPEG, PNG or WebP.

        Returns:
          ([N, height, width, 3 or 1] in the dtype of the input, 0 where a file cannot be read;
          [N] bool, which those are).
        """
        channels = 1 if self.preprocess.channels == "gray" else 3
        shape = [*self.preprocess.size, channels]

        def read(file):
            nothing = tf.zeros(shape), True
            return read_or_none(file, lambda pixels: (self.preprocess(pixels), False), nothing)

        specs = tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.bool)
        # A photo takes a hundred megabytes while it is read, so not all of a batch at once.
        images, broken = tf.map_fn(read, files, parallel_iterations=4, fn_output_signature=specs)
        if self.dtype.is_floating:
            return tf.cast(images, self.dtype), broken
        return tf.saturate_cast(tf.round(images), self.dtype), broken

    def blank(self, broken, results, net):
        """Takes back what was said of files that could not be read.

        Args:
          broken: [N] bool.
          results: outputs of the explanation by name; "outputs" holds the model's own.
          net: the ModelGraph.

        Returns:
          The results with NaN in those rows, in extras of integers -1 and of booleans False, and -2
          for the class; integers and strings that the model itself returns stay.
        """

        def blank(value):
            return tf.where(rows(value), tf.constant(bad_value(value.dtype), value.dtype), value)

        def rows(value):
            ones = tf.ones([tf.rank(value) - 1], tf.int32)
            return tf.reshape(broken, tf.concat([[-1], ones], 0))

        own = {
            name: blank(value) if value.dtype.is_floating and net.outputs[name].batched else value
            for name, value in results["outputs"].items()
        }
        ours = {k: v for k, v in results.items() if k != "outputs"}
        ours = tf.nest.map_structure(blank, ours)
        resolved = ours["class_index"]
        ours["class_index"] = tf.where(rows(resolved), -2, resolved)
        return {**ours, "outputs": own}

    def draw(self, inputs, results, extras):
        """Draws the overlays.

        Args:
          inputs: [N, H, W, 3 or 1], the model's input.
          results: outputs of the explanation by name.
          extras: those that its method adds.

        Returns:
          {name of the output: [N] strings, [N, K] with K classes at once}, PNG files of H x W
          pixels; empty where class_index is -2, for there is nothing to draw.

        Raises:
          ExportError: the heatmap is none of the image, or the name is taken.
        """
        output, heatmap = self.overlay.output, results["heatmap"]
        if output in (*results, *extras):
            raise ExportError(f"An explanation has an output '{output}'; name the overlay's anew.")
        maps = heatmap if isinstance(heatmap, dict) else {self.image: heatmap}
        if self.image not in maps:
            raise ExportError(
                f"The overlay is drawn on the input '{self.image}', which this method does not "
                f"explain; it explains {', '.join(maps)}."
            )
        heatmap, classes = maps[self.image], results["class_index"]
        if classes.shape.rank == 2:
            inputs = tf.repeat(inputs, classes.shape[1], axis=0)
            heatmap = tf.reshape(heatmap, tf.concat([[-1], tf.shape(heatmap)[2:]], 0))
        if heatmap.shape.rank != 3:
            raise ExportError(
                f"The heatmap has the shape {heatmap.shape}, so no overlay can be drawn. For a "
                "layer of tokens give the grid: token_grid=(14, 14)."
            )
        image = self.preprocess.undo(inputs)
        painted = visualize.overlay(image, heatmap, self.overlay.colormap, self.overlay.alpha)
        drawn = tf.reshape(tf.io.encode_png(painted), tf.shape(classes))
        files = tf.where(classes == -2, "", drawn)
        return {output: files}


def plan_pictures(net, preprocess, image_bytes, overlay):
    """Returns the Pictures of an export, or None when there are none; before any tracing.

    Args:
      net: a ModelGraph.
      preprocess: Preprocess, or None.
      image_bytes: bool.
      overlay: bool or Overlay.

    Raises:
      ExportError: the model or the preprocessing does not allow it; says what is missing.
      InputError: the preprocessing does not fit the model.
    """
    if not isinstance(overlay, bool | Overlay) or not isinstance(image_bytes, bool):
        raise ExportError(
            "image_bytes is True or False, and overlay True, False or a tfsal.Overlay; got "
            f"{image_bytes!r} and {overlay!r}."
        )
    if not (image_bytes or overlay):
        return None
    option = "image_bytes=True" if image_bytes else "overlay="
    name, info = _image_input(net, option)
    if preprocess is None:
        raise ExportError(
            f"{option} needs preprocess=, which says what the model's input is made of: "
            "tfsal.Preprocess() for pixels as they are, 0 to 255; tfsal.Preprocess(scale=1 / 255); "
            "tfsal.Preprocess.named('resnet50') (--preprocess, --scale, ...)."
        )
    fitted = preprocess.fitted_to(info)
    if image_bytes and fitted.size is None:
        raise ExportError(
            "image_bytes=True needs a size, and the model takes any: give "
            "preprocess=Preprocess(size=(height, width), ...) (--resize)."
        )
    overlay = Overlay() if overlay is True else overlay or None
    return Pictures(name, info.dtype, fitted, image_bytes, overlay)


def _image_input(net, option):
    images = {
        name: info
        for name, info in net.inputs.items()
        if info.shape.rank == 4 and info.shape[-1] in (1, 3) and info.batched
    }
    if len(images) != 1:
        shapes = ", ".join(map(str, net.inputs.values()))
        raise ExportError(
            f"{option} is for a model with one image input [N, H, W, 1 or 3]; this one has "
            f"{len(images) or 'none'}: {shapes}."
        )
    return next(iter(images.items()))
