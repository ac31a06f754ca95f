"""Methods of reconstruction behind one interface."""

from diffusionblend.methods.classical import FBP, SBTV, SIRT
from diffusionblend.methods.diffusion_blend import DiffusionBlend
from diffusionblend.methods.method import Callback, Method, Problem, Step, find_method, methods

__all__ = [
    "FBP",
    "SBTV",
    "SIRT",
    "Callback",
    "DiffusionBlend",
    "Method",
    "Problem",
    "Step",
    "find_method",
    "methods",
]
