"""A scan: what a scanner measures. It never contains the truth."""

import hashlib
import itertools
import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.arguments import check_fields
from diffusionblend.data.arrays import to_numpy
from diffusionblend.data.units import MU_WATER, check_mu_water
from diffusionblend.errors import CorruptInput, InvalidValue, UnsupportedInput
from diffusionblend.geometry import Geometry

MAX_VALUES = 2**31
LARGEST = 1e9
"""A ray of so large a line integral brings no photon; numbers in another unit are smaller."""
FEWEST = 0.5
"""Photons that a ray without any counts as: ln(n + 1/2) has least bias of a few."""
_NEIGHBOURS = 5  # bins
_FAR = 3.0  # standard deviations


class Noise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the line integrals were measured.

    Attributes:
        photons: Photons per bin in air; None means no noise.
        electronic: Standard deviation of the electronic noise, in photons.
    """

    photons: float | None = None
    electronic: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        photons = 1.0 if self.photons is None else self.photons
        if not (0 < photons < math.inf and 0 <= self.electronic < math.inf):
            raise InvalidValue(
                f"photons {self.photons}, electronic noise {self.electronic}; expected a positive "
                "number of photons, and electronic noise that is not negative"
            )

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


class ScanFile(msgspec.Struct, frozen=True):
    """The file that a scan was read from.

    Attributes:
        sha256: SHA-256 of the file.
        digest: The scan's own, `Scan.digest`, as it was read.
    """

    name: str
    sha256: str
    digest: str


@dataclass(frozen=True, eq=False)
class Scan:
    """Line integrals and all that is needed to interpret them.

    Attributes:
        y: Line integrals of mu (detector rows, views, bins), float32, without unit; arrays of other
            types and tensors become that.
        geometry: Where the rays ran, and the grid to reconstruct on.
        noise: How they were measured.
        mu_water: Attenuation of water in 1/mm, for the conversion to HU; None if it is not known,
            and `calibration` estimates it.
        provenance: What made the scan.
        file: Where it was read from.

    Raises:
        UnsupportedInput: The line integrals do not fit the geometry, or mu_water is not
            possible.
        CorruptInput: They hold NaN or infinity.
    """

    y: np.ndarray
    geometry: Geometry
    noise: Noise = NO_NOISE
    mu_water: float | None = MU_WATER
    provenance: dict[str, str] = field(default_factory=dict)
    file: ScanFile | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        # In one order: sums depend on it in their last digits, and a file has but one.
        object.__setattr__(self, "y", np.ascontiguousarray(to_numpy(self.y)))
        check_shape(self.y.shape, self.geometry)
        # The ends of the range need no memory, as a mask or absolute values of all would.
        largest = max(self.y.max(initial=0.0), -self.y.min(initial=0.0))
        if not math.isfinite(largest):
            raise CorruptInput(
                "line integrals contain NaN or infinity; mask or repair the dead bins"
            )
        if largest > LARGEST:
            raise CorruptInput(
                f"line integrals are as large as {largest:g}; expected at most {LARGEST:g}: mask "
                "or repair the dead bins"
            )
        if self.mu_water is not None:
            check_mu_water(self.mu_water, "mu_water is {:g}", UnsupportedInput)

    def variance(self) -> np.ndarray | None:
        """Return the variance of the line integrals (detector rows, views, bins); none: no noise.

        By what neighbouring bins show in the mean. Weights by the noise of each ray itself favour
        those that happen to have counted more: water was 4 to 19 HU too light behind 55 to 14
        counts. A ray farther from its neighbours than noise, as beside metal, is told by itself.
        """
        usual = uniform_filter1d(self.y, _NEIGHBOURS, axis=2, mode="nearest")
        by_itself, by_neighbours = (self.noise.variance(y) for y in (self.y, usual))
        if by_itself is None or by_neighbours is None:
            return None
        near = np.square(self.y - usual) < _FAR**2 * by_neighbours
        return np.where(near, by_neighbours, by_itself)

    def __repr__(self) -> str:
        rows, views, bins = self.y.shape
        photons = self.noise.photons
        noise = "noise not stated" if photons is None else f"{photons:g} photons"
        kind = type(self.geometry.beam).__name__
        return f"Scan({rows} rows x {views} views x {bins} bins, {kind}, {noise})"

    def _repr_html_(self) -> str:
        from diffusionblend.pictures.notebook import scan_html

        return scan_html(repr(self), self.geometry, self.y)

    @property
    def digest(self) -> str:
        """SHA-256 of the line integrals, the geometry, the noise and the attenuation of water."""
        grid, beam = self.geometry
        digest = hashlib.sha256(self.y.data)
        digest.update(msgspec.json.encode([grid, beam, self.noise, self.mu_water], enc_hook=float))
        return digest.hexdigest()

    @property
    def facts(self) -> dict[str, str]:
        """What records say of the scan: `name` and `sha256` of its file, and what made it.

        Of a scan that no file holds, or that was changed since, `sha256` is its own digest.
        """
        digest = self.digest
        if self.file is None or self.file.digest != digest:
            return {"sha256": digest, **self.provenance}
        return {"name": self.file.name, "sha256": self.file.sha256, **self.provenance}

    @property
    def scale(self) -> float:
        """Line integral of a pixel of water: y = scale A (1 + x), with A in pixels.

        Raises:
            UnsupportedInput: The attenuation of water is not known.
        """
        if self.mu_water is None:
            raise UnsupportedInput(
                "the scan does not state the attenuation of water; give `mu_water`, or calibrate "
                "the scan"
            )
        return self.mu_water * self.geometry.grid.pixel_mm


def _way_to(needed: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Say what makes an array of the shape that is needed, where its axes are the right ones."""
    if shape == needed[1:] and needed[0] == 1:
        return "one row is y[None]"
    for order in itertools.permutations(range(len(shape))):
        if tuple(shape[axis] for axis in order) == needed:
            return f"the axes are in the wrong order; use y.transpose{order}"
    return "give the geometry of this scan"


def check_shape(shape: tuple[int, ...], geometry: Geometry) -> None:
    """Raise UnsupportedInput if line integrals do not fit a geometry, or are too many."""
    needed = geometry.sinogram_shape
    if shape != needed:
        raise UnsupportedInput(
            f"line integrals have the shape {shape}, the geometry needs {needed} (detector rows, "
            f"views, bins); {_way_to(needed, shape)}"
        )
    if max(math.prod(shape), math.prod(geometry.grid.shape)) > MAX_VALUES:
        raise UnsupportedInput(
            f"line integrals of the shape {shape} for a volume of {geometry.grid.shape}; "
            f"expected at most {MAX_VALUES} values in each"
        )
