"""tfsal_run on the SavedModel of run_models."""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from run_models import Models, _identities


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
