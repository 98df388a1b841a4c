"""tfsal_run against the same SavedModel in Python, and whatever a request can get wrong."""

import io
import json
import os
import pathlib
import resource
import signal
import stat
import subprocess

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

tf = pytest.importorskip("tensorflow")

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split() + (
    "float16 float32 float64 complex64 complex128".split()
)
TENSOR_DTYPES = [*DTYPES, "bfloat16"]


# ---------------------------------------------------------------- the models


def _identity(dtype):
    @tf.function(input_signature=[tf.TensorSpec(None, dtype, "x")])
    def identity(x):
        return {"y": tf.identity(x)}

    return identity


@tf.function(input_signature=[tf.TensorSpec(None, dtype, dtype) for dtype in DTYPES])
def _identities(*tensors):
    return {dtype: tf.identity(tensor) for dtype, tensor in zip(DTYPES, tensors, strict=False)}


def _explain(x, class_index, attribution):
    """A linear model of 3 classes, "explained" by its weights times the input."""
    weights = tf.reshape(tf.sin(tf.range(48, dtype=tf.float32)), [16, 3])
    logits = tf.reshape(x, [-1, 16]) @ weights
    asked = class_index + tf.zeros_like(logits[:, 0], tf.int32)
    top = tf.argmax(logits, 1, output_type=tf.int32)
    index = tf.where(asked == -1, top, tf.where((asked < -1) | (asked > 2), -2, asked))
    return {
        attribution: x * tf.reshape(tf.gather(tf.transpose(weights), index % 3), tf.shape(x)),
        "class_index": index,
        "score": tf.gather(logits, index % 3, axis=1, batch_dims=1),
        "probabilities": tf.nn.softmax(logits),
    }


_IMAGE = tf.TensorSpec([None, 4, 4, 1], tf.float32, "x")
_CLASS = tf.TensorSpec([None], tf.int32, "class_index")


class Models(tf.Module):
    def __init__(self):
        super().__init__()
        generator = np.random.default_rng(0)
        self.weights = [
            tf.Variable(generator.normal(size=s).astype("f4")) for s in [(3, 3, 3, 4), (4, 2)]
        ]
        self.identities = {dtype: _identity(dtype) for dtype in TENSOR_DTYPES}

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, "image")])
    def network(self, image):
        features = tf.nn.relu(tf.nn.conv2d(image, self.weights[0], 1, "SAME"))
        logits = tf.reduce_mean(features, [1, 2]) @ self.weights[1]
        return {"logits": logits, "features/last": features, "count": tf.shape(image)[0]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float64, "x"),
            tf.TensorSpec([None, 3], tf.int64, "n"),
        ]
    )
    def wide(self, x, n):
        return {"root": tf.sqrt(tf.abs(x)) / 3, "product": n * n - 7, "odd": n % 2 == 1}

    @tf.function(input_signature=[_IMAGE, _CLASS])
    def explain(self, x, class_index=tf.constant([-1])):
        return _explain(x, class_index, "attribution/left")

    @tf.function(input_signature=[_IMAGE, _CLASS])
    def collide(self, x, class_index=tf.constant([-1])):
        """The model has a `class_index` of its own, so tfsal's outputs are prefixed."""
        ours = {f"tfsal_{k}": v for k, v in _explain(x, class_index, "attribution").items()}
        return {**ours, "class_index": tf.fill(tf.shape(x)[:1], -2)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype, name)
            for name, dtype in [
                ("f", tf.float32), ("i", tf.int32), ("l", tf.int64), ("b", tf.bool)
            ]
        ]
    )  # fmt: skip
    def defaults(
        self,
        f=tf.constant([0.1]),
        i=tf.constant([-7, 8, 9]),
        n=tf.constant([-(2**40)], tf.int64),
        b=tf.constant([True]),
    ):
        return {"f": f * 1.0, "i": i + 0, "l": n + 0, "b": tf.logical_not(b)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "data")])
    def strings(self, data):
        return {
            "size": tf.strings.length(data),
            "echo": tf.identity(data),
            "many": tf.stack(["one", "", "th\0ree"]),
            "none": tf.zeros([0], tf.string),
        }

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "data")])
    def string_scalar(self, data):
        return {"echo": data + "!"}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, n) for n in "ab"])
    def pairs(self, a, b):
        return {"dot": a @ tf.transpose(b)}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def same_file(self, x):
        return {"a/b": x, "a.b": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def odd_names(self, x):
        return {"../é b": x, "z": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "size")])
    def big(self, size):
        return {"a": tf.zeros([2]), "b": tf.zeros([size]), "c": tf.zeros([2])}


