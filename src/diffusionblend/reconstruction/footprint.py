"""How much memory a reconstruction takes on a CPU, from the sizes of volume and data.

    peak = base + copies of the volume + copies of the data + operator + activations

Where volumes go through in slabs, there are copies of a slab in place of those of the volume.
How many copies a method holds, its class says (`Method.copies`), the assessment's and the writing's
among them.

The numbers were fitted to peaks of the command (Linux's VmHWM, torch 2.13) for 18 to 192 slices of
128 to 512 pixels a side and 8 and 60 views; they are right within a factor of 1.3.
"""

import contextlib
import dataclasses
import functools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from diffusionblend.data.arrays import PART_BYTES
from diffusionblend.errors import UsageError
from diffusionblend.io.files import PathLike
from diffusionblend.io.shares import Shares
from diffusionblend.io.stacks import WHOLE, Slabs
from diffusionblend.machine.memory import free_bytes, in_units, memory_of, out_of_memory
from diffusionblend.machine.processes import here
from diffusionblend.methods import TV, Method, methods
from diffusionblend.methods.registry import name_of
from diffusionblend.projectors.slices import is_stored
from diffusionblend.quality.subset import subset_size
from diffusionblend.reconstruction.request import Request
from diffusionblend.sampling.blend import groups_at_once
from diffusionblend.sampling.partition import BLOCK, GROUP, whole_blocks

BASE = 272 * 2**20
"""Python, torch and the prior."""
FLOAT = 4
MATRIX = 24
"""Bytes of A and its adjoint as matrices, for each view and pixel of a slice."""
PASSING = 64
"""Bytes that an operator without a matrix works on, for each pixel and ray of a slice."""
ACTIVATIONS = 520
"""Bytes of the network, for each pixel of each group of a batch."""
AFTERWARDS = 250 * 2**20
"""What a method with a prior leaves behind, while the classical reconstruction is made."""
ASSESSED = 6
"""Copies of the slices that the quality record looks at closely (`subset`), of a volume whose
method does not fit the data: of many slices they are few, of nine of 2048 x 2048 pixels a third."""
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


def find_room(request: Request, *, most: int | None = None, folder: PathLike | None = None) -> Room:
    """Return how a reconstruction fits: all slices at once if possible, else some at a time.

    Args:
        request: What is asked for.
        most: Bytes that the process may hold; None: what is free.
        folder: Where files of stacks go; None: where temporary files do.
    """
    if here().count > 1:
        return _room_of_share(request, most, folder)
    needed = memory_needed(request)
    free = free_bytes() if most is None else most
    if free is None or needed <= free:
        return Room(WHOLE, needed)
    slices, rows, columns = request.geometry.grid.shape
    if request.method.slabwise is None:
        if most is None and needed <= SURELY * free:
            return Room(WHOLE, needed)
        less = f"a method that works in slabs ({_able()}) needs less; else {_smaller(request)}"
        raise out_of_memory(request.words, needed, less, most)
    step = 1 if rows * columns % _EVEN == 0 else _DRAWN
    at_once = functools.partial(memory_needed, request)
    fixed = at_once(slab=0)
    count = int((free - fixed) // (at_once(slab=1) - fixed)) // step * step
    if count < step:
        what = f"{request.words}, {step} at a time,"
        raise out_of_memory(what, at_once(slab=step), _smaller(request), most)
    return Room(Slabs(min(count, slices), _place(folder)), at_once(slab=count))


def find_slabs(
    request: Request, *, cpu: bool, most: int | None = None, folder: PathLike | None = None
) -> Slabs:
    """Return how volumes are worked on: on a CPU so that they fit, and divided among processes."""
    if cpu:
        return find_room(request, most=most, folder=folder).slabs
    return WHOLE if here().count == 1 else _shares(request, folder)


def _shares(request: Request, folder: PathLike | None) -> Shares:
    processes = here()
    if request.method.slabwise is None:
        raise UsageError(
            f"{name_of(request.method)} needs all slices in one process, not {processes.count}; "
            f"start one process, or take a method that can be divided ({_able()})"
        )
    slices = request.geometry.grid.shape[0]
    blocks = whole_blocks(slices) // BLOCK
    if blocks < processes.count:
        raise UsageError(
            f"{slices} slices are {blocks} block{'s' * (blocks > 1)} of {BLOCK}, which are not "
            f"divided, for {processes.count} processes; start no more than {blocks}"
        )
    return Shares(folder=_place(folder), processes=processes, together=BLOCK)


def _place(folder: PathLike | None) -> Path:
    return Path(folder or tempfile.gettempdir())


def _room_of_share(request: Request, most: int | None, folder: PathLike | None) -> Room:
    """Return how the largest share of a volume fits into a process."""
    slabs = _shares(request, folder)
    slices, rows, columns = request.geometry.grid.shape
    largest = max(map(len, slabs.ranges(slices)))
    needed = memory_needed(request, held=largest)
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
def enough_memory(request: Request, *, cpu: bool, most: int | None = None) -> Iterator[None]:
    """Around a reconstruction: where memory is not enough, say what was needed and what to change.

    Args:
        request: What is asked for, on the beam and grid of the scan.
        cpu: Whether it is made on the CPU, where what it takes is known before.
        most: Bytes that the process may hold; None: what is free.
    """
    if most is not None and not cpu:
        raise UsageError("`max_memory` bounds the memory of the CPU; give `device='cpu'` as well")
    needed = find_room(request, most=most).peak if cpu else None
    with memory_of(request.words, needed, _smaller(request)):
        yield


def _smaller(request: Request) -> str:
    """Say what needs less memory."""
    alone = memory_needed(dataclasses.replace(request, classical=False))
    smaller = "take fewer slices or larger pixels"
    if memory_needed(request) <= SURELY * alone:
        return smaller
    without = f"`classical=False`: {in_units(alone)}"
    return f"leave out the classical reconstruction ({without}), or {smaller}"


def _able() -> str:
    """Return the names of the methods whose volumes go through in parts."""
    return ", ".join(name for name, cls in methods().items() if cls.slabwise is not None)


def memory_needed(request: Request, slab: int | None = None, held: int | None = None) -> int:
    """Return the bytes that a reconstruction takes on a CPU of this machine.

    Args:
        request: What is asked for.
        slab: Slices that are worked on at a time; None: all.
        held: Slices that this process holds; None: all.
    """
    geometry = request.geometry
    slices, *sides = geometry.grid.shape
    apart = geometry.beam.slicewise  # where rays cross slices none stands alone
    return peak_memory(
        (slices if held is None else held, sides[0], sides[1]), geometry.sinogram_shape,
        request.method, samples=request.samples, classical=request.classical,
        matrix=apart and is_stored(geometry, torch.device("cpu")), slab=slab,
        assessed=subset_size(geometry, slices) if apart else 0,
    )  # fmt: skip


def peak_memory(
    volume: tuple[int, int, int],
    data: tuple[int, int, int],
    method: Method,
    *,
    samples: int = 1,
    classical: bool = True,
    matrix: bool = True,
    slab: int | None = None,
    assessed: int = 0,
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
        assessed: Slices that the quality record works on one by one.
    """
    slices, *sides = volume
    pixels, rays = math.prod(sides), data[1] * data[2]
    one, lines = FLOAT * (slices if slab is None else slab) * pixels, FLOAT * math.prod(data)
    fixed = BASE + (MATRIX * data[1] * pixels if matrix else PASSING * (pixels + rays))
    if not method.fits_data:
        fixed += ASSESSED * FLOAT * assessed * pixels
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
