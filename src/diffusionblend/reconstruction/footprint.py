"""How much memory a reconstruction takes on a CPU, from the sizes of volume and data.

    peak = base + copies of the volume + copies of the data + operator + activations

Where volumes go through in slabs, there are copies of a slab in place of those of the volume.
How many copies a method holds, its class says (`Method.copies`), the assessment's and the writing's
among them.

The numbers were fitted to peaks of the command (Linux's VmHWM, torch 2.13) for 18 to 192 slices of
128 to 512 pixels a side and 8 and 60 views; they are right within a factor of 1.3.
"""

import contextlib
import functools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffusionblend.data.arrays import PART_BYTES
from diffusionblend.errors import UsageError
from diffusionblend.geometry import Geometry
from diffusionblend.io.files import PathLike
from diffusionblend.io.shares import Shares
from diffusionblend.io.stacks import WHOLE, Slabs
from diffusionblend.machine.memory import free_bytes, in_units, memory_of, out_of_memory
from diffusionblend.machine.processes import here
from diffusionblend.methods import TV, Method, methods
from diffusionblend.methods.registry import name_of
from diffusionblend.projectors.slices import is_stored
from diffusionblend.sampling.blend import groups_at_once
from diffusionblend.sampling.partition import BLOCK, GROUP, whole_blocks

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
WRITTEN = 4
"""Copies of a part of a volume in slabs, while it is written and read back."""
_SAMPLES = 3
_DRAWN, _EVEN = 16, 16 * 16**2
"""torch draws normal numbers by sixteens: a slab is as many slices, unless each slice has pixels
for that, down to pixels 16 times as large."""
SURELY = 1.3
"""By so much an estimate may be too high: what is larger than free memory by more does not fit."""


@dataclass(frozen=True)
class Room:
    """How a reconstruction fits into the memory of a CPU.

    Attributes:
        slabs: How many slices are worked on at a time.
        peak: The most memory that the process will hold, in bytes.
    """

    slabs: Slabs
    peak: int


