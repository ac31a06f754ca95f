"""What runs networks on a CPU: torch, or OpenVINO where that is installed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from diffusionblend.errors import UsageError
from diffusionblend.machine.packages import install

TORCH, OPENVINO = "torch", "openvino"
VARIABLE = "DIFFUSIONBLEND_ENGINE"
_TELEMETRY = "openvino_telemetry"


def engine() -> str:
    """Return what runs networks on a CPU: `openvino` if it is installed, else `torch`.

    The environment variable DIFFUSIONBLEND_ENGINE overrides this.
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


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Import OpenVINO in this context: it then neither writes into the home nor reports its use.

    The package that does both is optional, and hidden meanwhile.
    """
    modules: dict[str, Any] = sys.modules  # a module that is None there cannot be imported
    before = modules.get(_TELEMETRY)
    modules[_TELEMETRY] = None
    try:
        yield
    finally:
        if before is None:
            del modules[_TELEMETRY]
        else:
            modules[_TELEMETRY] = before
