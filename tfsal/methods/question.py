"""What is asked of a method: the values of a call, checked, as the tensors they become."""

import typing

import numpy as np
import tensorflow as tf

from tfsal.errors import InputError
from tfsal.graph.summary import shape_text


class Question(typing.NamedTuple):
    """What is asked of a method beside the inputs, as given; see Method.__call__."""

    class_index: typing.Any = None
    class_indices: typing.Any = None
    region: typing.Any = None
    seed: typing.Any = 0
    segments: typing.Any = None


def check_question(method, net, question, feeds):
    """Checks a Question about `feeds`, {input name: tensor}.

    Returns:
      {name: tensor} of what `argument_specs` lists, in its order.

    Raises:
      InputError: a value does not fit the model or the method.
    """
    asked, count = {}, _batch_size(net, feeds)
    given = method.segments_input(net)
    if given is not None:
        asked["segments"] = given.check(question.segments, feeds, count)
    elif question.segments is not None:
        raise InputError("segments= is for a method that takes them from you; this one does not.")
    classes = method.target.class_count(net)
    if question.class_indices is None:
        asked["class_index"] = _check_class_index(question.class_index, count, classes)
    elif question.class_index is not None:
        raise InputError("Give class_index= or class_indices=, not both.")
    else:
        asked["class_indices"] = _check_class_indices(question.class_indices, count, classes)
    region_shape = method.target.region_shape(net)
    if region_shape is not None:
        asked["region"] = _check_region(question.region, region_shape, count)
    elif question.region is not None:
        raise InputError("region= is for target=tfsal.RegionScore(); this target has no region.")
    seed = _check_seed(question.seed, count)
    if method.random:
        asked["seed"] = seed
    return asked


def argument_specs(method, net, several=None):
    """tf.TensorSpecs of what an explanation takes beside the model's own inputs.

    Args:
      method: a Method.
      net: a ModelGraph.
      several: number of classes of each example that are explained at once; None: one class.
    """
    given = method.segments_input(net)
    specs = [given.spec] if given is not None else []  # First: it has no default.
    if several is None:
        specs.append(tf.TensorSpec([None], tf.int32, "class_index"))
    else:
        specs.append(tf.TensorSpec([None, several], tf.int32, "class_indices"))
    region_shape = method.target.region_shape(net)
    if region_shape is not None:
        # Open sizes, because ones of size 1 are the default and are broadcast.
        specs.append(tf.TensorSpec([None] * region_shape.rank, tf.float32, "region"))
    if method.random:
        specs.append(tf.TensorSpec([None], tf.int32, "seed"))
    return specs


def check_feeds(net, x):
    """Fits values to the inputs of a model.

    Args:
      net: a ModelGraph.
      x: array or tensor for the only input, or {input name: array or tensor}.

    Returns:
      {input name: tensor}, in the order of net.inputs.

    Raises:
      InputError: a name, rank, shape or dtype does not fit, or a value is NaN.
    """
    if not isinstance(x, dict):
        if len(net.inputs) != 1:
            raise InputError(
                f"This model takes {len(net.inputs)} inputs; give a dict with "
                f"{', '.join(net.inputs)}."
            )
        x = {next(iter(net.inputs)): x}
    unknown = [name for name in x if name not in net.inputs]
    missing = [name for name in net.inputs if name not in x]
    if unknown or missing:
        wrong = f"No input '{unknown[0]}'" if unknown else f"'{missing[0]}' is missing"
        raise InputError(f"{wrong}; this model's inputs: {', '.join(net.inputs)}.")
    return {name: _check_value(info, x[name]) for name, info in net.inputs.items()}


def _check_value(info, value):
    if not tf.is_tensor(value):
        try:
            # NumPy would cut the zeros at the end of a string.
            text = info.dtype == tf.string
            value = tf.constant(value, tf.string) if text else np.asarray(value)
        except (ValueError, TypeError) as error:
            raise InputError(f"Input '{info.name}' is no array: {error}") from error
        if isinstance(value, np.ndarray) and value.dtype == object:
            raise InputError(f"Input '{info.name}' is an array of Python objects, not of numbers.")
    dtype, expected = tf.as_dtype(value.dtype), shape_text(info.shape)
    number = (dtype.is_floating or dtype.is_integer) and info.dtype.is_floating
    if dtype != info.dtype and not number and not (dtype.is_integer and info.dtype.is_integer):
        raise InputError(
            f"Input '{info.name}' is {dtype.name}; the model takes {info.dtype.name} {expected}."
        )
    shape = tf.TensorShape(value.shape)
    if not info.shape.is_compatible_with(shape):
        cure = ""
        if shape.rank is not None and info.shape.rank == shape.rank + 1:
            cure = " Add the batch axis: x[None]."
        raise InputError(
            f"Input '{info.name}' has the shape {shape_text(shape).replace('N', '?')}; the model "
            f"takes {expected}.{cure}"
        )
    _refuse_nan(f"Input '{info.name}'", value)
    if dtype != info.dtype and tf.executing_eagerly() and not dtype.is_bool:
        _refuse_overflow(info, np.asarray(value))
    return tf.cast(value, info.dtype)