def find_room(
    geometry: Geometry,
    method: Method,
    *,
    samples: int = 1,
    classical: bool = False,
    most: int | None = None,
    folder: PathLike | None = None,
) -> Room:
    """Return how a reconstruction fits: all slices at once if possible, else some at a time.

    Args:
        geometry: Beam and grid that are worked on.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
        most: Bytes that the process may hold; None: what is free.
        folder: Where files of stacks go; None: where temporary files do.

    Raises:
        OutOfMemory: It does not fit.
    """
    known: Any = {"samples": samples, "classical": classical}
    if here().count > 1:
        return _room_of_share(geometry, method, folder=folder, most=most, **known)
    needed = memory_needed(geometry, method, **known)
    free = free_bytes() if most is None else most
    if free is None or needed <= free:
        return Room(WHOLE, needed)
    slices, rows, columns = geometry.grid.shape
    what = f"a volume of {slices} slices of {rows} x {columns} pixels"
    if method.slabwise is None:
        if most is None and needed <= SURELY * free:
            return Room(WHOLE, needed)
        less = f"a method that works in slabs ({_able()}) needs less; else "
        raise out_of_memory(what, needed, less + _smaller(geometry, method, **known), most)
    step = 1 if rows * columns % _EVEN == 0 else _DRAWN
    at_once = functools.partial(memory_needed, geometry, method, **known)
    fixed = at_once(slab=0)
    count = int((free - fixed) // (at_once(slab=1) - fixed)) // step * step
    if count < step:
        cure = _smaller(geometry, method, **known)
        raise out_of_memory(f"{what}, {step} at a time,", at_once(slab=step), cure, most)
    place = Path(folder or tempfile.gettempdir())
    return Room(Slabs(min(count, slices), place), at_once(slab=count))


def find_slabs(
    geometry: Geometry,
    method: Method,
    *,
    cpu: bool,
    folder: PathLike | None = None,
    **needs: Any,  # noqa: ANN401 - those of `find_room`
) -> Slabs:
    """Return how volumes are worked on: on a CPU so that they fit."""
    if cpu:
        return find_room(geometry, method, folder=folder, **needs).slabs
    return divided(geometry, method, folder)


def divided(geometry: Geometry, method: Method, folder: PathLike | None = None) -> Slabs:
    """Return how a volume is divided among the processes: of one, that it is not.

    Args:
        geometry: Beam and grid that are worked on.
        method: The method.
        folder: Where files of stacks go; None: where temporary files do.

    Raises:
        UsageError: The method, or so few slices, cannot be divided.
    """
    processes, slices = here(), geometry.grid.shape[0]
    if processes.count == 1:
        return WHOLE
    if method.slabwise is None:
        raise UsageError(
            f"{name_of(method)} needs all slices in one process, not in {processes.count}; start "
            f"one process, or take a method that can be divided ({_able()})"
        )
    blocks = whole_blocks(slices) // BLOCK
    if blocks < processes.count:
        raise UsageError(
            f"{slices} slices are {blocks} block{'s' * (blocks > 1)} of {BLOCK}, which are not "
            f"divided, for {processes.count} processes; start no more than {blocks}"
        )
    place = Path(folder or tempfile.gettempdir())
    return Shares(folder=place, processes=processes, together=BLOCK)


def _room_of_share(
    geometry: Geometry,
    method: Method,
    *,
    folder: PathLike | None,
    most: int | None,
    **known: Any,  # noqa: ANN401 - those of `memory_needed`
) -> Room:
    """Return how the largest share of a volume fits into a process."""
    slabs = divided(geometry, method, folder)
    assert isinstance(slabs, Shares)
    slices, *sides = geometry.grid.shape
    largest = max(map(len, slabs.ranges(slices)))
    rows, columns = sides
    needed = peak_memory(
        (largest, rows, columns), geometry.sinogram_shape, method, matrix=_stored(geometry), **known
    )
    free, machine = free_bytes(), needed * slabs.processes.on_machine
    if most is not None and needed > most:
        what = f"a share of {largest} slices of {rows} x {columns} pixels"
    elif most is None and free is not None and machine > SURELY * free:
        what = f"{slabs.processes.on_machine} shares of {largest} slices of {rows} x {columns}"
        needed = machine
    else:
        return Room(slabs, needed)
    cure = "start more processes, on more machines, or one process with `max_memory`"
    raise out_of_memory(what, needed, cure, most)


@contextlib.contextmanager
def enough_memory(
    geometry: Geometry,
    method: Method,
    *,
    samples: int = 1,
    classical: bool = False,
    cpu: bool,
    most: int | None = None,
) -> Iterator[None]:
    """Around a reconstruction: where memory is not enough, say what was needed and what to change.

    Args:
        geometry: Beam and grid of the scan.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
        cpu: Whether it is made on the CPU, where what it takes is known before.
        most: Bytes that the process may hold; None: what is free.

    Raises:
        OutOfMemory: It does not fit, as far as that is known before, or ran out on the way.
        UsageError: A device other than the CPU, whose memory is not bounded here, is to be.
    """
    if most is not None and not cpu:
        raise UsageError("`max_memory` bounds the memory of the CPU; give `device='cpu'` as well")
    known: Any = {"samples": samples, "classical": classical}
    needed = find_room(geometry, method, **known, most=most).peak if cpu else None
    slices, rows, columns = geometry.grid.shape
    what = f"a volume of {slices} slices of {rows} x {columns} pixels"
    with memory_of(what, needed, _smaller(geometry, method, **known)):
        yield


def _smaller(geometry: Geometry, method: Method, *, samples: int, classical: bool) -> str:
    """Say what needs less memory."""
    needed = memory_needed(geometry, method, samples=samples, classical=classical)
    alone = memory_needed(geometry, method, samples=samples, classical=False)
    smaller = "take fewer slices or larger pixels"
    if needed <= SURELY * alone:
        return smaller
    without = f"`classical=False`: {in_units(alone)}"
    return f"leave out the classical reconstruction ({without}), or {smaller}"


def _able() -> str:
    """Return the names of the methods whose volumes go through in parts."""
    return ", ".join(name for name, cls in methods().items() if cls.slabwise is not None)


def memory_needed(
    geometry: Geometry,
    method: Method,
    *,
    samples: int = 1,
    classical: bool = False,
    slab: int | None = None,
) -> int:
    """Return the bytes that a reconstruction takes on a CPU of this machine.

    Args:
        geometry: Beam and grid that are worked on.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
        slab: Slices that are worked on at a time; None: all.
    """
    return peak_memory(
        geometry.grid.shape,
        geometry.sinogram_shape,
        method,
        samples=samples,
        classical=classical,
        matrix=_stored(geometry),
        slab=slab,
    )


def _stored(geometry: Geometry) -> bool:
    return geometry.beam.slicewise and is_stored(geometry, torch.device("cpu"))


def peak_memory(
    volume: tuple[int, int, int],
    data: tuple[int, int, int],
    method: Method,
    *,
    samples: int = 1,
    classical: bool = True,
    matrix: bool = True,
    slab: int | None = None,
) -> int:
    """Return the most memory that the process will hold, in bytes.

    Args:
        volume: Slices, rows and columns.
        data: Detector rows, views and bins.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made as well, beside a learned one.
        matrix: Whether the operator is a matrix.
        slab: Slices that are worked on at a time, by methods that are `slabwise`; None: all.
    """
    slices, *sides = volume
    pixels, rays = math.prod(sides), data[1] * data[2]
    one, lines = FLOAT * (slices if slab is None else slab) * pixels, FLOAT * math.prod(data)
    fixed = BASE + (MATRIX * data[1] * pixels if matrix else PASSING * (pixels + rays))
    if samples > 1:
        fixed += _SAMPLES * one
    if slab is not None:
        fixed += WRITTEN * min(FLOAT * slices * pixels, PART_BYTES)
    volumes, sinograms = _copies(method, slab)
    peak = volumes * one + sinograms * lines + _activations(method, slices, pixels)
    if classical and not method.classical:
        volumes, sinograms = _copies(TV(), slab)
        after = AFTERWARDS if method.needs_prior else 0
        after += 2 * one * (slab is None and method.needs_prior)
        peak = max(peak, after + volumes * one + sinograms * lines)
    return round(fixed + peak)


def _copies(method: Method, slab: int | None) -> tuple[float, float]:
    """Return how many volumes, or slabs, and how many sets of data a method holds at once."""
    volumes, sinograms = method.copies
    return (volumes if slab is None or method.slabwise is None else method.slabwise[0]), sinograms


def _activations(method: Method, slices: int, pixels: int) -> float:
    """Return the bytes of the network: those of one batch."""
    if not method.needs_prior:
        return 0
    most = groups_at_once(getattr(method, "batch_size", 1), pixels)
    return float(ACTIVATIONS * min(most, method.length(slices) // GROUP + 1) * pixels)
