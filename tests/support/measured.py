"""Projections of a cylinder whose line integrals are known, written by libraries that are not ours.

Arrays are as a scanner gives them: (views, rows, bins).
"""

import json

import h5py
import numpy as np
import tifffile

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import fan_beam, parallel_beam, sparse_view
from support.phantoms import Ellipsoid, changed, placed

MU, AIR, DARK = 0.03, 20000.0, 100.0
ROWS, SIZE, VIEWS = 3, 40, 12
GRID = Grid.from_spacing((ROWS, SIZE, SIZE), (1.5, 1.0, 1.0))
PARALLEL = changed(placed(parallel_beam, GRID, sparse_view(VIEWS)), offset_mm=1.2)
FAN = placed(fan_beam, GRID, sparse_view(VIEWS, 360), sod_mm=150.0, sdd_mm=260.0)
BODY = Ellipsoid((3.0, -5.0, 0.0), (12.0, 7.0, np.inf))


def lines(geometry=PARALLEL, body=BODY):
    """Return line integrals in closed form (views, rows, bins)."""
    return (MU * body.chords(geometry)).transpose(1, 0, 2).astype(np.float32)


def air(bins):
    """Return counts of air (rows, bins), which differ from pixel to pixel."""
    return AIR * (1 + 0.2 * np.cos(np.arange(ROWS * bins).reshape(ROWS, bins)))


def counts(y):
    return DARK + (air(y.shape[-1]) - DARK) * np.exp(-y.astype(np.float64))


def write_exchange(path, y=None, units=None, **more):
    """Write counts as Data Exchange; `more` replaces or adds datasets."""
    y = lines() if y is None else y
    parts = {
        "data": counts(y).astype(np.float32),
        "data_white": np.repeat(air(y.shape[-1])[None], 2, 0).astype(np.float32),
        "data_dark": np.full((2, *y.shape[1:]), DARK, np.float32),
        "theta": np.array(PARALLEL.beam.angles_deg),
    }
    with h5py.File(path, "w") as file:
        for name, values in (parts | more).items():
            if values is not None:
                file[f"exchange/{name}"] = values
        if units is not None:
            file["exchange/theta"].attrs["units"] = units
    return path


def write_geometry(folder, geometry=PARALLEL, *, name="geometry.json", **data):
    """Write what a user writes by hand: no grid, no numbers of rows and bins."""
    known = json.loads(geometry.to_json())
    for known_by_the_data in ("grid", "bins", "rows"):
        known.pop(known_by_the_data, None)
    known.setdefault("row_mm", geometry.grid.spacing_mm[0])
    path = folder / name
    path.write_text(json.dumps(known | {"data": data}))
    return path


def write_tiffs(folder, values):
    """Write a TIFF for each view, named by numbers without leading zeros."""
    folder.mkdir()
    for view, picture in enumerate(values):
        tifffile.imwrite(folder / f"view_{view}.tif", picture)
    return folder
