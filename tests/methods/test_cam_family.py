"""What the class activation maps promise one another: identities, heads, several layers."""

import dataclasses

import networks
import numpy as np
import oracles
import pytest
import tensorflow as tf
import twins
from reference import error

import tfsal
from tfsal import (
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    RespondCAM,
    SaliencyTubes,
    ScoreCAM,
    XGradCAM,
)
from tfsal.errors import LayerError, MethodError
from tfsal.ops.principal import first_component

CLASS = 2
IMAGES = networks.batch(2, 16, 16, 3)


@pytest.fixture(scope="module", params=[1, 2, 3], ids=["1-D", "2-D", "3-D"])
def gap(request):
    model = oracles.GapNet(request.param)
    return model, model.load(), model.images()


@pytest.fixture(scope="module")
def cnn(built):
    return tfsal.load(built("functional"))


# ---------------------------------------------------------------- identities


def test_saliency_tubes_are_cam_and_proportional_to_grad_cam(gap):
    model, net, x = gap
    tubes = SaliencyTubes()(net, x, CLASS).numpy()
    positions = np.prod(tubes.shape[1:])
    assert error(tubes, model.cam(x, CLASS) * positions) < 1e-6
    assert error(tubes, GradCAM(relu=False)(net, x, CLASS) * positions) < 1e-6
    mean = tubes.mean(tuple(range(1, tubes.ndim)))
    assert error(mean, model(x).numpy()[:, CLASS] - model.bias[CLASS]) < 1e-5


def test_respond_cam_sums_to_the_sum_of_activations_times_gradients(cnn):
    for layer in ("features", "conv2d_2", "pool"):
        total = tf.reduce_sum(RespondCAM(layer)(cnn, IMAGES, 0), [1, 2])
        expected = tf.reduce_sum(HiResCAM(layer)(cnn, IMAGES, 0), [1, 2])
        assert error(total, expected) < 1e-4


def test_xgrad_cam_is_respond_cam_and_a_relu(cnn):
    respond = RespondCAM("features")(cnn, IMAGES, 0)
    assert respond.numpy().min() < 0
    np.testing.assert_array_equal(XGradCAM("features")(cnn, IMAGES, 0), tf.nn.relu(respond))
    np.testing.assert_array_equal(XGradCAM("features", relu=False)(cnn, IMAGES, 0), respond)


def test_relu_defaults_are_the_papers():
    on = [kind for kind in tfsal.list_methods().values() if getattr(kind(), "relu", False)]
    assert set(on) == {GradCAM, GradCAMPlusPlus, XGradCAM, LayerCAM, ScoreCAM, AblationCAM}


# ---------------------------------------------------------------- Grad-CAM++


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_plus_plus_is_finite_at_logits_of_100_and_any_gradient(size, jit_compile):
    """exp(100) does not fit into a float32; size scales the gradients, the bias the logits."""
    model = oracles.GapNet()
    model.head, model.bias = size * model.head, model.bias * 0 + 100
    net, x = model.load(), model.images()
    answer = GradCAMPlusPlus().explain(net, x, CLASS, jit_compile=jit_compile)
    a = np.asarray(net_features(net, x), "f8")
    g = np.broadcast_to(model.head[:, CLASS] / np.prod(a.shape[1:-1]), a.shape).astype("f8")
    assert np.isfinite(answer.attribution).all() and np.max(answer.attribution) > 0
    assert error(answer.attribution, np.maximum(twins.grad_cam_plus_plus(a, g)[0], 0)) < 1e-5


def net_features(net, x):
    @tf.function
    def run(x):
        return net.apply({next(iter(net.inputs)): x}, [net.default_layer])[0]

    return run(tf.constant(x))


def test_the_variants_of_plus_plus_differ(cnn):
    a, b, c = (
        GradCAMPlusPlus("conv2d_2", alpha=alpha, relu=False)(cnn, IMAGES, 0)
        for alpha in ("paper", "normalized", "mean")
    )
    assert min(error(a, b), error(a, c), error(b, c)) > 1e-2
    with pytest.raises(MethodError, match="alpha='sum' is not of type"):
        GradCAMPlusPlus(alpha="sum")


@pytest.mark.parametrize("kind", [XGradCAM, RespondCAM])
def test_epsilon_counts(cnn, kind):
    little, much = (kind("features", epsilon=e)(cnn, IMAGES, 0) for e in (1e-7, 10.0))
    assert error(little, much) > 1e-2
    with pytest.raises(MethodError, match="epsilon is 0 or more"):
        kind(epsilon=-1.0)


# ---------------------------------------------------------------- Saliency Tubes


def head(*middle, pool=None, units=3):
    """A network with layers between its convolution and its last dense layer."""
    import keras

    layers = keras.layers
    image = layers.Input([8, 8, 3])
    h = layers.Conv2D(5, 3, activation="softplus", name="features")(image)
    h = (pool or layers.GlobalAveragePooling2D())(h)
    for layer in middle:
        h = layer(h)
    return tfsal.load(networks.alive(keras.Model(image, layers.Dense(units, "softmax")(h))))


