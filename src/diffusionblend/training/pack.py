"""Packs: the volumes of a recipe in one or a few compressed files, to train somewhere else.

HDF5, one data set of int16 HU for each volume, as they lie in the cache. Of their grids only the
size of the voxels is kept, for the card of what is trained.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.files import atomic, expect_suffix
from diffusionblend.io.formats.headers import MAX_VOXELS
from diffusionblend.io.projections.formats.walked import walk
from diffusionblend.progress import counted
from diffusionblend.training.samples import Source

SCHEMA, SUFFIX = "diffusionblend-pack/1", ".h5"
_STORAGE = {"compression": "gzip", "compression_opts": 9, "shuffle": True}


@dataclass(frozen=True)
class Packed:
    """A volume in a pack.

    Attributes:
        weight: How often its slices are drawn.
        scale, finest: Size of its pixels, and the least that they are drawn at, as in `Source`.
        voxel_mm: Distance of its slices and of its pixels; none in earlier packs.
    """

    name: str
    files: tuple[Path, ...]
    weight: float = 1.0
    scale: int = 1
    finest: int = 1
    voxel_mm: tuple[float, float] | None = None

    def read(self) -> Volume:
        """Read it."""
        (path,) = self.files
        try:
            with h5py.File(path) as file:
                data = file[self.name]
                if data.ndim != 3 or not 0 < data.size <= MAX_VOXELS:
                    raise UnsupportedInput(f"{path}: {self.name} has the shape {data.shape}")
                hu = data[()].astype(np.float32)
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise CorruptInput(f"{path}: {self.name} cannot be read ({error})") from error
        return Volume(hu, Grid.from_spacing(hu.shape).reversed((1,)))  # as they were packed


def read_pack(path: Path) -> list[Packed]:
    """List the volumes of a pack."""
    try:
        walk(path)
        with h5py.File(path) as file:
            if file.attrs.get("schema") != SCHEMA:
                raise CorruptInput(f"{path}: not a pack of this version; make it again with `pack`")
            return [_packed(path, name, file[name].attrs) for name in sorted(file)]
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise CorruptInput(f"{path}: not a pack ({error}); make it again with `pack`") from error


def _packed(path: Path, name: str, facts: Mapping[str, Any]) -> Packed:
    # Earlier packs do not say of scales: all of theirs are 1.
    scale, finest = (int(facts.get(key, 1)) for key in ("scale", "finest"))
    voxel_mm = facts.get("voxel_mm")
    known = None if voxel_mm is None else (float(voxel_mm[0]), float(voxel_mm[1]))
    return Packed(name, (path,), float(facts["weight"]), scale, finest, known)


def write_packs(sources: Sequence[Source], output: Path, max_mib: float = math.inf) -> list[Path]:
    """Write volumes to `output`, or to numbered parts of it of at most `max_mib` MiB each."""
    expect_suffix(output, (SUFFIX,), "a pack")
    parts: list[Path] = []
    waiting = list(sources)
    while waiting:
        part = output.with_stem(f"{output.stem}-{len(parts) + 1}") if max_mib < math.inf else output
        with atomic(part) as temporary:
            written = _write(waiting, temporary, max_mib * 2**20)
            if not written:
                raise UsageError(
                    f"{waiting[0].name}: is larger than {max_mib:g} MiB; allow larger parts"
                )
        waiting = waiting[written:]
        parts.append(part)
    return parts


def _write(sources: Sequence[Source], path: Path, limit: float) -> int:
    """Write as many volumes as fit; return how many these are."""
    with h5py.File(path, "w") as file:
        file.attrs["schema"] = SCHEMA
        used = 0
        for count, source in enumerate(counted("pack", sources)):
            data = file.create_dataset(_unused(file, source.name), data=source.hu, **_STORAGE)
            for key in ("weight", "scale", "finest"):
                data.attrs[key] = getattr(source, key)
            if source.voxel_mm is not None:
                data.attrs["voxel_mm"] = source.voxel_mm
            used += data.id.get_storage_size()
            if used > limit:
                del file[data.name]
                return count
    return len(sources)


def _unused(file: h5py.File, name: str) -> str:
    """Return a name that no volume in the pack has: those of other folders may be called alike."""
    name = name.replace("/", "_")
    names = (name, *(f"{name}-{number}" for number in range(2, len(file) + 3)))
    return next(n for n in names if n not in file)
