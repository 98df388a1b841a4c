"""The CAM reductions: composite, fused op, XLA and NumPy module against twins in float64."""

import functools
import importlib
import itertools
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from twins import TWINS

from tfsal import kernels
from tfsal.kernels import library
from tfsal.ops import cam_composites, cam_ops, fused

# How far a result may be from the twin, over the largest sum of absolute terms: half-precision
# inputs are exact in float64, so only the float32 sums remain.
ROUNDING = {"float16": 4e-6, "bfloat16": 4e-6, "float32": 4e-6, "float64": 1e-13}
WAYS = ["composite", "composite in XLA", "fused", "fused in a graph", "fused in XLA", "NumPy"]
each_reduction = pytest.mark.parametrize("reduction", TWINS)
each_way = pytest.mark.parametrize("way", WAYS)
each_dtype = pytest.mark.parametrize("dtype", ROUNDING)


@functools.cache
def implementation(way, reduction):
    """Function (a, second, **attributes) -> (map, weights or None)."""
    if way == "NumPy":
        if not kernels.status().numpy:
            pytest.skip(kernels.native_hint())
        return getattr(importlib.import_module("tfsal.kernels.cam"), reduction)
    if "composite" in way:
        function = getattr(cam_composites, reduction)
    else:
        if library.fused_ops() is None:
            pytest.skip(kernels.status().reason)
        function = getattr(cam_ops, reduction)
    if way in ("composite", "fused"):
        return function
    return tf.function(function, jit_compile="XLA" in way, autograph=False)


def run(way, reduction, a, second, **attributes):
    """(map, weights or None) as arrays."""
    if way != "NumPy":
        a, second = tf.constant(a), tf.constant(second)
    found = implementation(way, reduction)(a, second, **attributes)
    found = found if isinstance(found, tuple) else (found, None)
    return [x if x is None else np.asarray(x) for x in found]


def pair(shape, dtype, seed=0, reduction="hires_cam"):
    """(a, second) as the reduction takes them, of sizes that make its sums well-conditioned."""
    random = np.random.default_rng(seed)
    kind = tf.dtypes.as_dtype(dtype).as_numpy_dtype
    a = np.asarray(random.normal(0.3, 1, shape), kind)
    if reduction in ("x_grad_cam", "grad_cam_plus_plus"):
        # They divide by a sum of activations, and an op's epsilon is a float32.
        a = np.abs(a) + kind(0.25)
    if reduction == "weighted_cam":
        sums = "float64" if dtype == "float64" else "float32"
        return a, random.normal(size=(shape[0], shape[-1])).astype(sums)
    return a, np.asarray(random.normal(0, 1, shape), kind)


def error(found, expected, terms):
    scale = terms.max(initial=0) or 1
    return np.abs(found.astype("f8") - expected).max(initial=0) / scale


def check(way, reduction, a, second, relu=False, **attributes):
    a64, second64 = a.astype("f8"), second.astype("f8")
    cam, weights = TWINS[reduction](a64, second64, **attributes)
    given = second64 if reduction == "weighted_cam" else None
    terms = (
        np.einsum("n...k,nk->n...", np.abs(a64), np.abs(weights))
        if weights is not None
        else (
            TWINS["hires_cam"](np.abs(a64), np.abs(second64))[0]
            if given is None
            else np.einsum("n...k,nk->n...", np.abs(a64), np.abs(given))
        )
    )
    dtype = a.dtype.name
    sums = "float64" if dtype == "float64" else "float32"
    found, found_weights = run(way, reduction, a, second, relu=relu, **attributes)
    assert found.dtype == sums and found.shape == a.shape[:-1]
    assert error(found, np.maximum(cam, 0) if relu else cam, terms) <= ROUNDING[dtype]
    if weights is not None:
        scale = np.abs(second64).max(initial=0)
        assert found_weights.dtype == sums
        assert error(found_weights, weights, np.array([scale])) <= ROUNDING[dtype]


shapes = st.tuples(
    st.integers(0, 3),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.sampled_from([1, 2, 7, 16, 33]),
).map(lambda parts: (parts[0], *parts[1], parts[2]))


@each_way
@each_reduction
@each_dtype
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_whole_product(way, reduction, dtype, rank):
    for relu, seed in itertools.product([False, True], range(2)):
        shape = (2, *(5, 4, 3)[:rank], (7, 32)[seed])
        check(way, reduction, *pair(shape, dtype, seed, reduction), relu=relu)


@pytest.mark.parametrize("way", ["composite", "fused", "NumPy"])
@each_reduction
@each_dtype
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(shape=shapes, seed=st.integers(0, 99), relu=st.booleans())
def test_any_shape(way, reduction, dtype, shape, seed, relu):
    check(way, reduction, *pair(shape, dtype, seed, reduction), relu=relu)


@pytest.mark.parametrize("way", ["composite", "fused", "NumPy"])
@each_reduction
@pytest.mark.parametrize("shape", [(1, 300, 40, 33), (3, 5000, 64), (40, 49, 512), (2, 7, 2048)])
def test_shapes_of_many_chunks(way, reduction, shape):
    check(way, reduction, *pair(shape, "float32", 1, reduction))


