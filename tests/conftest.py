"""For all tests: a quiet TensorFlow, and memory given back between modules."""

import gc
import warnings
import zlib

import pytest

from tfsal.quiet import import_tensorflow

import_tensorflow()
# Graphs are a million objects that stay: to look through them all the time takes a tenth of it.
gc.set_threshold(100_000, 20, 100)
warnings.filterwarnings("ignore", "This pseudo.*|.*np.object.*|.*__array__.*", module="keras")


@pytest.fixture(autouse=True, scope="module")
def free_memory():
    """Keras keeps a graph of every model that was built."""
    yield
    import keras

    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(autouse=True)
def same_weights_every_time(request):
    """A network whose weights differ from run to run would pass in one run and not in the next."""
    _seed(request.node.nodeid)


def _seed(name):
    import keras

    keras.utils.set_random_seed(zlib.crc32(name.encode()))


@pytest.fixture(scope="session")
def built():
    """Networks of tests/networks.py by the name of their family, each built once."""
    import networks

    models = {}

    def get(family):
        if family not in models:
            _seed(family)
            models[family] = networks.FAMILIES[family]()
        return models[family]

    return get
