"""Scans in files: one HDF5 file each."""

import io
from pathlib import Path

import msgspec
import numpy as np

from diffusionblend.data.scan import Noise, Scan, check_shape
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import geometry_from_json
from diffusionblend.io.files import PathLike, atomic, naming

SCHEMA = "diffusionblend-scan/1"
SUFFIXES = (".h5", ".hdf5")
DATASET = "line_integrals"


def write_scan(scan: Scan, path: PathLike) -> None:
    """Write a scan to an HDF5 file: whole or not at all.

    Args:
        scan: The scan.
        path: A name in .h5 or .hdf5.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name has no suffix of HDF5.
    """
    import h5py

    path = Path(path)
    check_suffix(path)
    # Made in memory: HDF5 itself does not say in so many words that a disk is full.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        # Fletcher-32 finds flipped bytes, which HDF5 would otherwise read without a word.
        file.create_dataset(
            DATASET, data=scan.y.astype(np.float32), compression="gzip", fletcher32=True
        )
        file.attrs["schema"] = SCHEMA
        file.attrs["geometry"] = scan.geometry.to_json()
        file.attrs["noise"] = msgspec.json.encode(scan.noise).decode()
        if scan.mu_water is not None:
            file.attrs["mu_water_per_mm"] = scan.mu_water
        file.attrs["provenance"] = msgspec.json.encode(scan.provenance).decode()
    with atomic(path, check=read_scan) as temporary:
        temporary.write_bytes(buffer.getvalue())


def check_suffix(path: Path) -> None:
    """Raise UsageError if `path` is not the name of a scan: a slip must not replace a volume."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: expected a name in {' or '.join(SUFFIXES)} for a scan")


def read_scan(path: PathLike) -> Scan:
    """Read a scan, as `write_scan` or the command `import` wrote it.

    Args:
        path: The file.

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is no scan, or does not fit its own geometry.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise CorruptInput(
            f"{path}: no such file; make one with `diffusionblend simulate` or `import`"
        )
    try:
        with naming(path), h5py.File(path) as file:
            schema = file.attrs.get("schema")
            if schema != SCHEMA:
                raise UnsupportedInput(f"its schema is {schema!r}, expected {SCHEMA!r}")
            geometry = geometry_from_json(file.attrs["geometry"])
            check_shape(file[DATASET].shape, geometry)  # before memory is taken
            y = np.asarray(file[DATASET], dtype=np.float32)
            noise = msgspec.json.decode(file.attrs["noise"], type=Noise)
            provenance = msgspec.json.decode(file.attrs["provenance"], type=dict[str, str])
            mu_water = file.attrs.get("mu_water_per_mm")
            return Scan(
                y, geometry, noise, None if mu_water is None else float(mu_water), provenance
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CorruptInput(
            f"{path}: cannot be read as a scan ({_one_line(error)}); copy or make it again"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