@pytest.mark.parametrize("way", ["fused", "NumPy"])
@pytest.mark.parametrize("reduction", ["grad_cam", "grad_cam_plus_plus", "x_grad_cam"])
def test_long_sums_of_few_channels(way, reduction):
    """One float that added up 60000 nearly equal terms would be off by 3e-4."""
    a, g = pair((1, 60000, 1), "float32", 0, reduction)
    _, expected = TWINS[reduction](a.astype("f8"), np.abs(g).astype("f8"))
    _, found = run(way, reduction, a, np.abs(g))
    np.testing.assert_allclose(found, expected, rtol=3e-6)


@each_way
@pytest.mark.parametrize("alpha", ["paper", "normalized", "mean"])
def test_the_variants_of_plus_plus(way, alpha):
    a, g = pair((2, 5, 6, 33), "float32", reduction="grad_cam_plus_plus")
    check(way, "grad_cam_plus_plus", a, g, alpha=alpha)


@each_way
@pytest.mark.parametrize("epsilon", [1e-7, 0.5])
def test_the_epsilon_of_x_grad_cam(way, epsilon):
    check(way, "x_grad_cam", *pair((2, 4, 7), "float32", 0, "x_grad_cam"), epsilon=epsilon)


@each_way
@pytest.mark.parametrize("scale", [1e6, 1, 1e-6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_plus_plus_stays_finite_whatever_the_gradients_scale(way, scale, dtype):
    a, g = pair((2, 9, 33), dtype, reduction="grad_cam_plus_plus")
    check(way, "grad_cam_plus_plus", a * 10, g * a.dtype.type(scale))


@each_way
def test_plus_plus_where_the_denominator_is_zero_or_negative(way):
    # Totals: -2, -4, 0. With g = 1 the denominators are 0, -2, 2.
    a = np.array([[[-1, -3, 1], [-1, -1, -1]]], "float32")
    g = np.array([[[1, 1, 1], [0, -1, 0]]], "float32")
    cam, weights = run(way, "grad_cam_plus_plus", a, g)
    np.testing.assert_array_equal(weights, [[0, -0.5, 0.5]])
    np.testing.assert_array_equal(cam, [[2, 0]])


@each_way
@each_reduction
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(way, reduction, dtype):
    # 4096 terms of 1: a float16 sum stops at 2048, a bfloat16 sum at 256.
    kind = tf.dtypes.as_dtype(dtype).as_numpy_dtype
    ones = np.ones((1, 4, 4096), kind)
    second = np.ones((1, 4096), "f") if reduction == "weighted_cam" else ones
    cam, weights = run(way, reduction, ones, second)
    expected = np.full((1, 4), 4096 * (1 if weights is None else weights[0, 0]))
    np.testing.assert_allclose(cam, expected, rtol=1e-4)
    if weights is not None:
        # The mean over 4096 positions of 15.5 is lost when it is summed in half precision.
        cam, _ = run(
            way, "grad_cam", np.ones((1, 4096, 1), kind), np.full((1, 4096, 1), 15.5, kind)
        )
        np.testing.assert_array_equal(cam, np.full((1, 4096), 15.5))


@pytest.mark.parametrize("way", ["fused", "NumPy"])
def test_every_float16_is_read_right(way):
    """One by one, and as the only value of a row that is read as vectors; NaN and infinity too."""
    bits = np.arange(2**16, dtype="uint16").view("float16")
    column = bits.reshape(1, -1, 1)
    cam, _ = run(way, "hires_cam", column, np.ones_like(column))
    np.testing.assert_array_equal(cam[0], bits.astype("float32"))
    rows = np.zeros((1, 2**16, 64), "float16")
    rows[0, np.arange(2**16), np.arange(2**16) % 64] = bits
    cam, _ = run(way, "hires_cam", rows, np.ones_like(rows))
    np.testing.assert_array_equal(cam[0], bits.astype("float32"))


@each_way
@each_reduction
@pytest.mark.parametrize("shape", [(0, 3, 3, 2), (2, 3, 1, 1), (1, 1, 1), (1, 1, 1, 1, 5)])
def test_corner_shapes(way, reduction, shape):
    check(way, reduction, *pair(shape, "float32", 0, reduction))


@each_way
@each_reduction
@pytest.mark.parametrize("shape", [(2, 0, 4, 3), (2, 3, 4, 0)])
def test_empty_examples(way, reduction, shape):
    a, second = pair(shape, "float32", 0, reduction)
    cam, _ = run(way, reduction, a, second)
    np.testing.assert_array_equal(cam, np.zeros(shape[:-1]))


@each_way
@each_reduction
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_rows_do_not_mix(way, reduction, poison):
    a, second = pair((3, 4, 4, 5), "float32", 0, reduction)
    bad = second.copy()
    bad[1] = np.nan
    clean, _ = run(way, reduction, a, second)
    found, _ = run(way, reduction, a, bad)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])
    bad_a = a.copy()
    bad_a[1, 2, 3, 4] = poison
    found, _ = run(way, reduction, bad_a, second)
    assert not np.isfinite(found[1, 2, 3]).all() or reduction in ("layer_cam", "grad_cam_plus_plus")
    np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("way", ["composite in XLA", "fused in a graph", "fused in XLA"])
