"""OME-Zarr (NGFF 0.4), a folder in `.ome.zarr`: what napari, Neuroglancer and OMERO open.

zarr reads and writes the arrays; what NGFF adds to them is a small dictionary, made here. Where an
axis points in the patient is in its `orientation`, as in NGFF's RFC-4; without one, x, y and z are
taken to lead to the right, to the front and to the head, as in NIfTI.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.data.arrays import block_means, in_parts
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.io.files import atomic, files_of, inside
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import check_claim, check_header, check_kind, volume_in_order

if TYPE_CHECKING:
    import zarr

VERSION = "0.4"
CHUNK = (32, 256, 256)
COARSEST = 64
"""Pixels a side from which there is no coarser level."""
STRAIGHT = 0.5
"""Voxels by which an axis may leave the straight line that is all that NGFF can state of it."""
NEAR = 1e-3
"""Share by which voxels of two levels may differ and be alike."""
WINDOW = (-250, 450)
PACKED = 2**15
"""Bytes that one byte of a file can become at most, about: air packs better than by deflate."""
_MM = {"millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6, "centimeter": 10.0, "meter": 1e3}
_SHORT = {"mm": "millimeter", "um": "micrometer", "cm": "centimeter"}
"""What NGFF has no place for, and people write all the same."""
_NAMES = "xyz"
_WAYS = (
    ("left-to-right", "right-to-left"),
    ("posterior-to-anterior", "anterior-to-posterior"),
    ("inferior-to-superior", "superior-to-inferior"),
)  # fmt: skip
"""Of x, y and z of RAS+: up and down the axis."""


def read(path: Path) -> Volume:
    """Read the finest level of an OME-Zarr image."""
    with parsing(path):
        array, affine, ones = _checked(path)
        voxels = np.squeeze(np.asarray(array), axis=ones)
    return volume_in_order(path, voxels.T, affine)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the numbers of voxels along the axes, the fastest first, from the metadata."""
    with parsing(path):
        array, _, ones = _checked(path)
    return _without(array.shape, ones)[::-1]


def _checked(path: Path) -> tuple["zarr.Array[Any]", np.ndarray, tuple[int, ...]]:
    """Return the array, its affine (fastest axis first), and its axes other than those of space."""
    import zarr

    group = zarr.open_group(path, mode="r")
    held = group.attrs.get("ome", group.attrs)  # since 0.5
    _check_image(path, group, held)
    image = held["multiscales"][0]
    finest, axes = image["datasets"][0], image["axes"]
    place = path.resolve()
    array = group[str(inside(place, finest["path"]).relative_to(place))]
    ones = tuple(i for i, axis in enumerate(axes) if not _in_space(axis))
    if any(array.shape[i] != 1 for i in ones):
        names = ", ".join(
            f"{axis['name']} ({n})" for axis, n in zip(axes, array.shape, strict=True)
        )
        raise UnsupportedInput(
            f"{path}: its axes are {names}; expected a single image with the axes z, y and x"
        )
    steps = finest.get("coordinateTransformations", []) + image.get("coordinateTransformations", [])
    affine = _affine(path, axes, *_placed(path, steps, len(axes)))
    _check_finest(path, image["datasets"])
    shape = _without(array.shape, ones)[::-1]
    check_header(path, shape, affine)
    check_kind(path, array.dtype)
    size = sum(file.stat().st_size for file in files_of(path))
    check_claim(path, array.nbytes, size * PACKED, compressed=False)
    if array.nchunks_initialized < array.nchunks:
        missing = array.nchunks - array.nchunks_initialized
        raise CorruptInput(
            f"{path}: {missing} of {array.nchunks} chunks are missing and would be read as "
            f"{array.fill_value}; copy it again, or write it with all its chunks"
        )
    return array, affine, ones


def _check_image(path: Path, group: "zarr.Group", held: Mapping[str, Any]) -> None:
    """Refuse a group that is not an image: bioformats2raw, for one, puts images into groups of it.

    And an image of versions that state the sizes of voxels not at all, or elsewhere.
    """
    if "multiscales" in held:
        axes = held["multiscales"][0].get("axes", [""])
        if not all(isinstance(axis, Mapping) for axis in axes):
            raise UnsupportedInput(
                f"{path}: its `axes` do not state their units, as NGFF 0.4 and 0.5 do; write it "
                "again as one of these, with its voxel size"
            )
        return
    below = sorted(name for name, _ in group.groups())
    way = f"copy {below[0]} out of it, to a" if below else "convert it to OME-Zarr, with a"
    raise UnsupportedInput(
        f"{path}: is a Zarr, but not an OME-Zarr image, which has `multiscales` in its "
        f"attributes; {way} name that ends in .ome.zarr"
    )


