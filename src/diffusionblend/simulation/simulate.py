"""Make a scan from a volume: projection, photons, logarithm."""

import inspect
import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from diffusionblend.data.hounsfield import check_scale
from diffusionblend.data.scan import NO_NOISE, Noise, Scan
from diffusionblend.data.units import HU_AIR, MU_WATER, check_mu_water, mu_from_x, x_from_hu
from diffusionblend.data.volume import Volume, square_pixel_mm
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Beam, Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam
from diffusionblend.io.inputs import VolumeLike, as_volume
from diffusionblend.projectors import projector
from diffusionblend.simulation.strip import strip_project

log = logging.getLogger(__name__)

PROTOCOLS = ("independent", "paper")
MOST_PHOTONS = 1e15
MOST_SIZES = 4
"""How many sizes to choose from are named."""
FAINT, DARK = 0.01, 35.0
"""Line integrals at which hardly a photon is lost, as by half a millimetre of water, and at which
hardly any arrives, as behind two metres."""
MakeBeam = Callable[[Grid, tuple[float, ...]], Beam]
"""Places source and detector about a grid, for views in degrees."""
ELECTRONIC = 5.0
"""Standard deviation of the electronic noise in photons, as in the released code."""


def truth_on_grid(volume: Volume, size: int) -> Volume:
    """Return the volume to compare a reconstruction of `size` pixels with.

    The slices are averaged over whole blocks of pixels, never interpolated. Values below -1000 HU,
    such as padding outside a scanner's field of view, become air.

    Args:
        volume: The object.
        size: Pixels a side of the longer side of its slices, as given to `simulate`.

    Raises:
        UsageError: There are fewer pixels.
        UnsupportedInput: The volume's pixels do not make whole blocks.
    """
    if size < 1:
        raise UsageError(f"`size={size}`: expected 1 or more")
    rows, columns = volume.hu.shape[1:]
    factor = max(1, max(rows, columns) // size)
    too_large = max(rows, columns) > size
    if rows % factor or columns % factor or (too_large and max(rows, columns) != factor * size):
        raise UnsupportedInput(
            f"slices of {rows} x {columns} pixels cannot be averaged to {size}; expected "
            f"`size={max(rows, columns)}`{_smaller(rows, columns)}"
        )
    return Volume(volume.hu.clip(HU_AIR), volume.grid).binned(factor)


def _smaller(rows: int, columns: int) -> str:
    """Name the longer sides to which slices can be averaged over whole blocks, the largest few."""
    blocks = [n for n in range(2, math.gcd(rows, columns) + 1) if not math.gcd(rows, columns) % n]
    sizes = [str(max(rows, columns) // n) for n in blocks[:MOST_SIZES]]
    return f", or {', '.join(sizes)}" if sizes else ", because they have no common divisor"


def simulate(
    volume: VolumeLike,
    angles_deg: Sequence[float],
    *,
    spacing_mm: Sequence[float] | None = None,
    size: int = 256,
    beam: MakeBeam = parallel_beam,
    photons: float | None = None,
    electronic: float = ELECTRONIC,
    protocol: str = "independent",
    mu_water: float = MU_WATER,
    seed: int = 0,
    provenance: dict[str, str] | None = None,
) -> Scan:
    """Simulate a scan.

    Args:
        volume: The object in HU: a volume, its file, or an array (slices, rows, columns).
        angles_deg: Views, in degrees, for instance `sparse_view(20)`.
        spacing_mm: Size of an array's voxels (z, y, x); a volume has its own.
        size: Pixels per side to reconstruct; the volume may be finer by a whole factor.
        beam: Makes the beam for a grid, for instance
            `partial(cone_beam, sod_mm=600, sdd_mm=1000)`.
        photons: Photons per bin in air; None means no noise.
        electronic: Standard deviation of the electronic noise in photons.
        protocol: `independent` projects the volume as fine as it is, with the area-weighted
            projector; `paper` projects on the grid of the reconstruction with its own operator.
        mu_water: Attenuation of water in 1/mm.
        seed: Seed of the noise.
        provenance: Is stored in the scan.

    Returns:
        Line integrals and geometry, without the volume.

    Raises:
        UsageError: An option has a value that cannot be used.
        UnsupportedInput: The volume is not in HU, or does not fit the size or the beam.
        CorruptInput: Its file is missing or damaged.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"`protocol={protocol!r}`: expected one of {', '.join(PROTOCOLS)}")
    if seed < 0:
        raise UsageError(f"`seed={seed}`: expected 0 or more")
    check_photons(photons)
    check_mu_water(mu_water, "`mu_water={:g}`")
    volume = as_volume(volume, spacing_mm)
    _check_object(volume)
    truth = truth_on_grid(volume, size)
    geometry = _geometry(beam, truth.grid, tuple(map(float, angles_deg)))
    if protocol == "independent":
        mu = mu_from_x(x_from_hu(volume.hu.clip(HU_AIR)), mu_water)
        y = strip_project(mu, volume.grid, geometry.beam)
    else:
        known = torch.from_numpy(mu_from_x(x_from_hu(truth.hu), mu_water))
        y = (geometry.grid.pixel_mm * (projector(*geometry) @ known)).numpy()
    _tell_of_size(volume, float(y.max()))
    noise = NO_NOISE if photons is None else Noise(photons, electronic)
    y = measure(y, noise, np.random.default_rng(seed))
    facts = (provenance or {}) | {"protocol": protocol, "seed": str(seed)}
    return Scan(y.astype(np.float32), geometry, noise, mu_water, facts)


def measure(y: np.ndarray, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Count photons along the rays and take the logarithm again.

    Counts are N ~ Poisson(I0 exp(-y)) plus electronic noise. A count below one photon is set
    to one, since the logarithm needs a positive number.
    """
    if noise.photons is None:
        return y
    counts = rng.poisson(noise.photons * np.exp(-y.astype(np.float64))).astype(np.float64)
    counts += noise.electronic * rng.standard_normal(y.shape)
    return -np.log(np.maximum(counts, 1.0) / noise.photons)


def check_photons(photons: float | None) -> None:
    """Raise UsageError for an impossible number of photons."""
    if photons is not None and not 1 <= photons <= MOST_PHOTONS:
        raise UsageError(f"`photons={photons:g}`: expected 1 to {MOST_PHOTONS:g}")


def scan_geometry(
    volume: Volume, beam: MakeBeam, angles_deg: tuple[float, ...], size: int
) -> Geometry:
    """Return the geometry that `simulate` would give a scan, which fails as that would."""
    _check_object(volume)
    return _geometry(beam, truth_on_grid(volume, size).grid, angles_deg)


def _check_object(volume: Volume) -> None:
    square_pixel_mm(volume.grid)
    if np.ptp(volume.hu) > 0:  # air alone, or water, is a scan, too
        check_scale("the volume", volume.hu)


def _tell_of_size(volume: Volume, highest: float) -> None:
    """Tell of a volume so small, or so large, that its lengths may be in another unit."""
    if FAINT <= highest <= DARK or not np.ptp(volume.hu):
        return
    grid = volume.grid
    sides = (n * mm for n, mm in zip(grid.shape, grid.spacing_mm, strict=True))
    share = f"at most {-100 * math.expm1(-highest):.2g} %" if highest < FAINT else "all"
    log.warning(
        "the volume is %s mm and absorbs %s of the photons of a ray; if its lengths are "
        "in another unit, convert them to mm",
        " x ".join(f"{side:.3g}" for side in sides),
        share,
    )


def _geometry(beam: MakeBeam, grid: Grid, angles_deg: tuple[float, ...]) -> Geometry:
    try:
        inspect.signature(beam).bind(grid, angles_deg)
    except TypeError as error:
        raise UsageError(
            f"`beam`: {error}; give what else it needs by functools.partial, for instance "
            "partial(cone_beam, sod_mm=600, sdd_mm=1000)"
        ) from error
    try:
        return Geometry(grid, beam(grid, angles_deg))
    except ValueError as error:
        raise UnsupportedInput(f"cannot be scanned: {error}; change the beam") from error
