"""Layer names: from what a person calls a layer to its tensor, and back."""

import keras
import networks
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from networks import FAMILIES, batch

import tfsal
from tfsal.errors import LayerError


def value(net, name, x):
    return tf.function(lambda x: net.apply({next(iter(net.inputs)): x}, [name])[0])(x).numpy()


def output_of(k, model, layer, x):
    return k.Model(model.inputs, model.get_layer(layer).output)(x).numpy()


@pytest.fixture(scope="module", params=["live", "exported"])
def counted(request, built, tmp_path_factory):
    """A model whose layers have the names Keras gives: conv2d, conv2d_1, conv2d_2."""
    model, source = built("functional"), built("functional")
    if request.param == "exported":
        source = tmp_path_factory.mktemp("counted") / "saved"
        model.export(str(source), verbose=False)
    return model, tfsal.load(source)


@pytest.mark.parametrize(
    "layer", "conv2d conv2d_1 conv2d_2 bn swish pool features dense predictions".split()
)
def test_keras_counters(counted, layer):
    model, net = counted
    x = batch(2, 16, 16, 3)
    if layer == "predictions":
        layer = model.layers[-1].name
    if layer == "dense":
        layer = model.layers[-2].name
    expected = output_of(keras, model, layer, x)
    np.testing.assert_allclose(value(net, layer, x), expected, rtol=1e-5, atol=1e-6)


