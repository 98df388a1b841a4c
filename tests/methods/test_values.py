"""What is given to a method: refused where it does not fit, answered where it does."""

import networks
import numpy as np
import pytest
import tensorflow as tf

import tfsal
from tfsal import GradCAM, GradientTimesInput, HiResCAM, LayerCAM, VanillaGradient
from tfsal.errors import InputError, TfsalError
from tfsal.methods.explain import explain

METHODS = [GradCAM(), HiResCAM(), LayerCAM(), VanillaGradient(), GradientTimesInput()]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
IMAGES = networks.batch(3, 16, 16, 3)
NAN = np.where(np.arange(3)[:, None, None, None] == 1, np.nan, IMAGES)


@pytest.fixture(scope="module")
def net(built):
    return tfsal.load(built("functional"))


@pytest.fixture(scope="module")
def two(built):
    return tfsal.load(built("two inputs"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (IMAGES[0], r"shape .*takes N x 16 x 16 x 3.*x\[None\]"),
        (IMAGES[:, :8], "has the shape 3 x 8 x 16 x 3"),
        (IMAGES[..., :1], "takes N x 16 x 16 x 3"),
        (IMAGES[None], "takes N x 16 x 16 x 3"),
        (1.0, "takes N x 16 x 16 x 3"),
        (IMAGES > 0, "is bool; the model takes float32"),
        (IMAGES.astype("complex64"), "is complex64"),
        (np.full((3, 16, 16, 3), b"x"), "is string"),
        (np.full((3, 16, 16, 3), None), "Python objects"),
        ([[1.0], [1.0, 2.0]], "is no array"),
        (NAN, "'image' holds a NaN, first in row 1"),
        (NAN.astype("float16"), "first in row 1"),
        (tf.constant(NAN, tf.bfloat16), "first in row 1"),
        ({"picture": IMAGES}, "No input 'picture'; this model's inputs: image"),
        ({"image": IMAGES, "more": IMAGES}, "No input 'more'"),
        ({}, "'image' is missing"),
    ],
)
def test_an_input_that_does_not_fit(net, x, message):
    with pytest.raises(InputError, match=message):
        GradCAM()(net, x, 0)


@pytest.mark.parametrize(
    ("class_index", "message"),
    [
        (5, "class_index 5 is out of range: classes go from 0 to 4"),
        (-2, "class_index -2 is out of range"),
        ([0, 1, 99], "class_index 99"),
        ([0, 1], "2 entries for 3 examples"),
        ([[0], [1], [2]], r"one int .* or a list of \[N\] ints"),
        (1.0, "one int"),
        ("cat", "one int"),
        (True, "one int"),
    ],
)
def test_a_class_that_does_not_exist(net, class_index, message):
    with pytest.raises(InputError, match=message):
        GradCAM()(net, IMAGES, class_index)


def test_inputs_of_different_lengths(two):
    x = {"image": IMAGES, "meta": np.ones((2, 4))}
    with pytest.raises(InputError, match="different numbers of examples: image 3, meta 2"):
        VanillaGradient(target=tfsal.ClassScore("age"))(two, x)


def test_several_inputs_are_given_by_name(two):
    with pytest.raises(InputError, match="takes 2 inputs; give a dict with image, meta"):
        VanillaGradient(target=tfsal.ClassScore("age"))(two, IMAGES)


def test_a_model_that_was_not_loaded(built):
    with pytest.raises(TfsalError, match=r"tfsal\.load"):
        GradCAM()(built("functional"), IMAGES)


@pytest.mark.parametrize(
    "x",
    [
        IMAGES.astype("float64"),
        IMAGES.tolist(),
        tf.constant(IMAGES),
        {"image": IMAGES},
        np.asfortranarray(IMAGES),
    ],
    ids=["float64", "list", "tensor", "dict", "fortran"],
)
def test_numbers_in_any_form(net, x):
    np.testing.assert_array_equal(GradCAM()(net, x, 1), GradCAM()(net, IMAGES, 1))


def test_integers_become_floats(net):
    x = np.arange(3 * 16 * 16 * 3).reshape(3, 16, 16, 3) % 256
    expected = GradCAM()(net, x.astype("float32"), 1)
    for dtype in ("uint8", "int64"):
        np.testing.assert_array_equal(GradCAM()(net, x.astype(dtype), 1), expected)


@pytest.mark.parametrize("class_index", [2, [2, 2, 2], np.int64(2), tf.constant(2), [2]], ids=repr)
def test_a_class_in_any_form(net, class_index):
    np.testing.assert_array_equal(GradCAM()(net, IMAGES, class_index), GradCAM()(net, IMAGES, 2))


@each_method
@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_empty_batch_has_an_empty_answer(net, method, jit_compile):
    full = method.explain(net, IMAGES)
    empty = method.explain(net, IMAGES[:0], jit_compile=jit_compile)
    for name in ("attribution", "heatmap", "score", "class_index"):
        one, none = getattr(full, name), getattr(empty, name)
        assert none.shape == (0, *one.shape[1:]) and none.dtype == one.dtype
    assert method(net, IMAGES[:0], []).shape[0] == 0


@each_method
def test_works_inside_a_function_of_the_user(net, method):
    @tf.function
    def loss(x):
        return tf.reduce_sum(method(net, x, 1), keepdims=False)

    expected = tf.reduce_sum(method(net, IMAGES, 1))
    np.testing.assert_allclose(loss(tf.constant(IMAGES)), expected, rtol=1e-4)


# ---------------------------------------------------------------- inside a signature


@each_method
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("wrong", ["input", "class too high", "class too low"])
def test_a_wrong_row_is_nan_and_its_neighbours_are_untouched(net, method, jit_compile, wrong):
    @tf.function(jit_compile=jit_compile)
    def signature(x, class_index):
        return explain(method, net, {"image": x}, {"class_index": class_index})

    x, classes = IMAGES.copy(), np.array([1, 2, -1], "int32")
    clean = signature(x, classes)
    if wrong == "input":
        x[1, 3, 3, 0] = np.nan
    else:
        classes[1] = 5 if wrong == "class too high" else -2
    found = signature(x, classes)
    for name in ("attribution", "heatmap", "score"):
        assert np.isnan(found[name][1]).all()
        np.testing.assert_array_equal(found[name][0], clean[name][0])
        np.testing.assert_array_equal(found[name][2], clean[name][2])
    top = np.argmax(clean["outputs"]["predictions"][2])
    np.testing.assert_array_equal(found["class_index"], [1, -2, top])
