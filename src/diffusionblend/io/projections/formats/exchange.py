"""Data Exchange (De Carlo et al. 2014), the HDF5 files of many synchrotrons.

`/exchange/data` are counts (views, rows, bins), `data_white` the same for air, `data_dark` without
rays, `theta` the angle of each view, in degrees where nothing else is stated. Tomoscan's files may
state the first angle and the step instead, and one value for all white fields; and that these had
another exposure than the views, in a word and by both times, as tomocupy reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.projections.formats import hdf5
from diffusionblend.io.projections.formats.exposure import Exposures, exposures
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import AXES

if TYPE_CHECKING:
    import h5py

_ROTATION = "process/acquisition/rotation"
_FLAT = "process/acquisition/flat_fields/flat_field_value"
_DETECTOR, _FIELDS = "measurement/instrument/detector", "process/acquisition/flat_fields"
_SECONDS = f"{_DETECTOR}/exposure_time"
_DIFFERENT = (f"{_DETECTOR}/different_flat_exposure", f"{_FIELDS}/different_flat_exposure")
_WHITE_SECONDS = (
    f"{_DETECTOR}/exposure_time_flat",
    f"{_FIELDS}/flat_exposure_time",
    f"{_DETECTOR}/brightfield_exposure_time",
)
_LONGEST = 4096  # characters of a word


def read_exchange(file: "h5py.File", path: Path, order: Sequence[str] | None) -> Source | None:
    """Read a Data Exchange file; return None if it is not one."""
    found = hdf5.dataset(file, path, "exchange/data")
    if found is None:
        return None
    theta = hdf5.numbers(file, path, "exchange/theta")
    axes = tuple(order) if order is not None else _axes(path, found, theta)
    said = f"axes taken for {', '.join(axes)}, from the file or the number of its angles"
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
        exposures=None if white is None else _exposures(file, path, views, white.shape[0]),
        i0=None if white is not None else hdf5.number(file, path, _FLAT),
        remarks=remarks,
        no_angles=why,
    )


def _axes(path: Path, found: "h5py.Dataset", theta: np.ndarray | None) -> tuple[str, ...]:
    """Return the order of the axes that the file states, or its angles show."""
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
    """Return the angle of each view, or why the file does not state it."""
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


def _exposures(file: "h5py.File", path: Path, views: int, fields: int) -> Exposures | None:
    """Return how long views and white fields were exposed, if the file says that they differ.

    Where it does not, the time of the white fields is one that nobody used.
    """
    if not any(_word(file, path, name).lower() == "different" for name in _DIFFERENT):
        return None
    each = hdf5.number(file, path, _SECONDS)
    stated = (hdf5.number(file, path, name) for name in _WHITE_SECONDS)
    white = next((seconds for seconds in stated if seconds is not None), None)
    if each is None or white is None or not (each > 0 and white > 0):
        return None
    said = "exposure time in the file"
    return exposures(np.full(views, each), np.full(fields, white), said)


def _word(file: "h5py.File", path: Path, name: str) -> str:
    """Return a word, which may be stored letter by letter; nothing if it is not there."""
    found = hdf5.dataset(file, path, name)
    if found is None or not 0 < found.size <= _LONGEST:
        return ""
    held = np.asarray(found[()]).ravel()
    if held.dtype.kind in "iu":
        return held.astype(np.uint8).tobytes().partition(b"\0")[0].decode(errors="replace")
    return hdf5.text(held[0])