def _check_finest(path: Path, levels: list[Mapping[str, Any]]) -> None:
    """Refuse an image whose first level is not its finest, which it has to be."""
    sizes = [_size(level) for level in levels]
    if min(sizes) < (1 - NEAR) * sizes[0]:
        finer = levels[sizes.index(min(sizes))]["path"]
        raise CorruptInput(
            f"{path}: its first level, {levels[0]['path']}, is coarser than {finer}; expected the "
            "finest first; list them in that order"
        )


def _size(level: Mapping[str, Any]) -> float:
    """Return the size of a level's voxels, in units of its axes; infinite where none is stated."""
    steps = level.get("coordinateTransformations", ())
    scales = [step["scale"] for step in steps if step["type"] == "scale"]
    return abs(math.prod(map(math.prod, scales))) if scales else math.inf


def _in_space(axis: Mapping[str, Any]) -> bool:
    """Return whether an axis is one of space: by its type, or, where none is stated, its name."""
    return bool(axis.get("type", "space" if axis["name"] in _NAMES else "") == "space")


def _without(shape: tuple[int, ...], ones: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in ones)


def _placed(path: Path, steps: list[Mapping[str, Any]], axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and translation of an array that goes through transformations in their order."""
    scale, translation = np.ones(axes), np.zeros(axes)
    if all(step["type"] == "translation" for step in steps):
        raise CorruptInput(
            f"{path}: its `coordinateTransformations` have no scale, which is the voxel size; add "
            "it"
        )
    for step in steps:
        if step["type"] == "scale":
            scale, translation = scale * step["scale"], translation * step["scale"]
        elif step["type"] == "translation":
            translation = translation + step["translation"]
        elif step["type"] != "identity":
            raise UnsupportedInput(
                f"{path}: has a transformation of the type {step['type']}; expected scale and "
                "translation; resample it to straight axes"
            )
    return scale, translation


def _affine(
    path: Path, axes: list[Mapping[str, Any]], scale: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """Return the affine (4 x 4) in mm, RAS+, its columns the axes of space, the fastest first."""
    columns, rows, origin = [], [], np.zeros(3)
    for axis, step, start in zip(axes, scale, translation, strict=True):
        if not _in_space(axis):
            continue
        unit = _SHORT.get(axis.get("unit", ""), axis.get("unit"))
        if unit not in _MM:
            raise UnsupportedInput(
                f"{path}: its axis {axis['name']} is in {unit or 'no unit'}; expected "
                f"{', '.join(_MM)}; state it"
            )
        row, sign = _way(path, axis)
        rows.append(row)
        columns.append(np.eye(3)[row] * sign * step * _MM[unit])
        origin[row] = sign * start * _MM[unit]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.stack(columns[::-1], axis=1), origin
    if len(set(rows)) < len(rows):
        raise CorruptInput(
            f"{path}: two of its axes point along the same line; correct `orientation` in `axes`"
        )
    return affine


def _way(path: Path, axis: Mapping[str, Any]) -> tuple[int, int]:
    """Return which of x, y and z an axis runs along, and whether up (1) or down (-1)."""
    usual = {name: up for name, (up, _) in zip(_NAMES, _WAYS, strict=True)}
    value = axis.get("orientation", {}).get("value", usual.get(axis["name"].lower()))
    for row, ways in enumerate(_WAYS):
        if value in ways:
            return row, 1 - 2 * ways.index(value)
    points = f"points {value}" if value else "does not say where it points"
    raise UnsupportedInput(
        f"{path}: its axis {axis['name']} {points}; expected the names z, y and x, or as "
        "`orientation` one of "
        f"{', '.join(way for ways in _WAYS for way in ways)}; state it"
    )


def write(volume: Volume, path: Path) -> None:
    """Write a volume in HU, float32, and levels of half its resolution, down to 64 pixels a side.

    Each level is made of the one before, some slices at a time. Chunks are under the checksums of
    Zstandard, and none is left out, so that one that gets lost is missed.
    """
    import zarr

    affine = np.array(volume.grid.affine)
    check_grid(path, volume.grid)
    with atomic(path, check=partial(_is_same, volume)) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=2)
        array = _level(group, 0, volume.hu.shape)
        first = 0
        for part in in_parts(volume.hu, CHUNK[0]):
            array[first : first + len(part)] = part
            first += len(part)
        factor = np.ones(3, int)
        datasets = [_dataset(0, affine, factor)]
        for half in _halvings(volume):
            array = _coarser(group, len(datasets), array, half)
            factor = factor * half
            datasets.append(_dataset(len(datasets), affine, factor))
        group.attrs.put(_described(affine, datasets))


def _level(group: "zarr.Group", level: int, shape: tuple[int, ...]) -> "zarr.Array[Any]":
    """Make the array of a level."""
    from numcodecs import Zstd

    return group.create_array(
        str(level),
        shape=shape,
        dtype="float32",
        chunks=tuple(min(pair) for pair in zip(CHUNK, shape, strict=True)),
        compressors=Zstd(level=1, checksum=True),
        fill_value=np.nan,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        config={"write_empty_chunks": True},
    )


def _coarser(
    group: "zarr.Group", level: int, finer: "zarr.Array[Any]", half: np.ndarray
) -> "zarr.Array[Any]":
    """Make the next level, a layer of chunks at a time."""
    made = _level(group, level, tuple(-(-n // b) for n, b in zip(finer.shape, half, strict=True)))
    for first in range(0, made.shape[0], CHUNK[0]):
        last = min(first + CHUNK[0], made.shape[0])
        made[first:last] = _binned(finer[first * half[0] : last * half[0]], half)
    return made


def _dataset(level: int, affine: np.ndarray, factor: np.ndarray) -> dict[str, Any]:
    """Return what the group says of a level."""
    return {"path": str(level), "coordinateTransformations": _steps(affine, factor)}


def check_grid(path: Path, grid: Grid) -> None:
    """Raise UnsupportedInput if a scale and a translation do not describe the axes of a grid."""
    affine, size = np.array(grid.affine), np.array(grid.shape[::-1])
    aside = np.abs(affine[:3, :3] - np.diag(np.diag(affine)[:3])) @ size
    if (aside > STRAIGHT * np.abs(np.diag(affine)[:3])).any():
        raise UnsupportedInput(
            f"{path}: its axes are oblique, which OME-Zarr cannot express; write .nii.gz"
        )


def _halvings(volume: Volume) -> Iterator[np.ndarray]:
    """Yield by how much each level is coarser (z, y, x) than the one before.

    The axes of the smallest voxels are halved, until all sides are about alike, and then all.
    """
    shape, size = np.array(volume.hu.shape), np.array(volume.grid.spacing_mm)
    while max(shape[1:]) > COARSEST:
        half = np.where((size < 1.5 * size.min()) & (shape > 1), 2, 1)
        yield half
        shape, size = -(-shape // half), size * half


def _binned(hu: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return means over blocks; at the ends, of what there is, as if its edge went on."""
    more = [(0, -n % b) for n, b in zip(hu.shape, by, strict=True)]
    return block_means(np.pad(hu, more, mode="edge"), *by)


def _steps(affine: np.ndarray, factor: np.ndarray) -> list[dict[str, object]]:
    """Return scale and translation (z, y, x) of a level: where the centre of its first voxel is."""
    step = np.abs(np.diag(affine)[2::-1])
    start = (np.sign(np.diag(affine)[:3]) * affine[:3, 3])[::-1] + (factor - 1) / 2 * step
    return [
        {"type": "scale", "scale": (step * factor).tolist()},
        {"type": "translation", "translation": start.tolist()},
    ]


def _described(affine: np.ndarray, datasets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the attributes of the group."""
    axes = [
        {
            "name": _NAMES[row],
            "type": "space",
            "unit": "millimeter",
            "orientation": {"type": "anatomical", "value": _WAYS[row][int(affine[row, row] < 0)]},
        }
        for row in (2, 1, 0)
    ]
    start, end = WINDOW
    window = {"min": -1024, "max": 3071, "start": start, "end": end}
    channel = {"label": "HU", "color": "FFFFFF", "active": True, "window": window}
    image = {
        "version": VERSION,
        "name": "volume",
        "axes": axes,
        "datasets": datasets,
        "type": "mean",
    }
    return {"multiscales": [image], "omero": {"channels": [channel]}}


def _is_same(volume: Volume, path: Path) -> bool:
    with parsing(path):
        array, _, _ = _checked(path)
    first = 0
    for part in in_parts(volume.hu, CHUNK[0]):
        if not np.array_equal(array[first : first + len(part)], part, equal_nan=True):
            return False
        first += len(part)
    return True
