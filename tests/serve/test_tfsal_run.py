"""tfsal_run against the same SavedModel in Python, and whatever a request can get wrong."""

import json
import os
import pathlib
import subprocess

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from run_models import identical, refused

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


def test_several_strings_of_one_input(answer, tmp_path):
    parts = [b"one", b"\x89PNG\r\n\x1a\n and so on", b"", bytes(range(256)) * 300]
    options = []
    for i, part in enumerate(parts):
        (tmp_path / f"{i}").write_bytes(part)
        options += ["--input", f"data=@{tmp_path}/{i}"]
    report, arrays = answer("strings", {}, *options)
    identical(arrays["size"], np.array([len(p) for p in parts], "i4"))
    files = [pathlib.Path(file) for file in report["outputs"]["echo"]["file"]]
    assert [file.name for file in files] == ["echo.0.bin", "echo.1.png", "echo.2.bin", "echo.3.bin"]
    assert [file.read_bytes() for file in files] == parts


def test_an_array_of_strings(answer, run):
    words = [b"one", b"", b"t\0hree", "\u00fcber".encode()]
    report, arrays = answer("strings", {"data": np.array(words)})
    identical(arrays["size"], np.array([len(w) for w in words], "i4"))
    files = report["outputs"]["echo"]["file"]
    assert [pathlib.Path(file).read_bytes() for file in files] == words
    _, arrays = answer("strings", {"data": np.zeros([0], "S3")})
    assert arrays["size"].shape == (0,)
    answer("string_scalar", {"data": np.array(b"word")})
    refused(run("strings", {"data": np.array([[b"a"]])}), "takes the shape [?], not [1, 1]")
    refused(run("to_float32", {"x": np.array([b"1"])}), "float32 and cannot take string")


def test_several_strings_for_a_scalar(run, tmp_path):
    (tmp_path / "data").write_bytes(b"a")
    twice = ["--input", f"data=@{tmp_path}/data"] * 2
    refused(run("string_scalar", {}, *twice), "input 'data' takes the shape [], not [2]")


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
    refused(run(signature, wrong, "--output-dir", str(out)), "row 1 has no answer", "out of range")
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
        (["a", "--input", "x=@1", "--input", "x=2"], "x is given twice; only NAME=@FILE"),
        (["a", "--input", "x=1", "--input", "x=@2"], "x is given twice"),
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
