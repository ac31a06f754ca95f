"""What is known of a disc of the challenge, and what its scan tells: its place, the hardening.

The disc is of acrylic and 70 mm across. Of the rays that pass its centre at one distance, those
that meet no hole have the largest line integral, and the length of acrylic on their way follows
from the place of the disc. From these comes how line integrals grow with the length, and from that
curve the length on all other rays. It is measured in each scan anew; neither a truth nor another
scan is needed.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.data.scan import Noise, Scan
from diffusionblend.geometry import Beam, Geometry

RADIUS_MM = 35.0
_EDGE = 0.2
"""Of the largest line integral: where a view sees the disc's edges."""
LENGTHS_MM = np.arange(5.0, 70.0)
"""Rays are taken together by the length of their way in a disc without holes."""
RIM_MM = 24.0
"""Up to this length they pass the rim alone, 2 mm of it, where holes are rare."""
_MOST = 0.95
"""Quantile of longer ones, of which some meet no hole."""
_SMOOTH_MM = 0.75
"""Over which rays are averaged before it: noise alone would be the largest."""
_ABOVE, _BELOW = 0.005, 0.03
"""How far such a quantile may be above and below the curve: holes lower it, nothing raises it."""
SOFT, HARD = 2.6, 0.0361
"""Attenuation of a soft ray over that of a hard one, and that of the hard one in 1/mm.

Spectra of 45 kV behind molybdenum and 0.4 to 1 mm of aluminium, and NIST's acrylic: with these two
numbers a share of soft rays between 0.26 and 0.48 follows their curves to 0.02, of up to 3.1.
"""
_TRUSTED, _RADIUS_TRUSTED_MM = 0.03, 0.1
"""Standard deviations of the scale of such a curve, and of the radius."""
_MOST_OFF_MM = 0.08
"""By so much the radius may be another: less than the rim of the shortest rays."""
_MEAN_MM = 40.0
_LONGEST_MM = 80.0
_JOINED, _EVERY = 2, 2
"""Bins that are joined, and of how many views one is taken: a quarter of the work."""


class Place(NamedTuple):
    """Where the disc lies: its centre from the axis, in mm."""

    x: float
    y: float


class Curve(NamedTuple):
    """How line integrals grow with the length of acrylic, as of two energies.

        g(L) = -ln(soft exp(-SOFT hard L) + (1 - soft) exp(-hard L))

    Attributes:
        hard: Attenuation of the hard rays, in 1/mm.
        soft: Share of the soft ones.
    """

    hard: float
    soft: float

    def __call__(self, length: np.ndarray) -> np.ndarray:
        """Return line integrals of lengths in mm."""
        thick = self.hard * length
        return -np.log(self.soft * np.exp(-SOFT * thick) + (1 - self.soft) * np.exp(-thick))

    @property
    def mean(self) -> float:
        """Attenuation in 1/mm along 40 mm of acrylic."""
        return float(self(np.array(_MEAN_MM))) / _MEAN_MM

    def length(self, y: np.ndarray) -> np.ndarray:
        """Return lengths in mm of line integrals; negative ones, which are noise, too."""
        lengths = np.linspace(0, _LONGEST_MM, 801)
        found = np.interp(y, self(lengths), lengths)
        return np.where(y < 0, y * lengths[1] / self(lengths[1]), found)


def straightened(scan: Scan) -> Scan:
    """Return a scan of a disc whose line integrals grow in proportion to the length of acrylic.

    The attenuation of acrylic is its `mu_water`, so that acrylic has 0 HU. Bins are joined in
    pairs, as wide as pixels, and of the views, half a degree apart, each second one is taken.
    """
    y, beam = scan.y[0].astype(np.float64), scan.geometry.beam
    curve = find_curve(y, distances(beam, find_place(y, beam)))
    straight = _joined(curve.mean * curve.length(y[::_EVERY]))
    noise = scan.noise
    if noise.photons is not None:
        noise = Noise(noise.photons * _JOINED, noise.electronic * _JOINED**0.5)
    facts = scan.provenance | {
        "acrylic": f"{curve.mean:.4g} per mm along 40 mm; {100 * curve.soft:.0f} % soft rays"
    }
    return Scan(
        straight[None].astype(np.float32),
        Geometry(scan.geometry.grid, beam.views(range(0, len(y), _EVERY)).binned(_JOINED)),
        noise,
        curve.mean,
        facts,
    )


