"""A scanner, and the sinogram of its middle row.

Seen along the axis x runs to the right and y downwards, as slices are stored; a cone is also seen
from the side, with z downwards. All is drawn true to scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusionblend.geometry import Beam, ConeBeam, Geometry, Grid, PointBeam, PosedBeam
from diffusionblend.geometry.poses import as_posed, pose_in_words
from diffusionblend.pictures.sheet import FAINT, INK, PAPER

PANEL, RAY = (33, 40, 50), (110, 86, 62)
FIRST, LAST = np.array([255.0, 166.0, 87.0]), np.array([64.0, 98.0, 150.0])
"""Colours of the first view and the last."""

_SIDE, _GAP, _TITLE, _TEXT = 560, 24, 64, 17
_FINER = 2  # drawn finer, then averaged: smooth lines
_MOST_MARKS = 720
Points = np.ndarray


def draw_scan(geometry: Geometry, y: np.ndarray) -> Image.Image:
    """Draw the panels of a scan side by side, RGB, 1192 x 648 pixels, or 1776 x 648 for a cone.

    Args:
        geometry: Where the rays run.
        y: Line integrals (detector rows, views, bins).
    """
    drawn = panels(geometry, y)
    sheet = Image.new("RGB", (len(drawn) * (_SIDE + _GAP) + _GAP, _SIDE + _GAP + _TITLE), PAPER)
    for index, panel in enumerate(drawn):
        left = _GAP + index * (_SIDE + _GAP)
        sheet.paste(panel.picture, (left, _TITLE))
        _title(sheet, left, panel.title, panel.note)
    return sheet


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture, what it shows, and what its marks mean."""

    picture: Image.Image
    title: str
    note: str


def panels(geometry: Geometry, y: np.ndarray) -> tuple[Panel, ...]:
    """Draw the geometry and the sinogram of the middle row of a scan, RGB, 560 x 560 pixels."""
    (grid, beam), row = geometry, len(y) // 2
    low, high = float(y[row].min()), float(y[row].max())
    seen = Panel(
        _along_the_axis(geometry),
        _beam_in_words(beam),
        "dots: where views come from, orange to blue; cross: axis; square: slices",
    )
    sinogram = Panel(
        _sinogram(y[row], beam.axis_bin),
        f"Line integrals of row {row + 1} of {len(y)}: {low:.3g} to {high:.3g}",
        f"{beam.bins} bins across, {len(beam.angles_deg)} views down; line: the axis",
    )
    if not isinstance(beam, ConeBeam | PosedBeam):
        return seen, sinogram
    side = Panel(
        _from_the_side(grid, beam),
        f"The first view from the side: {beam.rows} rows",
        "dot: source; line: detector; cross: axis; rectangle: slices, the first on top",
    )
    return seen, side, sinogram


def _beam_in_words(beam: Beam) -> str:
    first, last, views = beam.angles_deg[0], beam.angles_deg[-1], len(beam.angles_deg)
    words = f"{beam.kind.capitalize()} beam, {views} views, {first:.6g} to {last:.6g} degrees"
    return f"{words}; {pose_in_words(beam)}" if isinstance(beam, PosedBeam) else words


def _sinogram(values: np.ndarray, axis: float) -> Image.Image:
    """Draw line integrals (views, bins), black to white, with the axis' bin marked."""
    low, high = np.quantile(values, [0.001, 0.999])
    grey = ((values - low) / max(float(high - low), 1e-9)).clip(0, 1) * 255
    picture = Image.fromarray(grey.astype(np.uint8)).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    image = picture.convert("RGB")
    at = (axis + 0.5) / values.shape[1] * _SIDE
    draw = ImageDraw.Draw(image)
    for dash in range(0, _SIDE, 16):
        draw.line([(at, dash), (at, dash + 7)], fill=_colour(0.0))
    return image


def _along_the_axis(geometry: Geometry) -> Image.Image:
    sources, rays = _places(geometry)
    half_mm = np.array(geometry.grid.shape[:0:-1]) / 2 * geometry.grid.pixel_mm
    return _drawn(sources, rays, half_mm)


