"""Synthetic discs for `recipes/htc.toml`: acrylic, 70 mm across, with holes of irregular shapes.

`python studies/htc_discs.py FOLDER [--discs 3000]` writes FOLDER/train and FOLDER/validation as
NIfTI: stacks of unrelated single slices, acrylic at 0 HU and air at -1000 HU, 256 x 256 pixels over
the 512 pixels of the Helsinki Tomography Challenge. The shapes follow its description in words:
no picture of its discs was used. Nets of cells were added after a disc of the challenge, tb, was
seen to be one.
"""

import argparse
import math
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image, ImageDraw

FIELD_MM, PIXELS = 512 * 0.2 * 410.66 / 553.74, 256
FINE = 4
"""Each pixel is the mean of so many squared."""
RADIUS_MM = 35.0
MOST_OFFSET_MM = 2.0
RIM_MM = (0.8, 4.0)
GAP_MM = (0.8, 3.0)
HOLES = (1, 40)
MOST_EMPTY = 0.55
CELLULAR = 0.4
"""Share of the discs that are a net of walls between cells."""
CELLS = (4, 50)
WALL_MM, CELL_RIM_MM, CORNER_MM = (0.8, 5.0), (0.8, 8.0), (0.05, 1.0)
MOST_FILLED = 0.5
STACK = 100
MM = PIXELS / FIELD_MM
"""Pixels in a millimetre."""

Outline = np.ndarray
"""Corners (number, 2), about the origin, of a size of about 1."""


def polygon(rng: np.random.Generator) -> Outline:
    count = int(rng.integers(3, 10))
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    return rng.uniform(0.35, 1.0, count)[:, None] * _circle(angles)


def blob(rng: np.random.Generator) -> Outline:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = np.arange(2, 7)
    sizes = rng.normal(0, 0.45, waves.size) / waves
    phases = rng.uniform(0, 2 * np.pi, waves.size)
    radii = 0.75 + (sizes * np.cos(angles[:, None] * waves + phases)).sum(axis=1)
    return radii.clip(0.15)[:, None] * _circle(angles)


def ellipse(rng: np.random.Generator) -> Outline:
    return _circle(np.linspace(0, 2 * np.pi, 60, endpoint=False)) * (1, rng.uniform(0.3, 1))


def rectangle(rng: np.random.Generator) -> Outline:
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (0.9, rng.uniform(0.12, 0.9))


def band(rng: np.random.Generator) -> Outline:
    """A bent slit."""
    angles = np.linspace(0, rng.uniform(0.6, 4.5), 40)
    half = rng.uniform(0.08, 0.35)
    edges = [(1 + half) * _circle(angles), (1 - half) * _circle(angles[::-1])]
    corners = np.concatenate(edges)
    return corners - corners.mean(axis=0)


SHAPES = (polygon, blob, ellipse, rectangle, band)


def disc(rng: np.random.Generator, pixels: int = PIXELS) -> np.ndarray:
    """Return the share of acrylic in each of 256, 512 or 1024 pixels across (rows, columns)."""
    centre = PIXELS / 2 + rng.uniform(-1, 1, 2) * MOST_OFFSET_MM * MM
    rim = _circle(np.linspace(0, 2 * np.pi, 720, endpoint=False))
    solid = Image.new("L", (PIXELS * FINE,) * 2, 0)
    _draw(solid, rim * RADIUS_MM * MM + centre, FINE, 255)
    if rng.random() < CELLULAR:
        return _share(solid, pixels) * (1 - cells(rng, centre, pixels))
    taken = Image.new("L", (PIXELS,) * 2, 255)
    _draw(taken, rim * (RADIUS_MM - rng.uniform(*RIM_MM)) * MM + centre, 1, 0)
    shapes = SHAPES if rng.random() < 0.6 else (SHAPES[rng.integers(len(SHAPES))],)
    wanted = round(math.exp(rng.uniform(*np.log(HOLES))))
    gap, typical = rng.uniform(*GAP_MM), rng.uniform(0.4, 1.2) * RADIUS_MM / math.sqrt(wanted + 1)
    left = MOST_EMPTY * math.pi * (RADIUS_MM * MM) ** 2
    for _ in range(12 * wanted):
        shape = shapes[rng.integers(len(shapes))](rng)
        corners = _placed(rng, shape, typical * math.exp(rng.normal(0, 0.4))) * MM + centre
        hole = Image.new("L", (PIXELS,) * 2, 0)
        _draw(hole, corners, 1, 255)
        if np.asarray(hole)[np.asarray(taken) > 0].any() or not hole.getbbox():
            continue
        _draw(solid, corners, FINE, 0)
        _draw(taken, corners, 1, 255, round(2 * gap * MM))
        wanted, left = wanted - 1, left - np.count_nonzero(hole)
        if wanted == 0 or left < 0:
            break
    return _share(solid, pixels)


