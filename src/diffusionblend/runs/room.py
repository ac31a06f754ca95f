"""What a reconstruction needs of a disk, from the sizes of volume and data: asked before it begins.

All of it lies in the folder of the output: the volumes, and on the way a state, which is there
twice while it is written, since the one before stays until then.
"""

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from diffusionblend.errors import OutputError
from diffusionblend.geometry import Geometry
from diffusionblend.io.formats.format import FOLDER
from diffusionblend.machine.memory import in_units
from diffusionblend.methods import TV, Method
from diffusionblend.reconstruction.request import Request

log = logging.getLogger(__name__)

BYTES = {".nii": 4.0, FOLDER: 2.0}
"""Of a voxel: float32, and of DICOM 16 bits."""
PACKED = 3.6
"""Of a voxel in all other formats: packed, volumes of the demonstration scan took 2.7 to 3.6."""
FLOAT = 4
SURELY = 1.4
"""By so much volumes may be smaller than that: what then is still too large does not fit."""


@dataclass(frozen=True)
class Room:
    """Bytes on the disk of an output.

    Attributes:
        state: Of a state of the run; 0 if none is saved.
        stacks: Of the files that volumes lie in meanwhile; 0 where they are in memory.
    """

    volumes: int
    state: int
    free: int
    stacks: int = 0

    @property
    def needed(self) -> int:
        """The most that is there at once."""
        return self.stacks + self.state + max(self.state, self.volumes)

    def check(self, output: Path) -> None:
        """Refuse what cannot fit, and warn where there is no room for a state beside it."""
        if self.volumes > SURELY * self.free:
            raise OutputError(
                f"{output}: its volumes need about {in_units(self.volumes)}, but only "
                f"{in_units(self.free)} of the disk are free; free some space or choose another "
                "place"
            )
        if self.state and self.needed > self.free:
            log.warning(
                "%s: a state of the run needs %s beside the volumes, twice that while it is "
                "written, but %s are free: the run could not be resumed; free some space, or "
                "save no state, with `save_state=inf`",
                output, in_units(self.state), in_units(self.free),
            )  # fmt: skip


def room(
    output: Path,
    request: Request,
    *,
    save_state: float = 0.0,
    save_steps: int | None = None,
    worked_on: Geometry | None = None,
    slabs: bool = False,
) -> Room:
    """Return what a reconstruction needs of its disk.

    Args:
        output: Place of the volume.
        request: What is asked for, on the beam and grid of the scan.
        save_state: Seconds between two savings of the state; infinite: none.
        save_steps: Every how many steps a volume is kept; None: never.
        worked_on: Beam and grid that the method uses, if they are larger than the scan's.
        slabs: Whether volumes go through in slabs.
    """
    method, samples = request.method, request.samples
    steps = 1 if method.counted_by is None else int(getattr(method, method.counted_by))
    others = request.compares + (samples > 1)
    if save_steps is not None:
        others += samples * max(1, steps // save_steps)
    each = BYTES.get(output.suffix.lower(), PACKED) + others * PACKED
    volumes = round(each * math.prod(request.geometry.grid.shape))
    larger = request.on(worked_on or request.geometry)
    state = state_bytes(larger) if math.isfinite(save_state) and steps > 1 else 0
    stacks = stacks_bytes(larger) if slabs else 0
    return Room(volumes, state, shutil.disk_usage(output.absolute().parent).free, stacks)


def stacks_bytes(request: Request) -> int:
    """Return the size of the files that volumes lie in where they go through in slabs."""
    volumes = _in_files(request.method) + _drawn(request) - 1
    if request.compares:
        volumes = max(volumes, _drawn(request) + _in_files(TV()))
    return FLOAT * volumes * math.prod(request.geometry.grid.shape)


def _in_files(method: Method) -> int:
    return 0 if method.slabwise is None else method.slabwise[1]


def _drawn(request: Request) -> int:
    """Return how many volumes hold samples: one, its mean, the squares of their deviations."""
    return min(request.samples, 3)


def state_bytes(request: Request) -> int:
    """Return the size of a method's state (`Method.kept`), and of the samples before it."""
    slices, *sides = request.geometry.grid.shape
    rows, *rest = request.geometry.sinogram_shape
    more = request.method.length(slices) - slices
    volumes, data = request.method.kept
    volumes += _drawn(request) - 1
    numbers = volumes * (slices + more) * math.prod(sides) + data * (rows + more) * math.prod(rest)
    return FLOAT * numbers
