"""How much memory a reconstruction takes on a CPU, from the sizes of volume and data.

    peak = base + copies of the volume + copies of the data + matrices + activations

The numbers were fitted to peaks of the command (Linux's VmHWM, torch 2.13) for 18 to 192 slices of
128 to 512 pixels a side and 8 and 60 views; they are right within a factor of 1.3.
"""

import math

from diffusionblend.methods import CGLS, DDS, FBP, SBTV, SIRT, TV, FBPUNet, Method
from diffusionblend.methods import DiffusionBlendFast as Fast
from diffusionblend.partition import GROUP, padded_length

BASE = 272 * 2**20
"""Python, torch and the prior."""
FLOAT = 4
MATRIX = 24
"""Bytes of A and its adjoint, for each view and pixel of a slice; a cone has no matrices."""
ACTIVATIONS = 520
"""Bytes of the network, for each pixel of each group of a batch."""
AFTERWARDS = 250 * 2**20
"""What a method with a prior leaves behind, while the classical reconstruction is made."""
_COPIES: dict[type, tuple[float, float]] = {
    FBP: (7, 5),
    SIRT: (8, 12),
    CGLS: (11, 15),
    SBTV: (21, 15),
    TV: (27, 15),
    FBPUNet: (9, 5),
    Fast: (6.5, 3),
    DDS: (18, 5),
}
"""Volumes and data that are held at once, the assessment's and the writing's too."""
_WITH_PRIOR, _UNKNOWN = (9, 5), (20, 15)
_SAMPLES = 3


def peak_memory(
    volume: tuple[int, int, int],
    data: tuple[int, int, int],
    method: Method,
    *,
    samples: int = 1,
    classical: bool = True,
    cone: bool = False,
) -> int:
    """Return the most memory that the process will hold, in bytes.

    Args:
        volume: Slices, rows and columns.
        data: Detector rows, views and bins.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
        cone: Whether the beam is a cone.
    """
    slices, *sides = volume
    pixels = math.prod(sides)
    one, lines = FLOAT * slices * pixels, FLOAT * math.prod(data)
    fixed = BASE + (0 if cone else MATRIX * data[1] * pixels)
    if samples > 1:
        fixed += _SAMPLES * one
    volumes, sinograms = _copies(method)
    peak = volumes * one + sinograms * lines + _activations(method, slices, pixels)
    if classical:
        volumes, sinograms = _COPIES[TV]
        after = AFTERWARDS + 2 * one if method.needs_prior else 0
        peak = max(peak, after + volumes * one + sinograms * lines)
    return round(fixed + peak)


def _copies(method: Method) -> tuple[float, float]:
    return _COPIES.get(type(method), _WITH_PRIOR if method.needs_prior else _UNKNOWN)


def _activations(method: Method, slices: int, pixels: int) -> float:
    """Return the bytes of the network: those of one batch."""
    if not method.needs_prior:
        return 0
    groups = min(getattr(method, "batch_size", 1), padded_length(slices) // GROUP + 1)
    return float(ACTIVATIONS * groups * pixels)