def cells(rng: np.random.Generator, centre: np.ndarray, pixels: int) -> np.ndarray:
    """Return the share of holes in each pixel: cells of a Voronoi diagram, with rounded corners.

    A cell is where a smooth minimum of the distances from its walls and from the rim is positive.
    """
    x, y = ((np.arange(pixels) + 0.5) * PIXELS / pixels - c for c in centre)
    places = np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1).astype(np.float32) / MM
    count = round(math.exp(rng.uniform(*np.log(CELLS))))
    outer = RADIUS_MM - rng.uniform(*CELL_RIM_MM)
    angles = rng.uniform(0, 2 * np.pi, count)
    seeds = (outer * np.sqrt(rng.random(count))[:, None] * _circle(angles)).astype(np.float32)
    squares = ((places - seeds[:, None, None]) ** 2).sum(axis=-1)
    own = squares.argmin(axis=0)
    apart = np.linalg.norm(seeds[:, None] - seeds, axis=-1)
    np.fill_diagonal(apart, 1e-9)  # its own wall is infinitely far
    walls = (squares - squares.min(axis=0) + 1e-6) / (2 * apart[own].transpose(2, 0, 1))
    rim = outer - np.linalg.norm(places, axis=-1)
    half, corner = rng.uniform(*WALL_MM) / 2, rng.uniform(*CORNER_MM)
    inside = -corner * np.logaddexp.reduce([*(-(walls - half) / corner), -rim / corner])
    holes = (inside * MM * pixels / PIXELS + 0.5).clip(0, 1)
    most = MOST_EMPTY * math.pi * (RADIUS_MM * MM * pixels / PIXELS) ** 2
    solid = rng.permutation(count)
    filled = int(rng.uniform(0, MOST_FILLED) * count)
    while holes[~np.isin(own, solid[:filled])].sum() > most:
        filled += 1
    return np.where(np.isin(own, solid[:filled]), 0, holes)


def volume(seed: int, discs: int) -> nibabel.Nifti1Image:
    """Return a stack of discs in HU, int16."""
    rng = np.random.default_rng((2022, seed))
    hu = np.stack([1000 * disc(rng) - 1000 for _ in range(discs)]).round().astype(np.int16)
    spacing = FIELD_MM / PIXELS
    return nibabel.Nifti1Image(hu.T, np.diag([spacing, spacing, 1.0, 1.0]))


def _share(image: Image.Image, pixels: int) -> np.ndarray:
    return np.asarray(image.reduce(FINE * PIXELS // pixels), dtype=np.float32) / 255


def _circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _placed(rng: np.random.Generator, corners: Outline, size_mm: float) -> Outline:
    """Return an outline at a random place in the disc and angle, stretched, in mm."""
    corners = corners * (1, rng.uniform(0.45, 1)) * size_mm
    turn = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    place = RADIUS_MM * math.sqrt(rng.random()) * _circle(rng.uniform(0, 2 * np.pi, 1))[0]
    return corners @ matrix + place


def _draw(image: Image.Image, corners: Outline, fine: int, value: int, width: int = 0) -> None:
    """Fill an outline that is given in pixels, of which the image has finer ones."""
    places = [tuple(corner) for corner in (corners * fine).tolist()]
    draw = ImageDraw.Draw(image)
    draw.polygon(places, fill=value)
    if width:
        draw.line([*places, places[0]], fill=value, width=width, joint="curve")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--discs", type=int, default=3000)
    asked = parser.parse_args()
    counts = [min(STACK, asked.discs - n) for n in range(0, asked.discs, STACK)]
    for seed, discs in enumerate([min(20, asked.discs), *counts]):
        part = asked.folder / ("train" if seed else "validation")
        part.mkdir(parents=True, exist_ok=True)
        nibabel.save(volume(seed, discs), part / f"discs_{seed:03d}.nii.gz")


if __name__ == "__main__":
    main()
