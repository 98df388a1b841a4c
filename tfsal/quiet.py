"""Keeps TensorFlow's log away from people who did not ask for it."""

import contextlib
import logging
import os
import re
import sys
import tempfile

_NOISE = re.compile(
    rb"^(WARNING: All log messages before absl|[IW]\d{4} |\d{4}-\d\d-\d\d .*: [IW] |"
    rb"To enable the following instructions|E\d{4} .*cuInit)"
)


@contextlib.contextmanager
def quiet_logger():
    """Silences what TensorFlow's Python code says below an error."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def import_tensorflow():
    """Imports TensorFlow without its start-up messages; errors and other output still show.

    The native libraries write to file descriptor 2 before any setting of theirs is read.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)