@pytest.fixture(scope="session")
def runner():
    kernels = pytest.importorskip("tfsal.kernels")
    path = kernels.runner_path()
    if path is None:
        pytest.skip("tfsal_run is not built")
    return str(path)


@pytest.fixture(autouse=True)
def own_log_level(monkeypatch):
    """What tfsal_run says by itself, whatever level this test run has for its own TensorFlow."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("bundle"))
    models = Models()
    names = "wide explain collide defaults strings string_scalar pairs same_file odd_names big"
    signatures = {name: getattr(models, name) for name in names.split()}
    signatures["serving_default"] = models.network
    signatures["identities"] = _identities
    signatures |= {f"to_{dtype}": f for dtype, f in models.identities.items()}
    tf.saved_model.save(models, path, signatures=signatures)
    return path


@pytest.fixture(scope="session")
def reference(bundle):
    return tf.saved_model.load(bundle).signatures


@pytest.fixture
def run(runner, bundle, tmp_path):
    """Runs a signature on arrays; returns the finished process."""

    def run(signature, inputs=None, *options, model=bundle, **popen):
        command = [runner, model, "--signature", signature, *options]
        for name, value in (inputs or {}).items():
            if isinstance(value, np.ndarray):
                np.save(tmp_path / f"{name}.npy", value)
                value = tmp_path / f"{name}.npy"
            command += ["--input", f"{name}={value}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **popen)

    return run


@pytest.fixture
def answer(run, tmp_path):
    """Runs a signature that must succeed; returns the JSON and the arrays of the .npy files."""

    def answer(signature, inputs=None, *options):
        folder = tmp_path / "out"
        done = run(signature, inputs, "--output-dir", str(folder), *options)
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        arrays = {
            name: np.load(output["file"])
            for name, output in report["outputs"].items()
            if output["dtype"] != "string"
        }
        return report, arrays

    return answer


def refused(done, *words, code=1):
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("tfsal_run: ") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def identical(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()


# ---------------------------------------------------------------- answers


def test_network_equals_python_bit_for_bit(answer, reference):
    image = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("f4")
    report, arrays = answer("serving_default", {"image": image}, "--threads", "2")
    expected = reference["serving_default"](image=tf.constant(image))
    assert set(arrays) == set(expected) == {"logits", "features/last", "count"}
    for name, value in expected.items():
        identical(arrays[name], value.numpy())
        assert report["outputs"][name]["shape"] == list(value.shape)
        assert report["outputs"][name]["dtype"] == value.dtype.name
    assert report["outputs"]["features/last"]["file"].endswith("/out/features.last.npy")


def test_wide_types_equal_python_bit_for_bit(answer, reference):
    inputs = {
        "x": np.random.default_rng(2).normal(size=(5, 3)),
        "n": np.arange(-7, 8).reshape(5, 3) * 10**8,
    }
    _, arrays = answer("wide", inputs)
    expected = reference["wide"](**{k: tf.constant(v) for k, v in inputs.items()})
    for name, value in expected.items():
        identical(arrays[name], value.numpy())


def test_the_report(answer, bundle):
    image = np.zeros((1, 8, 8, 3), "f4")
    report, _ = answer("serving_default", {"image": image})
    assert report["tensorflow"] == tf.__version__
    assert (report["bundle"], report["signature"]) == (bundle, "serving_default")
    assert report["repeat"] == 0 and "latency_ms" not in report
    assert report["load_ms"] > 0 and report["first_ms"] > 0 and 50 < report["max_rss_mb"] < 5000
    report, _ = answer("serving_default", {"image": image}, "--repeat", "9")
    latency = report["latency_ms"]
    assert list(latency) == ["mean", "p50", "p90", "p95", "p99", "min", "max"]
    order = [latency[k] for k in ("min", "p50", "p90", "p95", "p99", "max")]
    assert order == sorted(order) and latency["min"] > 0
    assert latency["min"] <= latency["mean"] <= latency["max"]


def test_without_an_output_dir_nothing_is_written(run, tmp_path):
    empty = tmp_path / "cwd"
    empty.mkdir()
    done = run("to_float32", {"x": np.zeros(2, "f4")}, cwd=empty)
    assert json.loads(done.stdout)["outputs"]["y"]["file"] is None
    assert not list(empty.iterdir())


def test_list(runner, bundle):
    done = subprocess.run([runner, bundle, "--list"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(done.stdout)
    assert "__saved_model_init_op" not in listed
    assert listed["explain"]["inputs"] == {
        "class_index": {"dtype": "int32", "shape": [None], "default": True},
        "x": {"dtype": "float32", "shape": [None, 4, 4, 1], "default": False},
    }
    assert listed["explain"]["outputs"]["score"] == {"dtype": "float32", "shape": [None]}
    assert listed["to_bfloat16"]["inputs"]["x"]["dtype"] == "bfloat16"
    assert listed["to_int8"]["inputs"]["x"]["shape"] is None
    assert listed["string_scalar"]["inputs"]["data"]["shape"] == []


@pytest.mark.parametrize("level", [None, "2", "3"])
def test_tensorflow_is_quiet_unless_asked(run, level):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    done = run("to_float32", {"x": np.zeros(2, "f4")}, env=environment)
    assert done.returncode == 0
    assert done.stderr == ""
    loud = run(
        "to_float32", {"x": np.zeros(2, "f4")}, env=environment | {"TF_CPP_MIN_LOG_LEVEL": "0"}
    )
    assert "SavedModel" in loud.stderr


def test_help_and_version(runner):
    for option, word in [("--help", "--output-dir DIR"), ("--version", tf.__version__)]:
        done = subprocess.run([runner, option], capture_output=True, text=True)
        assert done.returncode == 0 and word in done.stdout and done.stderr == ""
        with open("/dev/full", "w") as full:
            done = subprocess.run([runner, option], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "stdout" in done.stderr


# ---------------------------------------------------------------- defaults


def test_defaults_fill_in_what_is_left_out(answer):
    _, arrays = answer("defaults")
    identical(arrays["f"], np.array([0.1], "f4"))
    identical(arrays["i"], np.array([-7, 8, 9], "i4"))
    identical(arrays["l"], np.array([-(2**40)]))
    identical(arrays["b"], np.array([False]))
    _, arrays = answer("defaults", {"i": np.array([5], "i4"), "b": np.array([False])})
    identical(arrays["i"], np.array([5], "i4"))
    identical(arrays["b"], np.array([True]))
    identical(arrays["f"], np.array([0.1], "f4"))


def test_default_protos_in_every_encoding(runner, bundle, tmp_path):
    """The graph has the old default, so only reading the proto gives the new one."""
    from tensorflow.core.framework import tensor_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    with open(f"{bundle}/saved_model.pb", "rb") as file:
        model.ParseFromString(file.read())
    protos = model.meta_graphs[0].signature_def["defaults"].defaults

    def proto(dtype, size, **values):
        shape = {"dim": [{"size": size}]}
        return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=shape, **values)

    content = np.array([3, -4], "i4")
    protos["f"].CopyFrom(proto(1, 4, float_val=[1.5, -2.5]))
    protos["i"].CopyFrom(proto(3, 2, tensor_content=content.tobytes()))
    protos["l"].CopyFrom(proto(9, 3, int64_val=[-(2**60)]))
    protos["b"].CopyFrom(proto(10, 2))
    subprocess.run(["cp", "-r", bundle, str(tmp_path / "edited")], check=True)
    (tmp_path / "edited/saved_model.pb").write_bytes(model.SerializeToString())

    command = [runner, str(tmp_path / "edited"), "--signature", "defaults"]
    out = tmp_path / "out"
    done = subprocess.run([*command, "--output-dir", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    identical(np.load(out / "f.npy"), np.array([1.5, -2.5, -2.5, -2.5], "f4"))
    identical(np.load(out / "i.npy"), content)
    identical(np.load(out / "l.npy"), np.array([-(2**60)] * 3))
    identical(np.load(out / "b.npy"), np.array([True, True]))

    for wrong in (proto(1, 1, float_val=[1.0, 2.0]), proto(3, 1, int_val=[1])):
        protos["f"].CopyFrom(wrong)
        (tmp_path / "edited/saved_model.pb").write_bytes(model.SerializeToString())
        done = subprocess.run(command, capture_output=True, text=True)
        refused(done, "default of input 'f' cannot be read", "--input")


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize(
    "source, target",
    [
        ("float64", "float32"), ("float16", "float32"), ("uint8", "float32"), ("int64", "float32"),
        ("uint64", "float32"), ("float32", "float64"), ("int32", "float64"), ("float64", "float16"),
        ("float32", "float16"), ("int16", "float16"), ("float32", "bfloat16"),
        ("float16", "bfloat16"), ("uint8", "bfloat16"), ("int64", "int32"), ("uint64", "int8"),
        ("int8", "uint64"), ("uint8", "int64"), ("int32", "uint16"),
    ],
)  # fmt: skip
def test_conversion_equals_numpys(answer, source, target):
    generator = np.random.default_rng(3)
    if source.startswith("float"):
        x = generator.normal(size=3000) * 2.0 ** generator.integers(-30, 15, 3000)
        x = np.concatenate([x, [0, -0.0, np.inf, -np.inf, np.nan, 65504, 6e-8, 2.0**-25, 1e-30]])
        # Exactly between two neighbours, where rounding to even shows.
        x = np.concatenate([x, 1 + np.arange(65) / 2.0**11, 1 + np.arange(65) / 2.0**8])
    else:
        into = np.iinfo(target) if not target.endswith(("float16", "float32", "float64")) else None
        into = into or np.iinfo(source)
        low, high = max(into.min, np.iinfo(source).min), min(into.max, np.iinfo(source).max)
        x = [low, high, *(int(v) for v in np.linspace(low, high, 3000)[1:-1])]
        if high >= 2**60:  # rounds differently by way of a double
            x.append(2**53 + 2**29 + 1)
    x = np.array(x, source)
    _, arrays = answer(f"to_{target}", {"x": x})
    if target == "bfloat16":
        expected = x.astype("f4").astype(ml_dtypes.bfloat16).astype("f4")
    else:
        expected = x.astype(target)
    assert arrays["y"].dtype == expected.dtype
    np.testing.assert_array_equal(arrays["y"], expected)
    np.testing.assert_array_equal(np.signbit(arrays["y"]), np.signbit(expected))


@pytest.mark.parametrize(
    "value, target, words",
    [
        (np.array([1.0]), "int32", ["float64", "floats are never turned"]),
        (np.array([1.0], "f2"), "bool", ["float16"]),
        (np.array([1]), "bool", ["is bool and cannot take int64"]),
        (np.array([True]), "int32", ["cannot take bool"]),
        (np.array([True]), "float32", ["cannot take bool"]),
        (np.array([1j]), "float32", ["cannot take complex128"]),
        (np.array([3, 128]), "int8", ["int8, which cannot hold 128, element 1"]),
        (np.array([-129]), "int8", ["cannot hold -129, element 0"]),
        (np.array([-1]), "uint64", ["cannot hold -1"]),
        (np.array([2**63], "u8"), "int64", ["cannot hold 9223372036854775808"]),
        (np.array([1e300]), "float32", ["cannot hold 1e+300"]),
        (np.array([65520.0]), "float16", ["cannot hold 65520"]),
        (np.array([3.4e38], "f4"), "bfloat16", ["cannot hold 3.39999995e+38"]),
    ],
)
def test_conversion_refuses_what_would_change(run, value, target, words):
    refused(run(f"to_{target}", {"x": value}), "'x'", *words)


# ---------------------------------------------------------------- strings


def test_strings(answer, tmp_path):
    data = bytes(range(256)) * 300
    (tmp_path / "data").write_bytes(data)
    report, arrays = answer("strings", {"data": f"@{tmp_path}/data"})
    identical(arrays["size"], np.array([len(data)], "i4"))
    assert (tmp_path / "out/echo.bin").read_bytes() == data
    assert report["outputs"]["echo"]["file"] == str(tmp_path / "out/echo.bin")
    many = report["outputs"]["many"]["file"]
    assert many == [str(tmp_path / f"out/many.{i}.bin") for i in range(3)]
    assert [pathlib.Path(path).read_bytes() for path in many] == [b"one", b"", b"th\0ree"]
    assert report["outputs"]["none"]["file"] == []


def test_string_scalar(answer, tmp_path):
    (tmp_path / "data").write_bytes(b"")
    answer("string_scalar", {"data": f"@{tmp_path}/data"})
    assert (tmp_path / "out/echo.bin").read_bytes() == b"!"


def test_strings_and_numbers_do_not_mix(run, tmp_path):
    (tmp_path / "data").write_bytes(b"abc")
    refused(run("strings", {"data": np.zeros(1)}), "string", "NAME=@FILE")
    refused(run("to_float32", {"x": f"@{tmp_path}/data"}), "float32", "x=FILE.npy")


# ---------------------------------------------------------------- explanations


@pytest.mark.parametrize("signature", ["explain", "collide"])
def test_explanations(answer, run, reference, tmp_path, signature):
    prefix = "tfsal_" if signature == "collide" else ""
    x = np.random.default_rng(4).normal(size=(3, 4, 4, 1)).astype("f4")
    index = np.array([0, 2, -1], "i4")
    _, arrays = answer(signature, {"x": x, "class_index": index})
    for name, value in reference[signature](
        x=tf.constant(x), class_index=tf.constant(index)
    ).items():
        identical(arrays[name], value.numpy())
    _, top = answer(signature, {"x": x})  # the default, one value for three rows
    np.testing.assert_array_equal(
        top[f"{prefix}class_index"], top[f"{prefix}probabilities"].argmax(1)
    )
    _, ones = answer(signature, {"x": x, "class_index": np.array([1])})
    np.testing.assert_array_equal(ones[f"{prefix}class_index"], [1, 1, 1])

    out = tmp_path / "refused"
    wrong = {"x": x, "class_index": np.array([0, 3, 4])}
    refused(run(signature, wrong, "--output-dir", str(out)), "class_index of row 1", "out of range")
    assert not out.exists()

    bad = x.copy()
    bad[2, 1, 0, 0] = np.nan
    for dtype in ("f4", "f2", "f8") if signature == "explain" else ("f4",):
        done = run(signature, {"x": bad.astype(dtype)}, "--output-dir", str(out))
        refused(done, "'x'", "NaN in row 2")
    assert not out.exists()
    done = run(signature, {"x": x, "class_index": index[:2]})
    refused(done, "'class_index' and 'x' must have the same first dimension, not 2 and 3")


def test_other_signatures_take_nan_and_unequal_batches(answer):
    _, arrays = answer("to_float32", {"x": np.array([np.nan, 1], "f4")})
    np.testing.assert_array_equal(arrays["y"], [np.nan, 1])
    a, b = np.ones((2, 2), "f4"), np.ones((5, 2), "f4")
    assert answer("pairs", {"a": a, "b": b})[1]["dot"].shape == (2, 5)


def test_empty_batch(answer):
    _, arrays = answer("explain", {"x": np.zeros((0, 4, 4, 1), "f4")})
    assert arrays["attribution/left"].shape == (0, 4, 4, 1)


# ---------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    "signature, inputs, words",
    [
        ("nope", {}, ["no signature 'nope'", "collide, defaults, explain"]),
        ("explain", {}, ["needs the input 'x'", "x float32 [?, 4, 4, 1]", "(has a default)"]),
        (
            "explain",
            {"y": np.zeros(1)},
            ["no input 'y'", "class_index int32 [?] (has a default), x float32 [?, 4, 4, 1]"],
        ),
        ("explain", {"x": np.zeros((2, 4, 4))}, ["[?, 4, 4, 1], not [2, 4, 4]"]),
        ("explain", {"x": np.zeros((2, 4, 5, 1))}, ["'x'", "not [2, 4, 5, 1]"]),
        ("string_scalar", {"data": "@/nonexistent"}, ["/nonexistent", "No such file"]),
        ("to_int8", {"x": "/nonexistent.npy"}, ["/nonexistent.npy", "No such file"]),
        ("to_int8", {"x": "/"}, ["/: not a regular file"]),
        ("to_int8", {"x": "/dev/zero"}, ["not a regular file"]),
        ("pairs", {"a": np.zeros((0, 2)), "b": np.zeros((1, 3))}, ["'b' takes the shape [?, 2]"]),
    ],
)
def test_wrong_requests(run, signature, inputs, words):
    refused(run(signature, inputs), *words)


def test_a_failing_model_says_so(run):
    refused(run("big", {"size": np.array(-1, "i4")}), "signature 'big' failed")


@pytest.mark.parametrize(
    "options, word",
    [
        ([], "no SavedModel"),
        (["a", "b"], "more than one"),
        (["a", "--bogus"], "--bogus"),
        (["a", "-x"], "-x"),
        (["a", "--signature"], "--signature takes a value"),
        (["a", "--input", "x"], "NAME=FILE"),
        (["a", "--input", "=x"], "NAME=FILE"),
        (["a", "--input", "x="], "NAME=FILE"),
        (["a", "--input", "x=@"], "NAME=FILE"),
        (["a", "--input", "x=1", "--input", "x=2"], "x is given twice"),
        (["a", "--repeat", "-1"], "--repeat"),
        (["a", "--repeat", "3x"], "--repeat"),
        (["a", "--repeat", "99999999999999999999"], "--repeat"),
        (["a", "--threads", "0"], "--threads"),
        (["a", "--threads", ""], "--threads"),
    ],
)
def test_wrong_usage(runner, options, word):
    done = subprocess.run([runner, *options], capture_output=True, text=True)
    refused(done, word, code=2)


def test_missing_and_corrupt_bundles(runner, tmp_path):
    done = subprocess.run([runner, tmp_path / "nope"], capture_output=True, text=True)
    refused(done, "cannot load", "nope", "Could not find SavedModel")
    for content in (b"", b"\x12\xff\xff\xff\xff\x7fgarbage", os.urandom(4000)):
        (tmp_path / "saved_model.pb").write_bytes(content)
        done = subprocess.run([runner, tmp_path, "--list"], capture_output=True, text=True)
        assert done.returncode == 1 and "cannot load the SavedModel" in done.stderr


def test_bad_input_is_refused_before_the_model_is_loaded(runner, tmp_path):
    (tmp_path / "x.npy").write_bytes(b"not an array")
    command = [runner, "/nonexistent", "--input", f"x={tmp_path}/x.npy"]
    refused(subprocess.run(command, capture_output=True, text=True), "not a .npy file")


# ---------------------------------------------------------------- .npy files


def npy(header, data=b"", version=(1, 0), length=None):
    header = header.encode("latin1") if isinstance(header, str) else header
    width = 2 if version[0] == 1 else 4
    size = len(header) if length is None else length
    return b"\x93NUMPY" + bytes(version) + size.to_bytes(width, "little") + header + data


def described(descr="'<f4'", order="False", shape="(2,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HOSTILE = {
    "empty": (b"", "not a .npy file"),
    "magic": (b"\x92NUMPY\x01\x00\x00\x00", "not a .npy file"),
    "version": (npy(described(), bytes(8), version=(4, 0)), "version 4"),
    "header_past_end": (npy(described(), length=60000), "runs past the end"),
    "header_past_end_2": (npy(described(), version=(2, 0), length=2**32 - 1), "runs past the end"),
    "cut_in_length": (b"\x93NUMPY\x02\x00\x10\x00\x00", "not a .npy file|too early|past the end"),
    "no_header": (npy(""), "expected {"),
    "not_ending": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,"), "malformed"),
    "open_quote": (npy("{'descr': '<f4"), "malformed"),
    "long_key": (npy("{'" + "k" * 500 + "': 1}"), "malformed"),
    "zero_byte": (npy(described().replace(" ", "\0")), "zero byte"),
    "missing_shape": (npy("{'descr': '<f4', 'fortran_order': False}"), "keys"),
    "missing_descr": (npy("{'fortran_order': False, 'shape': ()}", bytes(4)), "keys"),
    "twice": (npy("{'shape': (2,), 'shape': (2,)}"), "once each"),
    "trailing": (npy(described() + "x", bytes(8)), "nothing more"),
    "fortran": (npy(described(order="True"), bytes(8)), "np.ascontiguousarray"),
    "order": (npy(described(order="0"), bytes(8)), "malformed"),
    "big_endian": (npy(described("'>f4'"), bytes(8)), "big-endian"),
    "object": (npy(described("'|O'"), bytes(8)), "'|O'"),
    "structured": (npy(described("[('a', '<f4')]"), bytes(8)), "structured"),
    "unicode": (npy(described("'<U3'"), bytes(24)), "'<U3'"),
    "void": (npy(described("'|V2'"), bytes(4)), "'|V2'"),
    "empty_descr": (npy(described("''"), bytes(8)), "not supported"),
    "byte_order": (npy(described("'!f4'"), bytes(8)), "not supported"),
    "too_short": (npy(described(), bytes(7)), "takes 8 bytes, the file has 7"),
    "too_long": (npy(described(), bytes(9)), "takes 8 bytes, the file has 9"),
    "huge": (npy(described(shape="(1000000000000,)")), "takes 4000000000000 bytes"),
    "overflow": (npy(described(shape="(4294967296, 4294967296)")), "not possible"),
    "overflow_to_zero": (npy(described(shape="(9223372036854775807, 2)")), "not possible"),
    "overflow_digits": (npy(described(shape="(99999999999999999999,)")), "not possible"),
    "overflow_empty": (npy(described(shape="(0, 9223372036854775807, 9)")), "not possible"),
    "overflow_bytes": (npy(described("'<c16'", shape="(1152921504606846976,)")), "not possible"),
    "rank": (npy(described(shape="(" + "1," * 65 + ")"), bytes(4)), "not possible"),
    "negative": (npy(described(shape="(-2,)"), bytes(8)), "a dimension"),
    "no_tuple": (npy(described(shape="2"), bytes(8)), "expected ("),
    "double_comma": (npy(described(shape="(2,,)"), bytes(8)), "a dimension"),
    "format": (npy("%s%n%s%n" * 10), "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_npy_files(run, tmp_path, name):
    content, words = HOSTILE[name]
    (tmp_path / "x.npy").write_bytes(content)
    done = run("to_float32", {"x": tmp_path / "x.npy"})
    refused(done, "x.npy")
    assert any(word in done.stderr for word in words.split("|")), done.stderr


def test_npy_versions_2_and_3_and_old_headers(answer, tmp_path):
    x = np.arange(6, dtype="f4").reshape(2, 3)
    versions = []
    for version in ((2, 0), (3, 0)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, x, version=version)
        versions.append(stream.getvalue())
    # Python 2's integers, keys in any order, no spaces, no padding.
    versions.append(npy('{"shape":(2L,3L),"fortran_order":False,"descr":"<f4"}', x.tobytes()))
    for content in versions:
        (tmp_path / "v.npy").write_bytes(content)
        _, arrays = answer("to_float32", {"x": tmp_path / "v.npy"})
        identical(arrays["y"], x)


@hypothesis.settings(
    max_examples=6, deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(
    st.tuples(
        *(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4))
          for dtype in DTYPES)
    )
)  # fmt: skip
def test_npy_round_trip(answer, values):
    _, arrays = answer("identities", dict(zip(DTYPES, values, strict=False)))
    for dtype, value in zip(DTYPES, values, strict=False):
        identical(arrays[dtype], value)


@hypothesis.settings(
    max_examples=15, deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(st.data())
def test_damaged_npy_files_never_crash(runner, tmp_path, data):
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 3), "f4"))
    content = bytearray(stream.getvalue())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, 75))] = data.draw(st.integers(0, 255))
    (tmp_path / "x.npy").write_bytes(content)
    # A model that is not there: a file that is still good gets as far as that.
    command = [runner, "/nonexistent", "--input", f"x={tmp_path}/x.npy"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(b"tfsal_run: "), done


# ---------------------------------------------------------------- writing


def test_files_get_safe_names_and_the_users_mode(answer, tmp_path):
    mask = os.umask(0o027)
    try:
        report, arrays = answer("odd_names", {"x": np.ones(2)})
    finally:
        os.umask(mask)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {".....__b.npy", "z.npy"} or files == {"...___b.npy", "z.npy"}
    assert stat.S_IMODE((tmp_path / "out/z.npy").stat().st_mode) == 0o640
    assert "../é b" in report["outputs"]


def test_parents_are_made_and_old_files_replaced(run, tmp_path):
    deep = tmp_path / "a/b/c/"
    for value in (1, 2):
        done = run("to_int8", {"x": np.array([value])}, "--output-dir", f"{deep}/")
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.load(deep / "y.npy"), [value])
    assert [path.name for path in deep.iterdir()] == ["y.npy"]


def test_names_that_become_one_file_are_refused(run, tmp_path):
    done = run("same_file", {"x": np.ones(2)}, "--output-dir", str(tmp_path / "out"))
    refused(done, "'a.b' and 'a/b'", "a.b.npy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ignore_signal", [False, True])
def test_a_full_disk_leaves_nothing_behind(run, tmp_path, ignore_signal):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.npy").write_bytes(b"from before")

    def limit():
        if ignore_signal:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    size = {"size": np.array(100_000)}
    done = run("big", size, "--output-dir", str(out), preexec_fn=limit)
    refused(done, "cannot write", "out/b.npy", "File too large")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"a.npy": b"from before"}
    assert run("big", size, "--output-dir", str(out)).returncode == 0
    assert len(list(out.iterdir())) == 3


def test_places_that_cannot_be_written(run, tmp_path):
    inputs = {"size": np.array(3)}
    (tmp_path / "file").write_text("")
    done = run("big", inputs, "--output-dir", str(tmp_path / "file"))
    refused(done, "cannot make the directory", str(tmp_path / "file"))
    done = run("big", inputs, "--output-dir", "/proc/tfsal")
    refused(done, "/proc/tfsal")
    out = tmp_path / "out"
    (out / "c.npy").mkdir(parents=True)
    refused(run("big", inputs, "--output-dir", str(out)), "out/c.npy", "Is a directory")
    assert [path.name for path in out.iterdir()] == ["c.npy"]


def test_json_escapes(runner, bundle, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(1, "f4"))
    command = [runner, bundle, "--signature", "to_float32", "--input", f"x={tmp_path}/x.npy"]
    for name, read in [
        ('q"\\\n\x01é€😀'.encode(), 'q"\\\n\x01é€😀'),
        (b"\xff\xc3_\xed\xa0\x80", "\ufffd\ufffd_\ufffd\ufffd\ufffd"),
    ]:
        folder = os.fsencode(tmp_path) + b"/" + name
        done = subprocess.run([*command, "--output-dir", folder], capture_output=True)
        assert done.returncode == 0, done.stderr
        file = json.loads(done.stdout.decode())["outputs"]["y"]["file"]
        assert file == f"{tmp_path}/{read}/y.npy"
        assert os.listdir(folder) == [b"y.npy"]
