"""From a model and methods to a SavedModel that a server answers explanations from."""

from tfsal.serving.bundle import export
from tfsal.serving.check import check
from tfsal.serving.preprocess import Preprocess

__all__ = ["Preprocess", "check", "export"]
