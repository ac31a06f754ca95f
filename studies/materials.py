"""Objects that are no bodies, for `recipes/general.toml`: castings, foams, grains, wood, nuts.

`python studies/materials.py FOLDER [--volumes 240] [--chips qim3d.whl]` writes FOLDER/train and
FOLDER/validation as NIfTI: air at -1000 HU, the main material at 0 HU, as `import` scales such
scans. Volumes are 256 x 256 x 24 pixels of one length in all directions, with one to four objects
in the field. A surface is the zero of a function of the three coordinates, so that it goes on from
slice to slice. `--chips` adds the micro-CT crops of the wheel of qim3d 1.5.3 (MIT licence).
"""

import argparse
import io
import math
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image, ImageSequence
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

Array = np.ndarray
PIXELS, SLICES = 256, 24
AIR = -1000.0
MOST = 3071.0
SIZES_MM = (0.001, 1.5)
"""Such objects have no size of their own: neither has a pixel of them."""
ALONE = 0.65
"""Share of the volumes that hold one object."""
CHIPS = ("bone_128x128x128", "cement_128x128x128", "fibers_150x150x150", "shell_225x128x128")


def share(level: Array) -> Array:
    """Return the share of each pixel in which a smooth function is positive (its distance to 0)."""
    slope = np.sqrt(sum(np.square(part) for part in np.gradient(level)))
    return (level / np.maximum(slope, 1e-6) + 0.5).clip(0, 1)


def field(rng: np.random.Generator, shape: tuple[int, ...], pixels: float) -> Array:
    """Return a Gaussian random field of variance 1 that is correlated over so many pixels."""
    noise = rng.standard_normal(shape).astype(np.float32)
    smooth = gaussian_filter(noise, pixels, mode="wrap")
    return smooth / smooth.std()


def material(rng: np.random.Generator) -> float:
    """Return the HU of a second material: often a gas, seldom a metal."""
    kinds = ((AIR, AIR), (-900, -200), (-200, 300), (300, 1500), (1500, MOST))
    low, high = kinds[rng.choice(5, p=(0.3, 0.2, 0.2, 0.2, 0.1))]
    return float(rng.uniform(low, high))


def places(shape: tuple[int, ...]) -> Array:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(np.float32)


def turned(rng: np.random.Generator, at: Array) -> Array:
    """Return coordinates in a frame of its own, which leans a little from slice to slice."""
    angle = rng.uniform(0, 2 * np.pi)
    lean = rng.normal(0, 0.25, 2) * (rng.random() < 0.7)
    y, x = at[..., 1] - lean[0] * at[..., 0], at[..., 2] - lean[1] * at[..., 0]
    c, s = math.cos(angle), math.sin(angle)
    return np.stack([c * y + s * x, c * x - s * y], axis=-1)


def outline(rng: np.random.Generator, at: Array, radius: float) -> Array:
    """Return a function that is positive in an object of about this radius, in pixels."""
    flat = turned(rng, at) / (1, rng.uniform(0.4, 1.0))
    grows = 1 + rng.normal(0, 0.004) * (at[..., 0] - SLICES / 2)
    kind = rng.integers(4)
    if kind == 0:  # an ellipse
        level = radius * grows - np.linalg.norm(flat, axis=-1)
    elif kind == 1:  # a rectangle or a cross, with round corners
        level = radius * grows * 0.8 - np.linalg.norm(flat, ord=rng.uniform(4, 12), axis=-1)
    elif kind == 2:  # a polygon
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        ways = np.stack([np.cos(angles), np.sin(angles)])
        level = radius * 0.7 * grows - (flat @ ways).max(axis=-1)
        level = np.minimum(level, radius * 1.2 - np.linalg.norm(flat, axis=-1))
    else:  # a star of waves
        angles = np.arctan2(flat[..., 0], flat[..., 1])
        waves = np.arange(2, 12)
        sizes = rng.normal(0, 0.25, waves.size) / waves
        phases = rng.uniform(0, 2 * np.pi, waves.size)
        wave = sum(s * np.cos(w * angles + p) for s, w, p in zip(sizes, waves, phases, strict=True))
        level = radius * grows * (0.8 + wave) - np.linalg.norm(flat, axis=-1)
    rough = rng.choice([0, 0, 1.0, 3.0, 6.0])
    return level + rough * field(rng, level.shape, rng.uniform(2, 12))


