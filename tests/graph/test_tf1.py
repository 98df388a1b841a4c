"""Frozen graphs, sessions and SavedModels of TensorFlow 1."""

import pytest
import tensorflow as tf
from everywhere import check_plain, some_daily
from networks import MIDDLES, batch, cond, loop, plain, plain_weights
from reference import differentiate, error

import tfsal
from tfsal.errors import SourceError

CLASS_INDEX = [0, -1, 1]

pytestmark = pytest.mark.filterwarnings("ignore:Part of the score")


def tf1_graph(middle=lambda h: h, use_resource=None, switch=False):
    """A TF1 graph of the plain network and a session with its variables."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 3], name="image")
        weights = plain_weights()
        if use_resource is not None:
            weights = {
                name: tf.compat.v1.get_variable(name, initializer=w, use_resource=use_resource)
                for name, w in weights.items()
            }
        if switch:
            training = tf.compat.v1.placeholder(tf.bool, [], name="is_training")
            outer = middle
            middle = lambda h: outer(tf.compat.v1.cond(training, lambda: h * 0.0, lambda: h))  # noqa: E731
        values = plain(x, weights, middle)
        session = tf.compat.v1.Session(graph=graph)
        session.run(tf.compat.v1.global_variables_initializer())
    return session, x, values


@pytest.fixture
def v1_control_flow():
    tf.compat.v1.disable_control_flow_v2()
    yield
    tf.compat.v1.enable_control_flow_v2()


ENDS = {"inputs": ["image:0"], "outputs": ["probabilities:0"]}


@pytest.mark.parametrize("source", some_daily(["file", "object", "named"], {"file"}))
def test_frozen_graph(source, tmp_path):
    session, _, _ = tf1_graph()
    graph_def = session.graph.as_graph_def()
    before = graph_def.SerializeToString(deterministic=True)
    (tmp_path / "frozen.pb").write_bytes(graph_def.SerializeToString())
    ends = (
        ENDS if source != "named" else {"inputs": {"x": "image"}, "outputs": {"p": "probabilities"}}
    )
    given = tmp_path / "frozen.pb" if source == "file" else graph_def
    net = check_plain(lambda: tfsal.load(given, **ends))
    assert list(net.inputs) == (["x"] if source == "named" else ["image"])
    assert graph_def.SerializeToString(deterministic=True) == before


def test_constants_for_other_placeholders(v1_control_flow):
    session, _, _ = tf1_graph(switch=True)
    graph_def = session.graph.as_graph_def()
    assert {"Switch", "Merge"} <= {n.op for n in graph_def.node}
    for name in ("is_training:0", "is_training"):
        net = lambda name=name: tfsal.load(graph_def, **ENDS, constants={name: False})  # noqa: E731
        check_plain(net, xla=False)  # It has no Switch.
    with pytest.raises(tfsal.TfsalError, match=r"is_training.*constants="):
        tfsal.load(graph_def, **ENDS)


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
@pytest.mark.parametrize("given", some_daily(["tensors", "names", "dicts"], {"names"}))
def test_tf1_session(resource, given):
    session, x, values = tf1_graph(use_resource=resource)
    y = values["probabilities"]
    before = session.graph.as_graph_def().SerializeToString(deterministic=True)
    ends = {"tensors": ([x], y), "names": ("image:0", ["probabilities:0"])}
    inputs, outputs = ends.get(given, ({"image": x}, {"p": "probabilities:0"}))
    check_plain(lambda: tfsal.load((session, inputs, outputs)))
    assert session.graph.as_graph_def().SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "reference"])
@pytest.mark.parametrize("middle", ["straight", "cond"])
def test_tf1_saved_model(resource, middle, v1_control_flow, tmp_path):
    session, x, values = tf1_graph(MIDDLES[middle], use_resource=resource)
    with session.graph.as_default():
        builder = tf.compat.v1.saved_model.builder.SavedModelBuilder(str(tmp_path / "saved"))
        signature = tf.compat.v1.saved_model.predict_signature_def(
            {"image": x}, {"probabilities": values["probabilities"]}
        )
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature, "second": signature}
        )
        builder.save()
    xla = middle == "straight"
    net = check_plain(lambda: tfsal.load(tmp_path / "saved"), MIDDLES[middle], xla)
    assert ("Merge" in {n.op for n in net.graph_def.node}) != xla
    second = tfsal.load(tmp_path / "saved", signature="second")
    x = batch(3, 16, 16, 3)
    assert error(tfsal.GradCAM()(second, x), tfsal.GradCAM()(net, x)) < 1e-6


def test_tf1_reference_variables_with_a_table_are_refused(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.int32, [None, 2], name="x")
        pairs = tf.lookup.KeyValueTensorInitializer([0, 1], [2.0, 3.0])
        looked_up = tf.lookup.StaticHashTable(pairs, -1.0, name="vocabulary").lookup(x)
        weight = tf.compat.v1.get_variable("w", initializer=2.0, use_resource=False)
        session = tf.compat.v1.Session(graph=graph)
        session.run(
            [tf.compat.v1.global_variables_initializer(), tf.compat.v1.tables_initializer()]
        )
        tf.compat.v1.saved_model.simple_save(
            session,
            str(tmp_path / "saved"),
            {"x": x},
            {"y": looked_up * weight},
            legacy_init_op=tf.compat.v1.tables_initializer(),
        )
    with pytest.raises(SourceError, match="table 'vocabulary'.*Save it again with TensorFlow 2"):
        tfsal.load(tmp_path / "saved")


@pytest.mark.parametrize("resource", [True, False])
def test_the_path_of_a_saved_model_is_known(resource, tmp_path, monkeypatch):
    session, x, values = tf1_graph(use_resource=resource)
    with session.graph.as_default():
        ends = {"image": x}, {"probabilities": values["probabilities"]}
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "saved"), *ends)
    monkeypatch.chdir(tmp_path)
    assert tfsal.load("saved").path == tmp_path / "saved"


@pytest.mark.parametrize("resource", [None, True], ids=["frozen", "variables"])
def test_tf1_cond(resource, v1_control_flow):
    session, x, values = tf1_graph(cond, use_resource=resource)
    check_plain(lambda: tfsal.load((session, x, values["probabilities"])), cond, xla=False)


@pytest.mark.parametrize("resource", [None, True], ids=["frozen", "variables"])
def test_tf1_while(resource, v1_control_flow):
    """A loop of TF1 runs; its gradient is lost on the way, so it can be explained after it only."""

    def middle(h):
        return tf.ensure_shape(loop(h), h.shape)  # An import of a loop forgets its shapes.

    session, x, values = tf1_graph(middle, use_resource=resource)
    net = tfsal.load((session, x, values["probabilities"]))
    image, weights = batch(3, 16, 16, 3), plain_weights()
    after = [n.name for n in net.graph_def.node if n.op == "Tanh"][-1] + ":0"

    def run(tensors):
        h = tf.tanh(loop(plain(tensors[0], weights)["features"]))
        return h, tf.reshape(h, [3, -1]) @ weights["dense"]

    reference = differentiate(run, [image], CLASS_INDEX)
    explained = tfsal.GradCAM(after).explain(net, image, CLASS_INDEX)
    assert error(explained.attribution, reference.grad_cam) < 1e-5
    assert error(explained.score, reference.score) < 1e-5


@pytest.mark.parametrize("method", [tfsal.VanillaGradient(), tfsal.GradCAM("features")])
def test_tf1_while_has_no_gradient(method, v1_control_flow):
    session, x, values = tf1_graph(loop)
    net = tfsal.load((session, x, values["probabilities"]))
    with pytest.raises(tfsal.errors.GradientError, match=r"\(Exit\)"):
        method(net, batch(1, 16, 16, 3))