@each_reduction
def test_knows_the_static_shape(way, reduction):
    second = [None, 3] if reduction == "weighted_cam" else [None, 7, 5, 3]
    known = implementation(way, reduction).get_concrete_function(
        tf.TensorSpec([None, 7, 5, 3]), tf.TensorSpec(second)
    )
    outputs = known.structured_outputs
    cam, weights = outputs if isinstance(outputs, tuple) else (outputs, None)
    assert cam.shape.as_list() == [None, 7, 5]
    assert weights is None or weights.shape.as_list() == [None, 3]


@each_reduction
@pytest.mark.parametrize("relu", [False, True])
def test_the_gradient_is_the_composites(reduction, relu):
    implementation("fused", reduction)
    a, second = (tf.constant(x) for x in pair((2, 5, 4, 3), "float64", 0, reduction))
    gradients = []
    for module in (cam_ops, cam_composites):
        with tf.GradientTape() as tape:
            tape.watch([a, second])
            found = getattr(module, reduction)(a, second, relu=relu)
            cam = found[0] if isinstance(found, tuple) else found
            loss = tf.reduce_sum(cam**2)
        gradients.append(tape.gradient(loss, [a, second]))
    for mine, expected in zip(*gradients, strict=True):
        assert relu or np.abs(expected).max() > 0
        assert error(mine.numpy(), expected.numpy(), np.abs(expected)) < 1e-12


@each_reduction
def test_portable_graphs_hold_no_op_of_ours(reduction):
    implementation("fused", reduction)
    a, second = (tf.constant(x) for x in pair((2, 5, 4, 3), "float32", 0, reduction))

    def ops(**kwargs):
        function = tf.function(lambda: getattr(cam_ops, reduction)(a, second))
        return [op.type for op in function.get_concrete_function().graph.get_operations()]

    assert any(op.startswith("Tfsal") for op in ops())
    with fused.portable():
        assert not any(op.startswith("Tfsal") for op in ops())
    assert any(op.startswith("Tfsal") for op in ops())


@pytest.mark.parametrize("reduction", [name for name in TWINS if name != "weighted_cam"])
def test_the_kernels_need_memory_for_their_outputs_only(reduction):
    """The high-water mark of a process that reduces 2 x 64 MB."""
    if not kernels.status().numpy:
        pytest.skip(kernels.native_hint())
    code = f"""
import numpy as np
from tfsal.kernels import cam

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

a = np.ones((1, 512, 1024, 32), "float32")
cam.{reduction}(a[:, :1], a[:, :1])  # Starts the threads.
g = a.copy()
before = peak()
cam.{reduction}(a, g)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outputs = 512 * 1024 * 4 / 1024
    assert int(done.stdout) < outputs + 512, f"{done.stdout} kB for {outputs} kB of outputs"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("way", ["fused", "fused in XLA", "NumPy"])
@each_reduction
@pytest.mark.parametrize(
    ("a", "second"),
    [((2, 3), (2, 3)), ((2, 4, 3), (2, 5, 3)), ((2, 4, 3), (3, 3)), ((2, 4, 3), (2, 4, 3, 1))],
)
def test_wrong_shapes_are_refused(way, reduction, a, second):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        run(way, reduction, np.ones(a, "f"), np.ones(second, "f"))


@each_reduction
def test_numpy_arrays_that_cannot_be_read_as_they_lie_are_refused(reduction):
    a, second = pair((2, 6, 3), "float32", 0, reduction)
    shifted = np.frombuffer(b"x" + a.tobytes(), "float32", offset=1).reshape(a.shape)
    for wrong in (a[:, ::2], a.transpose(0, 2, 1), shifted):
        with pytest.raises(ValueError, match="not C-contiguous and aligned"):
            implementation("NumPy", reduction)(wrong, second)


@pytest.mark.parametrize("way", ["fused", "NumPy"])
@each_reduction
def test_wrong_dtypes_are_refused(way, reduction):
    a = np.ones((2, 4, 3), "f")
    second = np.ones((2, 3) if reduction == "weighted_cam" else a.shape)
    errors = (TypeError, ValueError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError)
    for wrong in [(a, second.astype("float64")), (a.astype("int32"), second.astype("int32"))]:
        with pytest.raises(errors):
            run(way, reduction, *wrong)


def test_sums_in_another_type_are_refused():
    implementation("fused", "grad_cam")
    ones = tf.ones([1, 2, 3])
    with pytest.raises(tf.errors.OpError):
        library.fused_ops().tfsal_grad_cam(ones, ones, Tsum=tf.float64)
