"""Any TensorFlow model as one flat graph."""

from tfsal.graph.load import load
from tfsal.graph.model_graph import ModelGraph
from tfsal.graph.tensor_info import TensorInfo

__all__ = ["ModelGraph", "TensorInfo", "load"]