def test_saliency_tubes_take_the_heads_they_are_made_for():
    import keras

    layers = keras.layers
    x = networks.batch(2, 8, 8, 3)
    for net in (
        head(),
        head(layers.Dropout(0.5)),
        head(layers.Flatten(), pool=layers.GlobalAveragePooling2D(keepdims=True)),
        head(layers.Flatten(), pool=layers.AveragePooling2D(6)),
        head(units=1),
    ):
        tubes = SaliencyTubes()(net, x, 1)
        assert error(tubes, HiResCAM()(net, x, 1) * 36) < 1e-5


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("hidden", "Relu"),
        ("max", r"\(Max\)"),
        ("flat", "MatMul"),
        ("some", "AvgPool"),
        ("norm", "Mul|Rsqrt"),
    ],
)
def test_saliency_tubes_refuse_other_heads(what, message):
    import keras

    layers = keras.layers
    net = {
        "hidden": lambda: head(layers.Dense(4, "relu")),
        "max": lambda: head(pool=layers.GlobalMaxPooling2D()),
        "flat": lambda: head(pool=layers.Flatten()),
        "some": lambda: head(layers.Flatten(), pool=layers.AveragePooling2D(3)),
        "norm": lambda: head(layers.BatchNormalization()),
    }[what]()
    with pytest.raises(MethodError, match=f"global average pooling.*({message}).*HiResCAM"):
        SaliencyTubes("features")(net, networks.batch(2, 8, 8, 3), 0)


# ---------------------------------------------------------------- Eigen-CAM


@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 3, 3, 40), (2, 30, 2), (1, 2, 3, 2, 5)])
@pytest.mark.parametrize("way", ["eager", "graph", "XLA"])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_the_first_component_is_that_of_a_singular_value_decomposition(shape, way, scale):
    a = np.random.default_rng(0).normal(size=shape)
    a[..., 0] += 3 * np.arange(np.prod(shape[1:-1])).reshape(shape[1:-1])  # One that stands out.
    function = first_component
    if way != "eager":
        function = tf.function(function, jit_compile=way == "XLA")
    expected = twins.eigen_cam(a * scale)
    # XLA's eigensolver stops at 1e-6, in float64 too.
    assert error(function(tf.constant(a * scale)), expected) < (1e-5 if way == "XLA" else 1e-9)
    assert error(function(tf.constant(a * scale, tf.float32)), expected) < 1e-4


def test_the_first_component_of_sizes_that_are_open():
    a = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    spec = tf.TensorSpec([None, None, None, 3])
    found = tf.function(first_component, input_signature=[spec])(a)
    assert error(found, twins.eigen_cam(a.astype("f8"))) < 1e-4


def test_a_constant_layer_has_no_component_and_nan_stays_in_its_row():
    a = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype("float32")
    a[1], a[2, 0, 0, 0] = 7, np.nan
    found = first_component(tf.constant(a)).numpy()
    assert not found[1].any() and np.isnan(found[2]).all() and np.isfinite(found[0]).all()


def test_eigen_cam_is_the_same_for_every_class_and_eigen_grad_cam_is_not(cnn):
    a, b = (EigenCAM("features")(cnn, IMAGES, c) for c in (0, 1))
    np.testing.assert_array_equal(a, b)
    a, b = (EigenGradCAM("features")(cnn, IMAGES, c) for c in (0, 1))
    assert error(a, b) > 1e-2


# ---------------------------------------------------------------- several layers

LAYERS = ("conv2d_1", "conv2d_2", "features")


@pytest.mark.parametrize("fuse", ["max", "mean"])
@pytest.mark.parametrize("kind", [GradCAM, LayerCAM, HiResCAM, EigenCAM])
def test_several_layers_are_scaled_resized_and_fused(cnn, kind, fuse):
    found = kind(layer=list(LAYERS), fuse=fuse).explain(cnn, IMAGES, 0)
    maps = []
    for layer in LAYERS:
        cam = kind(layer=layer)(cnn, IMAGES, 0)
        cam = tfsal.visualize.resize(cam, [8, 8]).numpy()
        maps.append(cam / np.abs(cam).max((1, 2), keepdims=True))
    expected = getattr(np, fuse)(maps, axis=0)
    assert error(found.attribution, expected) < 1e-5
    assert found.heatmap.shape == (2, 16, 16)


def test_several_layers_cost_one_backward_pass(cnn):
    from test_against_tape import ops_of

    ops = ops_of(cnn, LayerCAM(layer=list(LAYERS)))
    assert ops["Conv2D"] == 4 and ops["Conv2DBackpropInput"] == 2


def test_several_layers_of_tokens(built):
    vit = tfsal.load(built("vit, class token"))
    names = ["block0_add1", "features"]
    found = HiResCAM(names, token_grid=(4, 4), fuse="mean")(vit, IMAGES, 0)
    maps = [HiResCAM(n, token_grid=(4, 4))(vit, IMAGES, 0).numpy() for n in names]
    expected = np.mean([m / np.abs(m).max((1, 2), keepdims=True) for m in maps], axis=0)
    assert error(found, expected) < 1e-5


def test_layers_that_do_not_go_together(built, cnn):
    with pytest.raises(MethodError, match="names no layer"):
        GradCAM(layer=[])
    with pytest.raises(MethodError, match="fuse is for several layers"):
        GradCAM("features", fuse="mean")
    with pytest.raises(LayerError, match="no layer 'conv2d_9'"):
        GradCAM(["features", "conv2d_9"])(cnn, IMAGES, 0)
    vit = tfsal.load(built("vit, class token"))  # A convolution, then tokens.
    ranks = {len(layer.spatial): layer.name for layer in vit.layers() if layer.is_map}
    assert sorted(ranks) == [1, 2]
    with pytest.raises(LayerError, match="number of spatial axes"):
        GradCAM(list(ranks.values()))(vit, IMAGES, 0)


def test_one_layer_in_a_list_is_that_layer(cnn):
    one = GradCAM(["features"])(cnn, IMAGES, 0)
    np.testing.assert_array_equal(one, GradCAM("features")(cnn, IMAGES, 0))
    assert dataclasses.replace(GradCAM(["features"])) == GradCAM(("features",))
