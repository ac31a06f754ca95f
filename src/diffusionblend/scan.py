"""A scan: what a scanner gives, in one HDF5 file. The truth is never in it."""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from diffusionblend.arrays import to_numpy
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.files import PathLike, atomic, naming
from diffusionblend.geometry import Geometry, geometry_from_json
from diffusionblend.units import MU_WATER, check_mu_water

SCHEMA = "diffusionblend-scan/1"
SUFFIXES = (".h5", ".hdf5")
MAX_VALUES = 2**31
DATASET = "line_integrals"
FEWEST = 0.5
"""Photons that a ray is taken for which brought none: ln(n + 1/2) has least bias of a few."""


class Noise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the line integrals were measured.

    Attributes:
        photons: Photons a bin that would arrive through air; none means no noise.
        electronic: Standard deviation of the electronic noise, in photons.
    """

    photons: float | None = None
    electronic: float = 0.0

    def variance(self, y: np.ndarray) -> np.ndarray | None:
        """Return the variance of line integrals, as they are after the logarithm; none: no noise.

        To first order (N + electronic^2) / N^2 for N = photons exp(-y) counts, of which half a one
        is the least: a ray that brought none has 2 and more, and next to no weight.
        """
        if self.photons is None:
            return None
        counts = np.maximum(self.photons * np.exp(-y.astype(np.float64)), FEWEST)
        return ((counts + self.electronic**2) / counts**2).astype(np.float32)


NO_NOISE = Noise()


@dataclass(frozen=True, eq=False)
class Scan:
    """Line integrals and all that is needed to understand them.

    Attributes:
        y: Line integrals of mu (detector rows, views, bins), float32, without unit; arrays of other
            types and tensors become that.
        geometry: Where the rays ran, and the grid to reconstruct on.
        noise: How they were measured.
        mu_water: Attenuation of water in 1/mm, for the conversion to HU; none where nobody measured
            it: `calibration` estimates it.
        provenance: What made the scan.

    Raises:
        UnsupportedInput: The line integrals do not fit the geometry, or mu_water is none that
            can be.
        CorruptInput: They hold NaN or infinity.
    """

    y: np.ndarray
    geometry: Geometry
    noise: Noise = NO_NOISE
    mu_water: float | None = MU_WATER
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "y", to_numpy(self.y))
        _check_shape(self.y.shape, self.geometry)
        if not np.isfinite(self.y).all():
            raise CorruptInput("line integrals hold NaN or infinity; mask or repair the dead bins")
        if self.mu_water is not None:
            check_mu_water(self.mu_water, "mu_water is", UnsupportedInput)

    def __repr__(self) -> str:
        rows, views, bins = self.y.shape
        photons = self.noise.photons
        noise = "noise not stated" if photons is None else f"{photons:g} photons"
        kind = type(self.geometry).__name__
        return f"Scan({rows} rows x {views} views x {bins} bins, {kind}, {noise})"

    def _repr_html_(self) -> str:
        from diffusionblend.notebook import scan_html

        return scan_html(self)

    @property
    def scale(self) -> float:
        """Line integral of a pixel of water: y = scale A (1 + x), with A in pixels.

        Raises:
            UnsupportedInput: Nobody knows how much water attenuates.
        """
        if self.mu_water is None:
            raise UnsupportedInput(
                "the scan does not say how much water attenuates; give --mu-water, or calibrate it"
            )
        return self.mu_water * self.geometry.pixel_mm


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
            _check_shape(file[DATASET].shape, geometry)  # before memory is taken
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


def _check_shape(shape: tuple[int, ...], geometry: Geometry) -> None:
    if shape != geometry.sinogram_shape:
        raise UnsupportedInput(
            f"line integrals have the shape {shape}, the geometry needs {geometry.sinogram_shape} "
            "(detector rows, views, bins); give the geometry of this scan"
        )
    if max(math.prod(shape), math.prod(geometry.grid.shape)) > MAX_VALUES:
        raise UnsupportedInput(
            f"line integrals of the shape {shape} for a volume of {geometry.grid.shape}; "
            f"expected at most {MAX_VALUES} values in each"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
