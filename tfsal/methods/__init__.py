"""Explanation methods: one file a family, every method a small frozen dataclass."""

from tfsal.methods.base import Method, get_method, list_methods  # noqa: I001
from tfsal.methods.call import Explanation
from tfsal.methods.gradient_cams import (
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    RespondCAM,
    XGradCAM,
)
from tfsal.methods.eigen_cams import EigenCAM, EigenGradCAM
from tfsal.methods.saliency_tubes import SaliencyTubes
from tfsal.methods.score_cam import ScoreCAM
from tfsal.methods.ablation_cam import AblationCAM
from tfsal.methods.recipro_cam import ReciproCAM
from tfsal.methods.gradient import GradientTimesInput, VanillaGradient
from tfsal.methods.path import IntegratedGradients
from tfsal.methods.expected_gradients import ExpectedGradients
from tfsal.methods.noise import SmoothGrad, SquareGrad, VarGrad
from tfsal.methods.blur_ig import BlurIG
from tfsal.methods.guided_ig import GuidedIG
from tfsal.methods.backward_rules import Deconvnet, GuidedBackprop, GuidedGradCAM
from tfsal.methods.full_grad import FullGrad
from tfsal.methods.activation_maximization import ActivationMaximization
from tfsal.methods.features import FeatureAblation
from tfsal.methods.lime import LIME
from tfsal.methods.occlusion import Occlusion
from tfsal.methods.rise import RISE
from tfsal.methods.sensitivity import HSIC, SobolIndices
from tfsal.methods.shapley import KernelSHAP, SampledShapley
from tfsal.methods.xrai import XRAI
from tfsal.methods.target import ClassScore, GraphScore, RegionScore

__all__ = [
    "AblationCAM",
    "ActivationMaximization",
    "BlurIG",
    "ClassScore",
    "Deconvnet",
    "EigenCAM",
    "EigenGradCAM",
    "ExpectedGradients",
    "Explanation",
    "FeatureAblation",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientTimesInput",
    "GraphScore",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedIG",
    "HSIC",
    "HiResCAM",
    "IntegratedGradients",
    "KernelSHAP",
    "LIME",
    "LayerCAM",
    "Method",
    "Occlusion",
    "RISE",
    "ReciproCAM",
    "RegionScore",
    "RespondCAM",
    "SaliencyTubes",
    "SampledShapley",
    "ScoreCAM",
    "SmoothGrad",
    "SobolIndices",
    "SquareGrad",
    "VanillaGradient",
    "VarGrad",
    "XGradCAM",
    "XRAI",
    "get_method",
    "list_methods",
]