def casting(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Layers below the surface, a core, pores, cracks."""
    hu = np.zeros(depth.shape, np.float32)
    for _ in range(rng.integers(0, 3)):
        waves = rng.uniform(0, 6) * field(rng, depth.shape, rng.uniform(6, 25))
        layer = share(depth + waves - depth.max() * rng.uniform(0.1, 0.8))
        hu = mixed(hu, material(rng), layer if rng.random() < 0.5 else 1 - layer)
    for _ in range(rng.integers(0, 3)):
        rare = rng.uniform(1.0, 2.5)
        pores = share(field(rng, depth.shape, rng.uniform(1.5, 12)) - rare)
        hu = mixed(hu, material(rng), pores)
    if rng.random() < 0.4:
        wide = rng.uniform(0.3, 1.5)
        crack = np.abs(field(rng, depth.shape, rng.uniform(15, 40)) - rng.normal(0, 1))
        sheet = share(wide - crack / max(np.abs(np.gradient(crack)[2]).mean(), 1e-3))
        hu = mixed(hu, AIR if rng.random() < 0.7 else material(rng), sheet)
    return hu


def foam(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Bubbles or balls of one or several sizes, which may touch."""
    size = math.exp(rng.uniform(*np.log((5, 40))))
    centres = scattered(rng, at.shape, size * rng.uniform(1.4, 2.5))
    radii = size * np.exp(rng.normal(0, rng.choice([0, 0.1, 0.4]), len(centres)))
    away, nearest = cKDTree(centres).query(at.reshape(-1, 3), k=min(3, len(centres)))
    away, nearest = away.reshape(len(away), -1), nearest.reshape(len(nearest), -1)
    balls = share((radii[nearest] - away).max(axis=1).reshape(depth.shape).astype(np.float32))
    ground, filled = (0.0, material(rng)) if rng.random() < 0.6 else (material(rng), 0.0)
    return mixed(np.full(depth.shape, ground, np.float32), filled, balls)


def grains(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Cells of a Voronoi diagram, of a few materials, with walls or gaps between them."""
    centres = scattered(rng, at.shape, math.exp(rng.uniform(*np.log((6, 50)))))
    waves = [rng.uniform(0, 3) * field(rng, depth.shape, 5).ravel() for _ in range(3)]
    away, nearest = cKDTree(centres).query(at.reshape(-1, 3) + np.stack(waves, axis=1), k=2)
    kinds = np.array([0.0, *(material(rng) for _ in range(rng.integers(0, 4)))], np.float32)
    taken = rng.choice(kinds, len(centres), p=weights(rng, kinds.size))
    single = rng.normal(0, rng.choice([0, 30, 100]), len(centres))
    hu = (taken + single)[nearest[:, 0]].reshape(depth.shape).astype(np.float32)
    wide = rng.choice([0, 1.0, 2.0, 4.0])
    if not wide:
        return hu
    gap = share((wide - (away[:, 1] - away[:, 0])).reshape(depth.shape).astype(np.float32))
    return mixed(hu, AIR if rng.random() < 0.5 else material(rng), gap)


def fibres(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Rods in a few directions, in a matrix or in air."""
    radius = math.exp(rng.uniform(*np.log((2, 14))))
    ways = rng.normal(size=(rng.integers(1, 4), 3)) * (1, *rng.uniform(0.1, 1.5, 2))
    level = np.full(depth.shape, -99, np.float32)
    for _ in range(int(np.clip(9000 / radius**2 * rng.uniform(0.1, 0.4), 3, 60))):
        way = ways[rng.integers(len(ways))] + rng.normal(0, 0.05, 3)
        way = (way / np.linalg.norm(way)).astype(np.float32)
        apart = at - (rng.random(3) * at.shape[:3]).astype(np.float32)
        along = apart @ way
        square = np.einsum("...i,...i", apart, apart) - along**2
        level = np.maximum(level, radius - np.sqrt(square.clip(0)))
    ground, filled = (material(rng), 0.0) if rng.random() < 0.7 else (0.0, material(rng))
    return mixed(np.full(depth.shape, ground, np.float32), filled, share(level))


def phases(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Two or three phases that wind through each other: cement, spongy bone, rock."""
    stretch = (rng.uniform(1, 3), 1, 1) if rng.random() < 0.4 else (1, 1, 1)
    level = field(rng, depth.shape, np.array(stretch) * math.exp(rng.uniform(*np.log((1.5, 15)))))
    hu = np.zeros(depth.shape, np.float32)
    for at_level in rng.uniform(-0.8, 1.5, rng.integers(1, 3)):
        hu = mixed(hu, material(rng), share(level - at_level))
    return hu


def membranes(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Thin walls in air, and kernels between them: nuts, insects, plants."""
    hu = np.full(depth.shape, AIR, np.float32)
    if rng.random() < 0.6:
        hu = mixed(hu, rng.uniform(-300, 100), share(field(rng, depth.shape, rng.uniform(8, 25))))
    for _ in range(rng.integers(1, 3)):
        level = field(rng, depth.shape, rng.uniform(6, 30)) - rng.normal(0, 0.7)
        steep = np.sqrt(sum(np.square(part) for part in np.gradient(level)))
        sheet = share(rng.uniform(0.5, 2.5) - np.abs(level) / np.maximum(steep, 1e-3))
        hu = mixed(hu, rng.uniform(-300, 200), sheet)
    rind = share(rng.uniform(2, 14) + rng.uniform(0, 4) * field(rng, depth.shape, 12) - depth)
    return mixed(hu, rng.uniform(-200, 600), rind)


def wood(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Rings of two densities around a pith, and vessels along it."""
    flat = turned(rng, at - (0, *(np.array(at.shape[1:3]) * rng.uniform(-0.2, 0.5, 2))))
    waves = rng.uniform(0, 6) * field(rng, depth.shape, 20)
    rings = (np.linalg.norm(flat, axis=-1) + waves) / rng.uniform(5, 40)
    hu = (rings % 1) ** rng.uniform(1, 4) * rng.uniform(100, 600) - rng.uniform(100, 500)
    across = turned(rng, at).reshape(-1, 2)
    spaced = rng.uniform(5, 16)
    middles = across[rng.choice(len(across), int(PIXELS**2 / spaced**2))]
    away = cKDTree(middles).query(across)[0].reshape(depth.shape)
    return mixed(hu.astype(np.float32), rng.uniform(AIR, -500), share(rng.uniform(1, 4) - away))


def part(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """A machined part: holes and inserts with sharp edges."""
    hu = np.zeros(depth.shape, np.float32)
    for _ in range(rng.integers(1, 9)):
        middle = rng.uniform(0.1, 0.9, 2) * PIXELS
        hole = outline(rng, at - (0, *middle), math.exp(rng.uniform(*np.log((4, 45)))))
        hu = mixed(hu, material(rng), share(hole))
    return hu


def mixed(hu: Array, other: float, share_of_other: Array) -> Array:
    return hu + share_of_other * (other - hu)


def weights(rng: np.random.Generator, count: int) -> Array:
    drawn = rng.dirichlet(np.ones(count)) + np.eye(count)[0]
    return drawn / drawn.sum()


def scattered(rng: np.random.Generator, shape: tuple[int, ...], apart: float) -> Array:
    """Return points in the volume and around it, one in a cube of this edge, shaken."""
    axes = [np.arange(-apart, size + apart, apart) for size in shape[:3]]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid + rng.uniform(-0.5, 0.5, grid.shape) * apart * rng.choice([0.6, 1.0])


INSIDES: tuple[Callable[[np.random.Generator, Array, Array], Array], ...] = (
    casting, casting, foam, grains, fibres, phases, membranes, wood, part,
)  # fmt: skip


def interior(rng: np.random.Generator, at: Array, depth: Array) -> Array:
    """Return HU inside an object, whose core may be of another kind than what lies around it."""
    first, second = (INSIDES[n] for n in rng.integers(len(INSIDES), size=2))
    hu = first(rng, at, depth)
    if rng.random() < 0.7:
        return hu
    core = share(depth + 3 * field(rng, depth.shape, 10) - depth.max() * rng.uniform(0.1, 0.6))
    return hu + core * (second(rng, at, depth) - hu)


def volume(seed: int, objects: int = 0) -> nibabel.Nifti1Image:
    """Return a volume in HU, int16: so many objects in air, or one to four; some are in a tube."""
    rng = np.random.default_rng((2411, seed))
    objects = objects or (1 if rng.random() < ALONE else int(rng.integers(2, 5)))
    at = places((SLICES, PIXELS, PIXELS))
    hu = np.full(at.shape[:3], AIR, np.float32)
    for spot in middles_of(rng, objects):
        radius = rng.uniform(0.6, 1.0) * 115 / objects**0.55
        level = outline(rng, at - (0, *spot), radius)
        depth = distance_transform_edt(np.pad(level > 0, ((0, 0), (1, 1), (1, 1))))[:, 1:-1, 1:-1]
        inside = interior(rng, at, depth.astype(np.float32))
        even = rng.choice([0, 0, 20, 50]) * field(rng, level.shape, rng.uniform(10, 50))
        fine = rng.choice([0, 0, 15, 40]) * field(rng, level.shape, rng.uniform(0.7, 3))
        hu = mixed(hu, inside + even + fine, share(level))
    if rng.random() < 0.2:
        hu = np.maximum(hu, tube(rng, at))
    hu = gaussian_filter(hu, (0, *[rng.choice([0, 0.4, 0.8, 1.2])] * 2))
    hu = hu.clip(AIR, MOST).round().astype(np.int16)
    return saved(hu, math.exp(rng.uniform(*np.log(SIZES_MM))))


def middles_of(rng: np.random.Generator, objects: int) -> Array:
    """Return the middles of so many objects (objects, 2), in pixels."""
    if objects == 1:
        return PIXELS / 2 + rng.normal(0, 8, (1, 2))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(objects) * 2 * np.pi / objects
    away = {2: 62, 3: 68, 4: 78}[objects]
    return PIXELS / 2 + away * np.stack([np.sin(angles), np.cos(angles)], axis=1)


def tube(rng: np.random.Generator, at: Array) -> Array:
    radius, wide = rng.uniform(95, 124), rng.uniform(1, 5)
    away = np.linalg.norm(at[..., 1:] - PIXELS / 2 - rng.normal(0, 1, 2), axis=-1)
    return mixed(np.float32(AIR), rng.uniform(-700, 300), share(wide - np.abs(away - radius)))


def chips(wheel: Path, names: Sequence[str] = CHIPS) -> dict[str, nibabel.Nifti1Image]:
    """Return the crops of a wheel of qim3d: air at -1000 HU, the most frequent material at 0."""
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in names:
            image = Image.open(io.BytesIO(archive.read(f"qim3d/examples/{name}.tif")))
            grey = np.stack([np.array(one) for one in ImageSequence.Iterator(image)])
            found[name] = saved(scaled(grey.astype(np.float32)), 0.01)
    return found


def scaled(grey: Array) -> Array:
    """Return HU: the median below Otsu's threshold is air, the one above it the material."""
    counts, edges = np.histogram(grey, 256)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middles)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = total / below - (total[-1] - total) / above
    split = middles[np.nanargmax(below * above * apart**2)]
    air, main = np.median(grey[grey <= split]), np.median(grey[grey > split])
    return ((grey - main) / (main - air) * 1000).clip(AIR, MOST).round().astype(np.int16)


def saved(hu: Array, pixel_mm: float) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([*[pixel_mm] * 3, 1.0]))
    image.header.set_xyzt_units("mm")
    return image


def write(folder: Path, seed: int) -> None:
    """Write a volume for training, or for seed 0 the one for validation: four objects."""
    part = folder / ("train" if seed else "validation")
    nibabel.save(volume(seed, objects=0 if seed else 4), part / f"material_{seed:04d}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--volumes", type=int, default=240)
    parser.add_argument("--chips", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    for name in ("train", "validation"):
        (asked.folder / name).mkdir(parents=True, exist_ok=True)
    for name, image in (chips(asked.chips) if asked.chips else {}).items():
        nibabel.save(image, asked.folder / "train" / f"{name}.nii.gz")
    with ProcessPoolExecutor(asked.workers) as pool:
        list(pool.map(partial(write, asked.folder), range(asked.volumes + 1)))


if __name__ == "__main__":
    main()
