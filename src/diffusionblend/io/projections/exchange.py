"""Data Exchange (De Carlo et al. 2014), the HDF5 files of many synchrotrons.

`/exchange/data` are counts (views, rows, bins), `data_white` the same of air, `data_dark` without
rays, `theta` the angle of each view, in degrees where nothing else is stated. Tomoscan's files may
state the first angle and the step instead, and one value for all white fields.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.projections import hdf5
from diffusionblend.io.projections.source import Source
from diffusionblend.io.projections.stack import AXES

if TYPE_CHECKING:
    import h5py

_ROTATION = "process/acquisition/rotation"
_FLAT = "process/acquisition/flat_fields/flat_field_value"


def read_exchange(file: "h5py.File", path: Path, order: Sequence[str] | None) -> Source | None:
    """Read a Data Exchange file; return None if it is not one."""
    found = hdf5.dataset(file, path, "exchange/data")
    if found is None:
        return None
    theta = hdf5.numbers(file, path, "exchange/theta")
    axes = tuple(order) if order is not None else _axes(path, found, theta)
    said = f"axes taken for {', '.join(axes)}, as the file or the number of its angles has it"
    remarks = () if order is not None or axes == AXES else (said,)
    data = hdf5.stack(path, "exchange/data", found, axes, ())
    views, *pixels = data.shape
    size = (pixels[0], pixels[1])
    white = hdf5.fields(file, path, "exchange/data_white", axes, size)
    dark = hdf5.fields(file, path, "exchange/data_dark", axes, size)
    unit = None if theta is None else hdf5.unit_of(file, path, "exchange/theta")
    angles, why = _angles(file, path, theta, views)
    return Source(
        "Data Exchange HDF5",
        data,
        None if angles is None else tuple(angles.tolist()),
        unit if theta is not None or angles is None else "degrees",
        white,
        dark,
        i0=None if white is not None else hdf5.number(file, path, _FLAT),
        remarks=remarks,
        no_angles=why,
    )


def _axes(path: Path, found: "h5py.Dataset", theta: np.ndarray | None) -> tuple[str, ...]:
    """Return the order of the axes that the file states, or its angles tell."""
    stated = found.attrs.get("axes")
    if stated is None:
        return hdf5.order_by_angles(f"{path}: /exchange/data", found.shape or (), theta)
    order = hdf5.order_of_axes(hdf5.text(stated).split(":"))
    if order is None or not {"view", "bin"} <= set(order):
        raise UnsupportedInput(
            f"{path}: /exchange/data: its axes are {hdf5.text(stated)[:40]!r}; expected theta:y:x "
            "in any order; give `order`, for instance view,row,bin"
        )
    return order


def _angles(
    file: "h5py.File", path: Path, theta: np.ndarray | None, views: int
) -> tuple[np.ndarray | None, str]:
    """Return the angle of each view, or why the file does not tell it."""
    if theta is not None and len(theta) == views:
        return theta, ""
    if theta is not None:
        return None, f"/exchange/theta has {len(theta)} angles for {views} views; "
    start, step, count = (
        hdf5.number(file, path, f"{_ROTATION}/{name}")
        for name in ("rotation_start", "rotation_step", "num_angles")
    )
    if start is None or step is None:
        return None, ""
    if count is not None and count != views:
        return None, f"/{_ROTATION}/num_angles is {count:g} for {views} views; "
    return start + step * np.arange(views), ""
