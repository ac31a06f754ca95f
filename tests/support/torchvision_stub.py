"""A plugin of pytest that lets deepinv be imported beside a torch for the CPU.

A torchvision for CUDA lacks two operators there, and asks for them when it is imported.
"""

import contextlib
import warnings

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    with contextlib.suppress(RuntimeError):  # they are there: a torchvision that fits
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import deepinv  # noqa: F401
