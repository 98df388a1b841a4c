"""The CAM reductions against NumPy twins written from the papers, in float64."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

tf = pytest.importorskip("tensorflow")

from tfsal.ops import cam_ops  # noqa: E402

# How far a result may be from the twin, over the sum of the absolute terms: half-precision inputs
# are exact in float64, so only the float32 sums remain.
ROUNDING = {"float16": 2e-6, "bfloat16": 2e-6, "float32": 2e-6, "float64": 1e-14}


def grad_cam(a, g):
    """Selvaraju et al. 2017: alpha_k = 1/Z sum_ij g_kij (eq. 1), L = sum_k alpha_k A_k (eq. 2)."""
    n, *spatial, c = a.shape
    cam = np.zeros((n, *spatial))
    for i in range(n):
        for k in range(c):
            cam[i] += g[i, ..., k].sum() / np.prod(spatial) * a[i, ..., k]
    return cam


def hires_cam(a, g):
    """Draelos and Carin 2020, eq. 4: sum_k g_k (elementwise) A_k."""
    return np.einsum("n...k,n...k->n...", a, g)


def layer_cam(a, g):
    """Jiang et al. 2021: w_kij = relu(g_kij) (eq. 5), M = sum_k w_kij A_kij (eqs. 6 and 7)."""
    return np.einsum("n...k,n...k->n...", a, np.where(g > 0, g, 0))


TWINS = [
    (cam_ops.grad_cam, grad_cam),
    (cam_ops.hires_cam, hires_cam),
    (cam_ops.layer_cam, layer_cam),
]
each_op = pytest.mark.parametrize(("op", "twin"), TWINS, ids=[twin.__name__ for _, twin in TWINS])

shapes = st.tuples(
    st.integers(0, 3),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.sampled_from([1, 2, 7, 33]),
).map(lambda parts: (parts[0], *parts[1], parts[2]))


def pair(shape, dtype, seed=0):
    """Activations and gradients, and what float64 sees of them."""
    random = np.random.default_rng(seed)
    tensors = [tf.cast(random.normal(0.3, 1, shape), dtype) for _ in range(2)]
    return tensors, [tf.cast(t, tf.float64).numpy() for t in tensors]


def error(found, expected, terms):
    scale = terms.max(initial=0) or 1
    return np.abs(found.numpy() - expected).max(initial=0) / scale


@each_op
@pytest.mark.parametrize("dtype", ROUNDING)
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(shape=shapes, seed=st.integers(0, 99))
def test_equals_the_papers_formula(op, twin, dtype, shape, seed):
    (a, g), (a64, g64) = pair(shape, dtype, seed)
    cam = op(a, g)
    assert cam.dtype == (tf.float64 if dtype == "float64" else tf.float32)
    assert cam.shape == shape[:-1]
    assert error(cam, twin(a64, g64), twin(np.abs(a64), np.abs(g64))) <= ROUNDING[dtype]


@each_op
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(op, twin, dtype):
    # 4096 terms of 1: a float16 sum stops at 2048, a bfloat16 sum at 256.
    ones = tf.ones([1, 64, 64, 4096], dtype)
    np.testing.assert_array_equal(op(ones[:, :2, :2], ones[:, :2, :2]), np.full((1, 2, 2), 4096.0))
    # The mean over 4096 positions of 16 + 1/64 is lost when it is summed in half precision.
    gradients = tf.fill([1, 64, 64, 1], tf.cast(15.5, dtype))
    np.testing.assert_array_equal(op(ones[..., :1], gradients), np.full((1, 64, 64), 15.5))


@each_op
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_eager_graph_and_xla_agree(op, twin, rank, dtype):
    unknown = tf.TensorSpec([None] * (rank + 2), dtype)
    graph = tf.function(op, input_signature=[unknown] * 2)
    xla = tf.function(op, input_signature=[unknown] * 2, jit_compile=True)
    for shape in [(2, *(5, 4, 3)[:rank], 7), (1, *(1,) * rank, 1), (0, *(3,) * rank, 2)]:
        (a, g), (a64, g64) = pair(shape, dtype)
        terms = twin(np.abs(a64), np.abs(g64))
        for function in (graph, xla):
            assert error(function(a, g), op(a, g).numpy(), terms) <= ROUNDING[dtype]


@each_op
def test_knows_the_static_shape(op, twin):
    @tf.function(input_signature=[tf.TensorSpec([None, 7, 5, 3])] * 2)
    def traced(a, g):
        cam = op(a, g)
        assert cam.shape.as_list() == [None, 7, 5]
        return cam

    traced(tf.ones([2, 7, 5, 3]), tf.ones([2, 7, 5, 3]))


@each_op
def test_rows_do_not_mix(op, twin):
    (a, g), _ = pair((3, 4, 4, 5), "float32")
    poisoned = tf.concat([a[:1], a[1:2] * np.nan, a[2:]], 0)
    clean, found = op(a, g).numpy(), op(poisoned, g).numpy()
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])
