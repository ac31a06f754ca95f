"""Geometries of the ASTRA toolbox (van Aarle et al. 2016): its dictionaries, and ours as these.

Its vectors are where source and detector are in each view, with the directions of bins and rows
(docs of `create_proj_geom`); its other geometries are short for vectors, as its `geom_2vec` has
them. Projections in three dimensions are (rows, views, bins). ASTRA stores the rows of a slice in
two dimensions from the top, and ours count along y: such slices are upside down to each other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import FanBeam, Geometry, Grid
from diffusionblend.geometry.posed import turning
from diffusionblend.geometry.tools.values import as_mapping, count, number, numbers
from diffusionblend.geometry.tools.vectors import Taken, Vectors, beam_of, vectors_of

_FLAT = {"parallel": "parallel", "fanflat": "fan", "parallel_vec": "parallel", "fanflat_vec": "fan"}
_DEEP = {"parallel3d": "parallel", "cone": "cone", "parallel3d_vec": "parallel", "cone_vec": "cone"}
KINDS = (*_FLAT, *_DEEP)


def from_astra(
    projections: Mapping[str, Any] | object, volume: Mapping[str, Any] | None = None
) -> Taken:
    """Take over a projection geometry of ASTRA, in mm.

    Args:
        projections: What `astra.create_proj_geom` returns.
        volume: What `astra.create_vol_geom` returns, if the grid is wanted, too.

    Raises:
        CorruptInput: A number is missing, or is not a number.
        UnsupportedInput: No circular beam is like it.
    """
    stated = as_mapping(projections)
    kind = str(stated.get("type"))
    if kind not in KINDS:
        raise UnsupportedInput(f"type is {kind[:40]!r}; expected one of {', '.join(KINDS)}")
    vectors = _vectors(stated, kind)
    beam, row_mm = beam_of(vectors, fan=_FLAT.get(kind) == "fan")
    grid = None if volume is None else _grid(volume, row_mm if kind in _FLAT else None)
    order = ("view", "bin") if kind in _FLAT else ("row", "view", "bin")
    return Taken(beam, vectors.rows, row_mm, grid, order)


def from_deepinv(physics: object) -> Taken:
    """Take over the geometry of `physics`, a `TomographyWithAstra` of deepinv, which is ASTRA's.

    Raises:
        UnsupportedInput: It has none, or it is not a circular beam.
    """
    projections = getattr(physics, "projection_geometry", None)
    if projections is None:
        raise UnsupportedInput(
            f"{type(physics).__name__} has no projection_geometry; expected a TomographyWithAstra"
        )
    return from_astra(projections, getattr(physics, "object_geometry", None))


def to_astra(geometry: Geometry) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `geometry` as ASTRA's dictionaries: of the projections, and of the volume.

    They are what `astra.create_proj_geom` and `create_vol_geom` return. Projections of a cone and
    of parallel rays are (rows, views, bins), as in a scan; of a fan they are (views, bins) for
    each slice.

    Raises:
        UnsupportedInput: Its detector is curved.
    """
    vectors = vectors_of(geometry)
    whole = np.concatenate([vectors.source, vectors.middle, vectors.along, vectors.up], axis=1)
    if isinstance(geometry.beam, FanBeam):
        flat = whole.reshape(-1, 4, 3)[:, :3, :2].reshape(-1, 6)
        return (
            {"type": "fanflat_vec", "DetectorCount": vectors.bins, "Vectors": flat},
            _volume(geometry.grid, deep=False),
        )
    kind = "cone_vec" if vectors.diverges else "parallel3d_vec"
    return (
        {
            "type": kind,
            "DetectorRowCount": vectors.rows,
            "DetectorColCount": vectors.bins,
            "Vectors": whole,
        },
        _volume(geometry.grid, deep=True),
    )