def test_keras_counters_where_the_first_layer_is_gone():
    """The only layer is 'conv_1' with the scope 'conv_1_1'; 'conv' names nothing else."""
    image = keras.layers.Input([8, 8, 3], name="image")
    h = keras.layers.Conv2D(4, 3, name="conv_1")(image)
    h = keras.layers.Conv2D(4, 3, name="conv_1_1")(h)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(h)))
    net, x = tfsal.load(model), batch(2, 8, 8, 3)
    for layer in ("conv_1", "conv_1_1"):
        np.testing.assert_array_equal(
            net.tensor(net.resolve(layer)).shape, model.get_layer(layer).output.shape
        )
        np.testing.assert_allclose(
            value(net, layer, x), output_of(keras, model, layer, x), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("layer", ["conv2d", "bn", "swish", "conv2d_2", "features"])
def test_tf_keras_names(built, layer):
    model, x = built("tf_keras"), batch(2, 16, 16, 3)
    expected = output_of(tf_keras, model, layer, x)
    np.testing.assert_allclose(value(tfsal.load(model), layer, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["nested", "tf_keras nested"])
@pytest.mark.parametrize("name", ["features", "backbone/features", "backbone"])
def test_nested_names(built, family, name):
    net = tfsal.load(built(family))
    assert net.tensor(net.resolve(name)).shape.as_list() == [None, 5, 5, 6]
    assert net.resolve(name) == net.resolve("backbone/features")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_listed_layer_resolves_to_its_own_tensor(built, family):
    net = tfsal.load(built(family))
    layers = net.layers()
    assert len({x.name for x in layers}) == len({x.tensor for x in layers}) == len(layers)
    for layer in layers:
        if layer.name in net.outputs:  # Names the output, which is the same value.
            continue
        assert net.resolve(layer.name) == layer.tensor == net.resolve(layer.tensor)
        assert net.layer_name(layer.tensor) == layer.name
        if layer.tensor.endswith(":0"):
            assert net.resolve(layer.tensor[:-2]) == layer.tensor
    order = [net.flow([i.tensor for i in net.outputs.values()]).position[x.tensor] for x in layers]
    assert order == sorted(order)


def test_keras_layers_are_all_listed(built):
    for family in ("functional", "residual", "1-D", "3-D", "lstm"):
        names = {x.name for x in tfsal.load(built(family)).layers()}
        wanted = {x.name for x in built(family).layers[1:] if "flatten" not in x.name}
        assert wanted <= names, family


def listed(source):
    net = tfsal.load(source, signature="serving_default" if isinstance(source, str) else None)
    return [(x.name, x.op, x.shape.rank) for x in net.layers()], net.default_layer


@tf.function
def called(h):
    return tf.tanh(h) * 2.0


@pytest.mark.parametrize("middle", [lambda h: h, called, lambda h: called(called(h))])
def test_a_plain_module_has_the_same_layers_saved(middle, tmp_path):
    module = networks.PlainModule(middle)
    tf.saved_model.save(module, str(tmp_path))
    layers, default = listed(str(tmp_path))
    assert (layers, default) == listed(module.__call__)
    assert len(layers) >= 11 and default in [name for name, *_ in layers]


@pytest.mark.parametrize("family", ["functional", "nested", "subclassed", "tf_keras nested"])
def test_a_keras_model_has_the_same_layers_saved(built, family, tmp_path):
    for save in (tf.saved_model.save, lambda model, path: model.export(path)):
        save(built(family), str(tmp_path / "saved"))
        assert listed(str(tmp_path / "saved")) == listed(built(family))


@pytest.mark.parametrize(
    "shape, layer",
    [
        ([4], keras.layers.Dense(3, name="kind")),
        ([4], keras.layers.Dense(3, activation="softmax", name="kind")),
        ([5, 4], keras.layers.Dense(3, name="kind")),
        ([5, 5, 4], keras.layers.UpSampling2D(name="kind")),
        ([5, 5, 4], keras.layers.UpSampling2D(interpolation="bilinear", name="kind")),
    ],
)
def test_a_model_of_one_layer_shows_the_layer(shape, layer, tmp_path):
    row = keras.layers.Input(shape, name="row")
    model = keras.Model(row, layer(row))
    model.export(str(tmp_path), verbose=False)
    for source in (model, str(tmp_path)):
        assert [x.name for x in tfsal.load(source).layers()] == ["kind"]


def test_the_last_tensor_that_leaves_a_layer_is_its_output():
    """The first is used inside the layer and once more after it."""

    class Gate(keras.layers.Layer):
        def call(self, x):
            early = tf.nn.softplus(x)
            return early, tf.tanh(early)

    image = keras.layers.Input([8, 8, 3], name="image")
    early, late = Gate(name="gate")(keras.layers.Conv2D(4, 3)(image))
    for order in ([early, late], [late, early]):
        h = keras.layers.Concatenate()(order)
        net = tfsal.load(keras.Model(image, keras.layers.GlobalAveragePooling2D()(h)))
        assert net.tensor(net.resolve("gate")).op == "Tanh"


def test_outputs_resolve_first(built):
    net = tfsal.load(built("two inputs"))
    for name, info in net.outputs.items():
        assert net.resolve(name) == info.tensor


def test_a_layer_that_is_an_output_too():
    """The layer's map, not that of the output's copy, which no other score runs through."""
    image = keras.layers.Input([8, 8, 3], name="image")
    features = keras.layers.Conv2D(4, 3, activation="softplus", name="features")(image)
    scores = keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(features))
    net = tfsal.load(keras.Model(image, [features, scores]))
    assert net.layer("features").op == "Softplus"
    assert net.layer("features").tensor != net.resolve("features") == net.outputs["features"].tensor
    x, target = batch(2, 8, 8, 3), tfsal.ClassScore(output="scores")
    alone = tfsal.load(keras.Model(image, scores))
    np.testing.assert_array_equal(
        tfsal.GradCAM("features", target=target).explain(net, x).attribution,
        tfsal.GradCAM("features").explain(alone, x).attribution,
    )


def test_an_ambiguous_name_lists_what_it_may_be():
    def tower(name):
        inner = keras.layers.Input([8, 8, 3])
        return keras.Model(inner, keras.layers.Conv2D(4, 3, name="conv")(inner), name=name)

    image = keras.layers.Input([8, 8, 3], name="image")
    h = keras.layers.Add()([tower("left")(image), tower("right")(image)])
    net = tfsal.load(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(h))))
    with pytest.raises(LayerError, match=r"'conv' names 2 layers.*left.*right"):
        net.resolve("conv")
    assert net.resolve("left/conv") != net.resolve("right/conv")


