"""What runs networks on a CPU: torch, or OpenVINO where that is installed."""

import os
from importlib.util import find_spec

from diffusionblend.errors import UsageError
from diffusionblend.machine.packages import install

TORCH, OPENVINO = "torch", "openvino"
VARIABLE = "DIFFUSIONBLEND_ENGINE"


def engine() -> str:
    """Return what runs networks on a CPU: `openvino` if it is installed, else `torch`.

    The environment variable DIFFUSIONBLEND_ENGINE says otherwise.
    """
    there = find_spec("openvino") is not None
    chosen = os.environ.get(VARIABLE) or (OPENVINO if there else TORCH)
    if chosen not in (TORCH, OPENVINO):
        raise UsageError(f"{VARIABLE}={chosen}: expected {TORCH} or {OPENVINO}")
    if chosen == OPENVINO and not there:
        raise UsageError(
            f"{VARIABLE}={chosen}: it is not installed; run `{install('openvino')}`, or unset the "
            "variable"
        )
    return chosen