def _from_the_side(grid: Grid, beam: ConeBeam | PosedBeam) -> Image.Image:
    """Draw the first view: across, the depth along its central ray; down, z."""
    _, d = _directions(beam.angles[0])
    half_xy = np.array(grid.shape[:0:-1]) / 2 * grid.pixel_mm
    half_mm = np.array([np.abs(d) @ half_xy, grid.height_mm / 2])
    beam = as_posed(beam)
    begin, end = _ends(grid, *beam.rays(0, range(beam.rows)), diverges=beam.diverges)
    side = np.stack([[*d, 0.0], [0.0, 0.0, 1.0]], axis=1)
    begin, end = begin[:, beam.bins // 2], end[:, beam.bins // 2]
    return _drawn([(begin[:1] if beam.diverges else begin) @ side], end @ side, half_mm)


def _drawn(sources: Sequence[Points], rays: Points, half_mm: Points) -> Image.Image:
    """Draw sources, the rays of the first, its detector, and a box of slices about the axis.

    Args:
        sources: Where the rays of each view begin: one point, or one for each ray (points, 2).
        rays: Where those of the first view end (rays, 2).
        half_mm: Half of the sides of the box.
    """
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half_mm
    every = np.concatenate([*sources, rays, corners])
    middle, size_mm = (every.max(0) + every.min(0)) / 2, np.ptp(every, axis=0).max()
    side = _SIDE * _FINER

    def at(points: Points) -> list[tuple[float, float]]:
        placed = (points - middle) / size_mm * 0.9 * side + side / 2
        return [(float(x), float(y)) for x, y in placed]

    image = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(image)
    draw.polygon(at(corners), fill=PANEL, outline=FAINT, width=_FINER)
    first = sources[0]
    chosen = np.linspace(0, len(rays) - 1, 9).round().astype(int)
    for index in chosen:
        begin = first[index if len(first) > 1 else 0]
        draw.line(at(np.array([begin, rays[index]])), fill=RAY, width=_FINER)
    for index in reversed(range(len(sources))):  # the first view on top
        share = index / max(1, len(sources) - 1)
        _dot(draw, at(sources[index].mean(0, keepdims=True))[0], 3 * _FINER, _colour(share))
    draw.line(at(rays), fill=_colour(0.0), width=5 * _FINER)
    _dot(draw, at(first.mean(0, keepdims=True))[0], 7 * _FINER, _colour(0.0))
    _cross(draw, at(np.zeros((1, 2)))[0])
    return image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _directions(angle: float) -> tuple[Points, Points]:
    """Return the directions e of the bins and d of the rays at a view."""
    return np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])


def _places(geometry: Geometry) -> tuple[list[Points], Points]:
    """Return where rays begin, for some views, and where the first's end (points, 2), in mm.

    Parallel rays begin and end outside the slices.
    """
    grid, beam = geometry
    angles = np.array(beam.angles)
    views = np.linspace(0, len(angles) - 1, min(_MOST_MARKS, len(angles))).round().astype(int)
    if isinstance(beam, PosedBeam):
        return _of_posed(grid, beam, views)
    sources, detectors = [], []
    s = beam.positions_mm()[:, None]
    for angle in angles[views]:
        e, d = _directions(angle)
        if isinstance(beam, PointBeam):
            source, fan = np.array(beam.source_at(angle)), s / beam.sdd_mm
            rays = np.cos(fan) * d + np.sin(fan) * e if beam.curved else d + fan * e
            sources.append(source[None])
            detectors.append(source + beam.sdd_mm * rays)
        else:
            away = 1.6 * grid.radius_mm
            sources.append(s * e - away * d)
            detectors.append(s * e + away * d)
    return sources, detectors[0]


def _of_posed(grid: Grid, beam: PosedBeam, views: np.ndarray) -> tuple[list[Points], Points]:
    """Return the same of a posed beam, by the rays to its middle row."""
    found = [
        _ends(grid, *beam.rays(int(view), [beam.rows // 2]), diverges=beam.diverges)
        for view in views
    ]
    sources = [begin[0, : 1 if beam.diverges else None, :2] for begin, _ in found]
    return sources, found[0][1][0, :, :2]


def _ends(grid: Grid, points: Points, rays: Points, *, diverges: bool) -> tuple[Points, Points]:
    """Return where rays begin and end (..., 3): parallel ones at a distance from the slices."""
    if diverges:
        return points, points + rays
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    foot = points - (points * unit).sum(-1, keepdims=True) * unit
    away = 1.6 * grid.radius_mm * unit
    return foot - away, foot + away


def _dot(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, fill: tuple[int, int, int]
) -> None:
    x, y = at
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _cross(draw: ImageDraw.ImageDraw, at: tuple[float, float]) -> None:
    (x, y), arm = at, 9 * _FINER
    draw.line([(x - arm, y), (x + arm, y)], fill=INK, width=2 * _FINER)
    draw.line([(x, y - arm), (x, y + arm)], fill=INK, width=2 * _FINER)


def _colour(share: float) -> tuple[int, int, int]:
    red, green, blue = (FIRST + share * (LAST - FIRST)).round().astype(int)
    return int(red), int(green), int(blue)


def _title(sheet: Image.Image, left: int, text: str, note: str) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((left, 12), text, fill=INK, font=ImageFont.load_default(_TEXT))
    draw.text((left, 36), note, fill=FAINT, font=ImageFont.load_default(_TEXT - 3))