def _vectors(stated: Mapping[str, Any], kind: str) -> Vectors:
    """Return the vectors of any geometry."""
    flat = kind in _FLAT
    bins = count(stated, "DetectorCount" if flat else "DetectorColCount")
    rows = 1 if flat else count(stated, "DetectorRowCount")
    diverges = (_FLAT | _DEEP)[kind] != "parallel"
    if kind.endswith("_vec"):
        parts = numbers(stated, "Vectors", (-1, 6 if flat else 12))
        if not flat:
            source, middle, along, up = np.split(parts, 4, axis=1)
            return Vectors(source, middle, along, up, bins, rows, diverges)
        source, middle, along = (
            np.pad(part, ((0, 0), (0, 1))) for part in np.split(parts, 3, axis=1)
        )
        size = float(np.linalg.norm(along[0]))
        return Vectors(source, middle, along, _upright(along, size), bins, rows, diverges)
    return _short(stated, flat, bins, rows, diverges)


def _short(stated: Mapping[str, Any], flat: bool, bins: int, rows: int, diverges: bool) -> Vectors:
    """Return the vectors of a geometry that states angles."""
    angles = numbers(stated, "ProjectionAngles", (-1,))
    bin_mm = number(stated, "DetectorWidth" if flat else "DetectorSpacingX")
    row_mm = bin_mm if flat else number(stated, "DetectorSpacingY")
    along = turning(angles, (bin_mm, 0, 0))
    far = number(stated, "DistanceOriginSource") if diverges else 1.0
    beyond = number(stated, "DistanceOriginDetector") if diverges else 0.0
    source = turning(angles, (0, -far, 0) if diverges else (0, 1, 0))
    middle = turning(angles, (0, beyond, 0))
    return Vectors(source, middle, along, _upright(along, row_mm), bins, rows, diverges)


def _upright(along: np.ndarray, size: float) -> np.ndarray:
    return np.broadcast_to([0.0, 0.0, size], along.shape)


def _volume(grid: Grid, *, deep: bool) -> dict[str, Any]:
    """Return a grid about the origin as `create_vol_geom` has it."""
    names = ["X", "Y", "Z"][: 3 if deep else 2]
    shape, spacing = grid.shape[::-1], grid.spacing_mm[::-1]
    option: dict[str, float] = {}
    for name, number_of, mm in zip(names, shape, spacing, strict=False):
        option |= {f"WindowMin{name}": -number_of * mm / 2, f"WindowMax{name}": number_of * mm / 2}
    counts = {"GridColCount": shape[0], "GridRowCount": shape[1]}
    return counts | ({"GridSliceCount": shape[2]} if deep else {}) | {"option": option}


def _grid(volume: Mapping[str, Any], slice_mm: float | None) -> Grid | None:
    """Return the grid of a volume; None if it is not about the origin.

    Args:
        volume: What `create_vol_geom` returns.
        slice_mm: Height of the slices, where the volume has none.
    """
    option = volume.get("option")
    if not isinstance(option, Mapping):
        raise CorruptInput("the volume has no `option`; expected what create_vol_geom returns")
    names = {"X": "GridColCount", "Y": "GridRowCount"}
    if "GridSliceCount" in volume:
        names["Z"] = "GridSliceCount"
    shape, spacing = [], []
    for axis, name in names.items():
        low, high = (number(option, f"Window{end}{axis}") for end in ("Min", "Max"))
        if abs(low + high) > 1e-6 * (high - low):
            return None
        shape.append(count(volume, name))
        spacing.append((high - low) / shape[-1])
    if len(shape) == 2:
        shape.append(1)
        spacing.append(slice_mm or spacing[0])
    return centred(shape[::-1], spacing[::-1])


def centred(shape: list[int], spacing_mm: list[float]) -> Grid:
    """Return a grid (slices, rows, columns) whose middle is at zero."""
    affine = np.diag([*spacing_mm[::-1], 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * mm for n, mm in zip(shape, spacing_mm, strict=True)][::-1]
    return Grid.from_affine(shape, affine)
