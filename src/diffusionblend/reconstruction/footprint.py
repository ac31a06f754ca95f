"""How much memory a reconstruction takes on a CPU, from the sizes of volume and data.

    peak = base + copies of the volume + copies of the data + operator + activations

How many copies a method holds, its class says (`Method.copies`), the assessment's and the writing's
among them.

The numbers were fitted to peaks of the command (Linux's VmHWM, torch 2.13) for 18 to 192 slices of
128 to 512 pixels a side and 8 and 60 views; they are right within a factor of 1.3.
"""

import contextlib
import math
from collections.abc import Iterator

import torch

from diffusionblend.geometry import Geometry
from diffusionblend.machine.memory import free_bytes, in_units, memory_of, out_of_memory
from diffusionblend.methods import TV, Method
from diffusionblend.projectors.slices import is_stored
from diffusionblend.sampling.blend import groups_at_once
from diffusionblend.sampling.partition import GROUP, padded_length

BASE = 272 * 2**20
"""Python, torch and the prior."""
FLOAT = 4
MATRIX = 24
"""Bytes of A and its adjoint as matrices, for each view and pixel of a slice."""
PASSING = 64
"""Bytes of what goes through an operator without a matrix, for each pixel and ray of a slice."""
ACTIVATIONS = 520
"""Bytes of the network, for each pixel of each group of a batch."""
AFTERWARDS = 250 * 2**20
"""What a method with a prior leaves behind, while the classical reconstruction is made."""
_SAMPLES = 3
SURELY = 1.3
"""By so much an estimate may be too high: what is larger than free memory by more does not fit."""


@contextlib.contextmanager
def enough_memory(
    geometry: Geometry, method: Method, *, samples: int = 1, classical: bool = False, cpu: bool
) -> Iterator[None]:
    """Around a reconstruction: where memory is not enough, say what was needed and what to change.

    Args:
        geometry: Beam and grid that are worked on.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
        cpu: Whether it is made on the CPU, where what it takes is known before.

    Raises:
        OutOfMemory: It does not fit, as far as that is known before, or ran out on the way.
    """
    needed = memory_needed(geometry, method, samples=samples, classical=classical)
    alone = memory_needed(geometry, method, samples=samples, classical=False)
    slices, rows, columns = geometry.grid.shape
    what = f"a volume of {slices} slices of {rows} x {columns} pixels"
    cure = "take fewer slices or larger pixels"
    if needed > SURELY * alone:
        without = f"`classical=False`: {in_units(alone)}"
        cure = f"leave out the classical reconstruction ({without}), or {cure}"
    free = free_bytes() if cpu else None
    if free is not None and needed > SURELY * free:
        raise out_of_memory(what, needed, cure)
    with memory_of(what, needed if cpu else None, cure):
        yield


def memory_needed(
    geometry: Geometry, method: Method, *, samples: int = 1, classical: bool = False
) -> int:
    """Return the bytes that a reconstruction takes on a CPU of this machine.

    Args:
        geometry: Beam and grid that are worked on.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
    """
    return peak_memory(
        geometry.grid.shape,
        geometry.sinogram_shape,
        method,
        samples=samples,
        classical=classical and not method.classical,
        matrix=geometry.beam.slicewise and is_stored(geometry, torch.device("cpu")),
    )


def peak_memory(
    volume: tuple[int, int, int],
    data: tuple[int, int, int],
    method: Method,
    *,
    samples: int = 1,
    classical: bool = True,
    matrix: bool = True,
) -> int:
    """Return the most memory that the process will hold, in bytes.

    Args:
        volume: Slices, rows and columns.
        data: Detector rows, views and bins.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made as well.
        matrix: Whether the operator is a matrix.
    """
    slices, *sides = volume
    pixels, rays = math.prod(sides), data[1] * data[2]
    one, lines = FLOAT * slices * pixels, FLOAT * math.prod(data)
    fixed = BASE + (MATRIX * data[1] * pixels if matrix else PASSING * (pixels + rays))
    if samples > 1:
        fixed += _SAMPLES * one
    volumes, sinograms = method.copies
    peak = volumes * one + sinograms * lines + _activations(method, slices, pixels)
    if classical:
        volumes, sinograms = TV.copies
        after = AFTERWARDS + 2 * one if method.needs_prior else 0
        peak = max(peak, after + volumes * one + sinograms * lines)
    return round(fixed + peak)


def _activations(method: Method, slices: int, pixels: int) -> float:
    """Return the bytes of the network: those of one batch."""
    if not method.needs_prior:
        return 0
    most = groups_at_once(getattr(method, "batch_size", 1), pixels)
    return float(ACTIVATIONS * min(most, padded_length(slices) // GROUP + 1) * pixels)
