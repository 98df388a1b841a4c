"""Explanation methods: one file a family, every method a small frozen dataclass."""

from tfsal.methods.base import Method, get_method, list_methods
from tfsal.methods.call import Explanation
from tfsal.methods.cam import GradCAM, HiResCAM, LayerCAM
from tfsal.methods.gradient import GradientTimesInput, VanillaGradient
from tfsal.methods.target import ClassScore, GraphScore, RegionScore

__all__ = [
    "ClassScore",
    "Explanation",
    "GradCAM",
    "GradientTimesInput",
    "GraphScore",
    "HiResCAM",
    "LayerCAM",
    "Method",
    "RegionScore",
    "VanillaGradient",
    "get_method",
    "list_methods",
]
