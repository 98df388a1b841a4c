"""A model with images whose truth is known: where a method points, and what it costs."""

import dataclasses
import math
import time

import numpy as np
import tensorflow as tf

import tfsal
from tfsal.demo.pointing import chance, hits
from tfsal.demo.run import point_maps

MAKES_INPUTS = ("activation_maximization",)  # and no maps, which could point at something
TIMED = 8  # rows that the model is given at once, where time is taken
FEW = 300  # evaluations per image; a method that takes more is asked about fewer images
_AT_ONCE = 50  # images


@dataclasses.dataclass
class Measured:
    """What the tables say of one method.

    evaluations, milliseconds: rows that the photo model computed for an image, and its time.
    digits, mosaics: [N] bool, which images of a study it hit; None where it makes no map.
    """

    evaluations: int
    digits: np.ndarray | None
    mosaics: np.ndarray | None
    milliseconds: float = math.nan


class Study:
    """A model with images whose truth is known.

    Attributes:
      images, classes, boxes: [N, H, W, C] in [0, 1], [N] asked about, [N, 4] of what they are.
      fewer: how many of them a method is asked about that evaluates the model often.
      chance: how often a point at random is in the box.
    """

    def __init__(self, model, images, classes, boxes, fewer=None):
        self.images, self.classes, self.boxes = images, classes, boxes
        self.fewer = min(fewer or len(images), len(images))
        self.chance = chance(boxes, images.shape[1:3])
        (info,) = tfsal.load(model).inputs.values()
        # Patches need to know the size, which a model may leave open.
        spec = tf.TensorSpec([None, *images.shape[1:]], info.dtype, info.name)
        self.net = tfsal.load(model, specs=spec)
        self._rows = 0
        self._counted = tfsal.load(self._counting(model), specs=spec)

    def asked(self, evaluations):
        """How many of the images a method of so many evaluations is asked about."""
        return self.fewer if evaluations > FEW else len(self.images)

    def method(self, kind):
        """A method with its defaults; with eight of the images where it needs references."""
        fields = [field.name for field in dataclasses.fields(kind)]
        return kind(references=self.images[-8:]) if "references" in fields else kind()

    def hits(self, kind, count):
        """[count] bool: is the strongest point of the map in the box? None where there is no map.

        Of several that are the strongest one is drawn.
        """
        if kind.name in MAKES_INPUTS:
            return None
        method, maps = self.method(kind), []
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            answer = method.explain(self.net, self.images[part], self.classes[part])
            maps.append(point_maps(answer.attribution.numpy(), answer.heatmap.numpy()))
        return hits(one_point(np.concatenate(maps)), self.boxes[:count])

    def evaluations(self, kind):
        """Rows that the model computed for an image, counted at its input."""
        self._rows = 0
        method, image = self.method(kind), self.images[:1]
        method.explain(self._counted, image, self.classes[:1], internal_batch_size=1)
        return self._rows

    def milliseconds(self, kinds, rounds=3):
        """{class of a method: least time for an image}, of calls that take turns.

        Args:
          kinds: {class of a method: how many images it is asked about in a call}.
          rounds: how many calls.
        """
        methods = {kind: self.method(kind) for kind in kinds}
        times = {kind: [] for kind in kinds}
        for _ in range(rounds + 1):  # The first may trace.
            for kind, method in methods.items():
                part = slice(kinds[kind])
                start = time.perf_counter()
                answer = method.explain(
                    self.net, self.images[part], self.classes[part], internal_batch_size=TIMED
                )
                answer.heatmap.numpy()
                times[kind].append((time.perf_counter() - start) / kinds[kind])
        return {kind: min(found[1:]) * 1000 for kind, found in times.items()}

    def _counting(self, model):
        def count(rows):
            self._rows += int(rows)
            return np.float32(0)

        def run(image):
            # As if without state, so that it runs only where what follows the image does.
            zero = tf.numpy_function(count, [tf.shape(image)[0]], tf.float32, stateful=False)
            return {"classes": model(image + tf.ensure_shape(zero, []))}

        return run


def one_point(maps, seed=0):
    """Maps with one strongest position, where that of the maps is: of several one is drawn.

    Methods of patches and regions give many positions the same value. What points nowhere, a map
    that is constant or not finite, is all zeros.

    Args:
      maps: [N, H, W].
      seed: of the draw.
    """
    strongest = maps == maps.max(axis=(1, 2), keepdims=True)
    somewhere = np.isfinite(maps).all(axis=(1, 2)) & ~strongest.all(axis=(1, 2))
    drawn = 1 - np.random.default_rng(seed).random(maps.shape)
    return np.where(strongest & somewhere[:, None, None], drawn, 0)
