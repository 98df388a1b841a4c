"""Exporting what was exported, and what else can lie in the way of an export."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from hosts import in_python

import tfsal
from tfsal import GradCAM, LayerCAM, VanillaGradient
from tfsal.errors import ExportError
from tfsal.serving import check
from tfsal.serving.contract import read_contract

SPEC = tf.TensorSpec([None, 12, 10, 3], name="image")
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("f4")
IMAGES = np.random.default_rng(1).normal(size=(3, 12, 10, 3)).astype("f4")


def model(image):
    h = tf.nn.relu(tf.nn.conv2d(image, KERNEL, 1, "VALID", name="features"))
    return {"scores": tf.reduce_mean(h, [1, 2])}


@pytest.fixture
def first(tmp_path):
    return tfsal.export(tfsal.load(model, specs=SPEC), tmp_path / "first", GradCAM())


def test_a_bundle_exported_again_keeps_its_contract(first, tmp_path):
    again = tfsal.export(tfsal.load(first), tmp_path / "again", LayerCAM())
    old, new = read_contract(first)["signatures"], read_contract(again)["signatures"]
    assert {k: v for k, v in new["gradcam"].items() if k != "ops"} == {
        k: v for k, v in old["gradcam"].items() if k != "ops"
    }
    assert new["layercam"]["method"] == "layercam"
    assert [f.mark for f in check(again)] == ["ok"] * 4


def test_an_explanation_that_tfsal_wrote_can_be_replaced(first):
    net = tfsal.load(first)
    path = tfsal.export(net, first, {"gradcam": LayerCAM()}, overwrite=True)
    assert read_contract(path)["signatures"]["gradcam"]["method"] == "layercam"
    found = in_python(path, "gradcam", {"image": IMAGES, "class_index": np.array([1, 2, 3], "i4")})
    expected = LayerCAM()(net, IMAGES, [1, 2, 3])
    np.testing.assert_allclose(found["attribution"], expected, rtol=1e-5)


def test_other_extra_assets_of_a_source_are_kept(first, tmp_path):
    (first / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"theirs")
    again = tfsal.export(tfsal.load(first), tmp_path / "again", LayerCAM())
    assert (again / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"theirs"
    assert json.loads((again / "assets.extra" / "tfsal.json").read_text())["contract"] == 1


def test_the_contract_tells_no_path_of_this_machine(first, tmp_path):
    again = tfsal.export(tfsal.load(first), tmp_path / "again", LayerCAM())
    assert "'first'" in read_contract(again)["source"]
    assert str(tmp_path) not in (again / "assets.extra" / "tfsal.json").read_text()


def test_shapes_that_are_known_are_stated(first):
    signature = read_contract(first)["signatures"]["gradcam"]
    assert signature["outputs"]["heatmap"]["shape"] == [None, 12, 10]
    assert signature["inputs"]["class_index"]["unit"].startswith("index of the class")


def test_an_empty_batch_of_a_real_network_has_an_empty_answer(first):
    question = {"image": IMAGES[:0], "class_index": np.zeros(0, "i4")}
    found = in_python(first, "gradcam", question)
    assert found["heatmap"].shape == (0, 12, 10) and found["scores"].shape == (0, 4)


def test_what_appears_during_an_export_is_not_replaced(tmp_path):
    target = tmp_path / "1"

    @dataclasses.dataclass(frozen=True)
    class Slow(GradCAM):
        def combine(self, activations, gradients):
            target.mkdir(exist_ok=True)
            (target / "precious.txt").write_text("mine")
            return super().combine(activations, gradients)

    net = tfsal.load(model, specs=SPEC)
    for overwrite in (False, True):
        with pytest.raises(ExportError, match="exists|something else"):
            tfsal.export(net, target, {"slow": Slow()}, overwrite=overwrite)
        assert (target / "precious.txt").read_text() == "mine"
        assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_table_that_no_module_holds_is_an_error_with_a_cure(tmp_path):
    keys, values = tf.constant([0, 1], tf.int64), tf.constant([1.0, 2.0])
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)

    def looked_up(image):
        scale = table.lookup(tf.zeros([1], tf.int64))
        return tf.reduce_mean(image, [1, 2]) * scale

    net = tfsal.load(looked_up, specs=SPEC)
    with pytest.raises(ExportError, match=r"tf\.Module"):
        tfsal.export(net, tmp_path / "1", VanillaGradient())
    assert not list(tmp_path.iterdir())


def test_a_compiled_part_inside_a_loop_is_the_models_own(tmp_path):
    @tf.function(jit_compile=True)
    def compiled(h):
        return h * 0.5

    def loops(image):
        h = tf.nn.conv2d(image, KERNEL, 1, "VALID")
        _, scaled = tf.while_loop(
            lambda i, v: i < 2, lambda i, v: (i + 1, compiled(v)), (0, tf.reduce_mean(h, [1, 2]))
        )
        return scaled + tf.reduce_mean(h, [1, 2])

    net = tfsal.load(loops, specs=SPEC)
    path = tfsal.export(net, tmp_path / "1", VanillaGradient())
    hosts = read_contract(path)["signatures"]["vanilla_gradient"]["host"]
    assert hosts == ["any TensorFlow server"] or "XLA" in hosts[0]


@pytest.mark.parametrize("name", ["__saved_model_init_op", 3])
def test_names_that_are_none(name, tmp_path):
    with pytest.raises(ExportError, match="cannot name a signature"):
        tfsal.export(tfsal.load(model, specs=SPEC), tmp_path / "1", {name: GradCAM()})


def test_check_says_what_it_did_not_run(tmp_path):
    def decode(data):
        image = tf.map_fn(
            lambda d: tf.cast(tf.reshape(tf.io.decode_raw(d, tf.uint8), [12, 10, 3]), tf.float32),
            data,
            fn_output_signature=tf.float32,
        )
        return model(image)

    net = tfsal.load(decode, specs=tf.TensorSpec([None], tf.string, "data"))
    data = np.array([bytes(360)], object)
    path = tfsal.export(net, tmp_path / "1", GradCAM(), example=data)
    marks = {f.subject: f.mark for f in check(path)}
    assert marks == {"files": "ok", "gradcam": "--", "serving_default": "--"}
    with pytest.raises(ExportError, match="There is no directory"):
        check(tmp_path / "nothing")
