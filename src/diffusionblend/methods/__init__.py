"""Methods of reconstruction behind one interface."""

from diffusionblend.methods.dds import DDS, DDS2D
from diffusionblend.methods.diffusion_blend import DiffusionBlend, DiffusionBlendPlusPlus
from diffusionblend.methods.diffusion_blend_fast import DiffusionBlendFast
from diffusionblend.methods.diffusion_mbir import DiffusionMBIR
from diffusionblend.methods.fbp import FBP
from diffusionblend.methods.fbp_unet import FBPUNet
from diffusionblend.methods.iterative import CGLS, SIRT
from diffusionblend.methods.method import Callback, Convergence, Method, State, Step, Stepped, run
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import find_method, method_names, methods, register
from diffusionblend.methods.sbtv import SBTV
from diffusionblend.methods.tpdm import TPDM
from diffusionblend.methods.tv import TV

__all__ = [
    "CGLS",
    "DDS",
    "DDS2D",
    "FBP",
    "SBTV",
    "SIRT",
    "TPDM",
    "TV",
    "Callback",
    "Convergence",
    "DiffusionBlend",
    "DiffusionBlendFast",
    "DiffusionBlendPlusPlus",
    "DiffusionMBIR",
    "FBPUNet",
    "Method",
    "Problem",
    "State",
    "Step",
    "Stepped",
    "find_method",
    "method_names",
    "methods",
    "register",
    "run",
]
