"""What is known of a disc of the challenge, and what its scan shows: its place, the hardening.

The disc is of acrylic and 70 mm across. Of the rays that pass its centre at one distance, those
that meet no hole have the largest line integral, and the length of acrylic on their way follows
from the place of the disc. From these comes how line integrals grow with the length, and from that
curve the length on all other rays. It is measured again in each scan; neither a truth nor another
scan is needed.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.data.arrays import block_means
from diffusionblend.data.scan import Noise, Scan
from diffusionblend.geometry import Beam, Geometry

RADIUS_MM = 35.0
_EDGE = 0.2
"""Of the largest line integral: where a view sees the disc's edges."""
LENGTHS_MM = np.arange(10.0, 70.0)
"""Rays are taken together by the length of their way in a disc without holes.

Shorter ones are so near the edge that the width of a bin changes their line integrals.
"""
RIM_MM = 24.0
"""Up to this length they pass the rim alone, 2 mm of it, where holes are rare."""
_MOST = 0.95
"""Quantile of longer ones, of which some meet no hole."""
_SMOOTH_MM = 0.75
"""Over which rays are averaged before it: noise alone would be the largest."""
_OFF, _FAR = 0.004, 3.0
"""How far such a quantile is from the curve, as a share; and how many times that below the curve it
hardly counts any more (Geman and McClure's loss): all rays of this length meet holes.
"""
SOFT = 2.6
"""Attenuation of a soft ray over that of a hard one, in spectra of 45 kV (NIST's acrylic)."""
_KNOWN = (0.04, 0.3), (0.1, 0.1), (0.05, 0.05), (RADIUS_MM, 0.2)
"""What is known before of `hard` (1/mm), `soft`, `scattered` and the radius (mm): mean, deviation.

That of `hard` is relative. Hard rays are those of 25 to 35 keV.
"""
_BOUNDS = (0.02, 0.0, 0.0, RADIUS_MM - 0.3), (0.08, 0.95, 0.2, RADIUS_MM + 0.3)
_STARTS = 0.03, 0.08
"""Scattered shares from which the curve is fitted; the better fit is taken."""
_MEAN_MM = 40.0
_LONGEST_MM = 80.0
_JOINED = 2
"""Bins that are joined: together they are as wide as a pixel."""
_VIEWS = 100
"""Most views that are taken; with fewer rays than pixels the data step is far quicker."""
_NOISE_AT_MM = np.arange(2.0, 70.0, 4.0)
"""Lengths at which the noise of lengths is computed."""


class Place(NamedTuple):
    """Where the disc lies: its centre from the axis, in mm."""

    x: float
    y: float


class Curve(NamedTuple):
    """How line integrals grow with the length of acrylic, as of two energies and what is scattered.

        g(L) = -ln((1 - scattered) (soft exp(-SOFT hard L) + (1 - soft) exp(-hard L)) + scattered)

    Attributes:
        hard: Attenuation of the hard rays, in 1/mm.
        soft: Share of the soft ones.
        scattered: What all bins measure beside the rays, as a share of air: rays that the disc has
            scattered, and light that spreads in the detector.
    """

    hard: float
    soft: float
    scattered: float

    def __call__(self, length: np.ndarray) -> np.ndarray:
        """Return line integrals of lengths in mm."""
        thick = self.hard * length
        passed = self.soft * np.exp(-SOFT * thick) + (1 - self.soft) * np.exp(-thick)
        return -np.log((1 - self.scattered) * passed + self.scattered)

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
    pairs, as wide as pixels, and of more than 100 views every second one is taken, or fewer.
    """
    y, beam = scan.y[0].astype(np.float64), scan.geometry.beam
    curve = find_curve(y, distances(beam, find_place(y, beam)))
    taken = range(0, len(y), math.ceil(len(y) / _VIEWS))
    facts = scan.provenance | {
        "acrylic": f"{curve.mean:.4g} per mm along 40 mm; {100 * curve.soft:.0f} % soft rays, "
        f"{100 * curve.scattered:.1f} % of air scattered"
    }
    return Scan(
        block_means(curve.mean * curve.length(y[taken]), 1, _JOINED)[None].astype(np.float32),
        Geometry(scan.geometry.grid, beam.views(taken).binned(_JOINED)),
        noise_of_lengths(scan.noise, curve),
        curve.mean,
        facts,
    )


def noise_of_lengths(noise: Noise, curve: Curve) -> Noise:
    """Return the noise of lengths times `curve.mean`, from that of the line integrals; bins joined.

    Where the curve is flat, the noise of a length is the larger. As photons and electronic noise,
    of variance exp(y) / N + exp(2 y) e^2 / N^2, it is stated approximately.
    """
    from scipy.optimize import nnls

    if noise.photons is None:
        return noise
    measured, straight = curve(_NOISE_AT_MM), curve.mean * _NOISE_AT_MM
    slope = np.gradient(measured, _NOISE_AT_MM)
    variance = noise.variance(measured) * (curve.mean / slope) ** 2 / _JOINED
    parts = np.exp(np.stack([straight, 2 * straight], axis=1)) / variance[:, None]
    (one, two), _ = nnls(parts, np.ones(len(parts)))
    photons = 1 / max(float(one), 1e-3 * float(one + two))
    return Noise(photons, photons * float(two) ** 0.5)


def find_place(y: np.ndarray, beam: Beam) -> Place:
    """Return where the disc lies, by its edges in each view of line integrals (views, bins)."""
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
    """Fit the curve to the rays without holes, by line integrals and `distances` (views, bins)."""
    from scipy.optimize import least_squares

    beside, measured = _without_holes(y, distance)
    (hard, sd), *others = _KNOWN

    def apart(p: np.ndarray) -> np.ndarray:
        off = (measured / Curve(*p[:3])(chord(beside, p[3])) - 1) / _OFF
        off = np.where(off < 0, off / np.sqrt(1 + (off / _FAR) ** 2), off)
        known = [(one - mean) / sd for one, (mean, sd) in zip(p[1:], others, strict=True)]
        return np.append(off, [np.log(p[0] / hard) / sd, *known])

    starts = ((hard, 0.1, scattered, RADIUS_MM) for scattered in _STARTS)
    fits = [least_squares(apart, start, bounds=_BOUNDS) for start in starts]
    return Curve(*map(float, min(fits, key=lambda fit: fit.cost).x[:3]))


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