def _joined(y: np.ndarray) -> np.ndarray:
    bins = y.shape[1] // _JOINED
    return y[:, : bins * _JOINED].reshape(len(y), bins, _JOINED).mean(axis=2)


def find_place(y: np.ndarray, beam: Beam) -> Place:
    """Return where the disc lies, by its edges in each view.

    Args:
        y: Line integrals (views, bins).
        beam: Where they ran.
    """
    phi, s = _rays(beam)
    level = _EDGE * np.quantile(y, 0.98)
    rows, right = [], []
    for view, line in enumerate(y):
        bins = np.flatnonzero(line > level)
        if not len(bins) or bins[0] == 0 or bins[-1] == len(line) - 1:
            continue
        for inner, outer, side in ((bins[0], bins[0] - 1, -1.0), (bins[-1], bins[-1] + 1, 1.0)):
            part = (line[inner] - level) / (line[inner] - line[outer])
            angle, place = (a[view, inner] + part * (a[view, outer] - a[view, inner])
                            for a in (phi, s))  # fmt: skip
            rows.append((np.cos(angle), np.sin(angle), side))
            right.append(place)
    x, y_mm, _ = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return Place(float(x), float(y_mm))


def distances(beam: Beam, place: Place) -> np.ndarray:
    """Return how far all rays pass from the centre of a disc, in mm (views, bins)."""
    phi, s = _rays(beam)
    return np.abs(s - place.x * np.cos(phi) - place.y * np.sin(phi))


def chord(distance: np.ndarray, radius: float = RADIUS_MM) -> np.ndarray:
    """Return the length in mm of rays in a disc without holes, by how far they pass its centre."""
    return 2 * np.sqrt((radius**2 - distance**2).clip(0))


def find_curve(y: np.ndarray, distance: np.ndarray) -> Curve:
    """Fit the curve to the rays without holes.

    Args:
        y: Line integrals (views, bins).
        distance: The `distances` of their rays.
    """
    from scipy.optimize import least_squares

    beside, measured = _without_holes(y, distance)
    rim = chord(beside) < RIM_MM

    def apart(p: np.ndarray) -> np.ndarray:
        off = measured / Curve(p[0], p[1])(chord(beside, p[2])) - 1
        off /= np.where(rim | (off > 0), _ABOVE, _BELOW)
        known = (p[0] / HARD - 1) / _TRUSTED, (p[2] - RADIUS_MM) / _RADIUS_TRUSTED_MM
        return np.append(off, known)

    bounds = (HARD / 2, 0.0, RADIUS_MM - _MOST_OFF_MM), (2 * HARD, 0.95, RADIUS_MM + _MOST_OFF_MM)
    found = least_squares(apart, (HARD, 0.35, RADIUS_MM), bounds=bounds, loss="soft_l1")
    return Curve(float(found.x[0]), float(found.x[1]))


def _without_holes(y: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far rays pass the centre, and the line integral of those that meet no hole."""
    bins = max(1, round(_SMOOTH_MM / np.abs(np.diff(distance, axis=1)).max()))
    length, smooth = chord(distance), uniform_filter1d(y, bins, axis=1)
    found = []
    for low in LENGTHS_MM:
        rays = (length >= low) & (length < low + 1)
        if rays.any():
            within = np.median(y[rays]) if low < RIM_MM else np.quantile(smooth[rays], _MOST)
            found.append((np.median(distance[rays]), within))
    beside, measured = np.array(found).T
    return beside, measured


def _rays(beam: Beam) -> tuple[np.ndarray, np.ndarray]:
    """Return phi and s in mm of x cos(phi) + y sin(phi) = s of all rays (views, bins) each."""
    lines = (beam.lines(view) for view in range(len(beam.angles_deg)))
    phi, s = zip(*lines, strict=True)
    return np.stack(phi), np.stack(s)