def _refuse_overflow(info, value):
    """Raises when a value does not fit the narrower dtype of the model."""
    value = value[np.isfinite(value)] if value.dtype.kind == "f" else value
    low, high = info.dtype.min, info.dtype.max
    if value.size and (value.min() < low or value.max() > high):
        raise InputError(
            f"Input '{info.name}' goes from {value.min()} to {value.max()}, beyond the "
            f"{info.dtype.name} that the model takes."
        )


def _refuse_nan(what, value):
    dtype = tf.as_dtype(value.dtype)
    if dtype.is_floating and tf.executing_eagerly():
        bad = np.isnan(np.asarray(value, dtype=np.float64 if dtype.size > 4 else np.float32))
        if bad.any():
            row = int(np.argmax(bad.reshape(bad.shape[0], -1).any(1))) if bad.ndim else 0
            raise InputError(f"{what} holds a NaN, first in row {row}.")


def _batch_size(net, feeds):
    batched = {name: v for name, v in feeds.items() if net.inputs[name].batched}
    sizes = {name: v.shape[0] for name, v in batched.items() if v.shape.rank}
    known = {size for size in sizes.values() if size is not None}
    if len(known) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(f"The inputs have different numbers of examples: {listed}.")
    return known.pop() if known else None


def _check_class_index(class_index, count, classes):
    if tf.is_tensor(class_index) and not tf.executing_eagerly():
        return tf.reshape(tf.cast(class_index, tf.int32), [-1])
    index = np.asarray(-1 if class_index is None else class_index)
    index = index.astype(np.int32) if index.shape == (0,) else index
    if index.dtype.kind not in "iu" or index.ndim > 1:
        raise InputError(
            "class_index is one int for all examples or a list of [N] ints, not "
            f"{index.dtype} {list(index.shape)}. For several classes of each example, there is "
            "class_indices=."
        )
    index = index.reshape(-1)
    _check_classes("class_index", index, count, classes)
    return tf.constant(index, tf.int32)


def _check_class_indices(class_indices, count, classes):
    """[N or 1, K] int32."""
    if tf.is_tensor(class_indices) and not tf.executing_eagerly():
        index = tf.cast(class_indices, tf.int32)
        index = index[tf.newaxis] if index.shape.rank == 1 else index
        if index.shape.rank != 2 or not index.shape[1]:
            raise InputError(
                f"class_indices is [K] or [N, K] ints with K known, not {class_indices.shape}."
            )
        return index
    index = np.asarray(class_indices)
    index = index[np.newaxis] if index.ndim == 1 else index
    if index.dtype.kind not in "iu" or index.ndim != 2 or not index.shape[1]:
        raise InputError(
            "class_indices is a list of K ints for all examples or [N, K] ints, K 1 or more, not "
            f"{index.dtype} {list(index.shape)}."
        )
    _check_classes("class_indices", index, count, classes)
    most = (index == -1).sum(axis=1).max(initial=0)
    if classes is not None and most > classes:
        raise InputError(
            f"class_indices asks for the {most} best classes (-1), and the model has {classes}."
        )
    return tf.constant(index, tf.int32)


def _check_classes(name, index, count, classes):
    if count is not None and len(index) not in (1, count):
        raise InputError(f"{name} has {len(index)} entries for {count} examples.")
    top = np.inf if classes is None else classes
    wrong = (index < -1) | (index >= top)
    if wrong.any():
        last = "" if classes is None else f" to {classes - 1}"
        raise InputError(
            f"{name} {index[wrong][0]} is out of range: classes go from 0{last}, and -1 is the "
            "top-1 class."
        )


def _check_region(region, shape, count):
    if region is None:
        return tf.ones([1] * shape.rank)
    region = tf.cast(region, tf.float32)
    _refuse_nan("region", region)
    if not tf.TensorShape([None, *shape[1:]]).is_compatible_with(region.shape):
        raise InputError(
            f"region has the shape {region.shape}; it weighs the positions of the output, "
            f"{shape_text(shape)}."
        )
    if count is not None and region.shape[0] not in (None, 1, count):
        raise InputError(f"region has {region.shape[0]} entries for {count} examples.")
    return region


def _check_seed(seed, count):
    """[N or 1] int32."""
    if tf.is_tensor(seed) and not tf.executing_eagerly():
        return tf.reshape(tf.cast(seed, tf.int32), [-1])
    values = np.asarray(seed)
    values = values.astype(np.int32) if values.shape == (0,) else values
    if values.dtype.kind not in "iu" or values.ndim > 1:
        raise InputError(
            "seed is one int for all examples or a list of [N] ints, not "
            f"{values.dtype} {list(values.shape)}."
        )
    values = values.reshape(-1)
    if count is not None and len(values) not in (1, count):
        raise InputError(f"seed has {len(values)} entries for {count} examples.")
    if len(values) and (values.min() < tf.int32.min or values.max() > tf.int32.max):
        raise InputError(f"seed is a 32-bit integer, {tf.int32.min} to {tf.int32.max}.")
    return tf.constant(values, tf.int32)