@pytest.mark.parametrize(
    "name, near", [("featurs", "features"), ("conv2d_11", "conv2d_1"), ("xyz", "predictions")]
)
def test_an_unknown_name_lists_the_nearest(built, name, near):
    net = tfsal.load(built("functional"))
    with pytest.raises(LayerError, match=rf"no layer '{name}'.*Nearest names: .*{near}"):
        net.resolve(name)
    with pytest.raises(LayerError, match=near):
        tfsal.GradCAM(name)(net, batch(1, 16, 16, 3))


def test_a_layer_off_the_way_is_refused():
    image = keras.layers.Input([8, 8, 3], name="image")
    sides = [keras.layers.Conv2D(4, 3, name=name)(image) for name in ("left", "right")]
    ends = [
        keras.layers.Dense(2, name=f"{name}_end")(keras.layers.Flatten()(side))
        for name, side in zip(("left", "right"), sides, strict=True)
    ]
    net, x = tfsal.load(keras.Model(image, ends)), batch(1, 8, 8, 3)
    target = tfsal.ClassScore("left_end")
    assert net.default_layer_for(target) == "left"
    with pytest.raises(LayerError, match="'right' is not on the way"):
        tfsal.GradCAM("right", target=target)(net, x)
    with pytest.raises(LayerError, match="'flatten.*' has the shape .* no positions"):
        tfsal.GradCAM(next(n.name for n in net.layers() if "flatten" in n.name), target=target)(
            net, x
        )


@pytest.mark.parametrize("family", ["functional", "nested", "two inputs", "tf_keras lstm", "3-D"])
def test_print_fits_a_terminal(built, family):
    net = tfsal.load(built(family))
    text = str(net)
    assert max(map(len, text.splitlines())) <= 100, text
    for info in (*net.inputs.values(), *net.outputs.values()):
        assert info.name in text
    assert ("default layer" in text) == (len(net.outputs) == 1)
    assert f"{len(net.layers())} layers, {len(net.variables)} variables" in text


def test_print_of_a_saved_model_has_short_names(built, tmp_path):
    built("vit, class token").export(str(tmp_path / "saved"), verbose=False)
    text = str(tfsal.load(tmp_path / "saved"))
    assert max(map(len, text.splitlines()[1:])) <= 100, text
    assert "StatefulPartitionedCall" not in text.split("layers,")[1], text


def test_fed_layers_run_the_head_alone(built):
    model = built("functional")
    net, x = tfsal.load(model), batch(2, 16, 16, 3)
    features = output_of(keras, model, "features", x)
    head = tf.function(lambda a: net.apply({"features": a}, ["predictions"])[0])
    np.testing.assert_allclose(head(features), model(x), rtol=1e-5, atol=1e-6)
    ops = head.get_concrete_function(features).graph.get_operations()
    assert not {"Conv2D", "Placeholder"} & {op.type for op in ops if op.name.startswith("model")}
    with pytest.raises(tfsal.TfsalError, match="also need image"):
        ask = tf.function(lambda a: net.apply({"dense": a}, ["features"]), autograph=False)
        ask(tf.zeros([2, 8]))
    with pytest.raises(tfsal.TfsalError, match=r"inside a tf.function"):
        net.apply({"image": x}, ["features"])


def test_networks_are_alive(built):
    """The oracle itself: a dead network would let every comparison pass."""
    for family in ("functional", "vit", "lstm"):
        model = built(family)
        x, y = networks.inputs_of(model)[0], batch(3, 16, 16, 3, seed=9)
        assert np.abs(model(x).numpy() - model(y).numpy()).max() > 1e-3
