"""MATLAB's MAT-files: an array by its name, or a scan of HelTomo and the Helsinki challenge.

Those hold a structure with `sinogram` (views, bins) and `parameters`: `angles` in degrees,
`distanceSourceOrigin` and `distanceSourceDetector` in mm, `pixelSizePost` after binning, in ASTRA's
convention of a flat fan. In MAT-files of version 7.3, which are HDF5, axes are in the opposite
order, and are turned back.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.data.scan import MAX_VALUES
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry.tools.values import number, numbers
from diffusionblend.io.files import naming
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import check_claim
from diffusionblend.io.projections.formats import hdf5
from diffusionblend.io.projections.formats.geometry_file import NAME, Data, FanFacts
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import check_type, stack_of
from diffusionblend.io.projections.formats.walked import MATLAB, walk

if TYPE_CHECKING:
    import h5py

OLD, NEW = MATLAB, b"MATLAB 7.3"
_LENGTHS = {
    "sod_mm": ("distanceSourceOrigin",),
    "sdd_mm": ("distanceSourceDetector",),
    "bin_mm": ("pixelSizePost", "pixelSize"),
}


def read_mat(path: Path, start: bytes, order: Sequence[str] | None, array: str | None) -> Source:
    """Read projections of a MAT-file."""
    held = _from_hdf5(path) if start.startswith(NEW) else _from_mat(path)
    scans = {name: part for name, part in held.items() if isinstance(part, Mapping)}
    for name, part in scans.items():
        if "sinogram" in part and isinstance(part.get("parameters"), Mapping):
            with naming(f"{path}: {name}"):
                return _challenge(path, part)
    name, values = _one(path, dict(_arrays(held)), array)
    check_type(f"{path}: {name}", values.dtype)
    if order is None:
        raise UnsupportedInput(
            f'{path}: nothing states what the axes of {name} {values.shape} are; add "order" to '
            f"the data of its {NAME}, or give `order='view,bin'`"
        )
    return Source("MATLAB array", stack_of(f"{path}: {name}", values, order))


def _arrays(held: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays that may be projections, with their names, those in structures too."""
    for name, part in held.items():
        if isinstance(part, Mapping):
            yield from _arrays(part, f"{place}{name}.")
        elif isinstance(part, np.ndarray) and part.ndim in (2, 3) and min(part.shape) > 1:
            yield f"{place}{name}", part


def _one(path: Path, arrays: Mapping[str, np.ndarray], array: str | None) -> tuple[str, np.ndarray]:
    named = {name: part for name, part in arrays.items() if array in (None, name)}
    if len(named) != 1:
        listed = ", ".join(f"{name} {part.shape}" for name, part in sorted(arrays.items())[:8])
        raise UnsupportedInput(
            f"{path}: holds {len(arrays)} arrays ({listed or 'none'}); expected one; name it as "
            f'"array" in the data of {NAME}, or of fields as {path.name}:ARRAY'
        )
    return next(iter(named.items()))


def _challenge(path: Path, scan: Mapping[str, Any]) -> Source:
    """Return a scan of HelTomo."""
    parameters = scan["parameters"]
    angles = numbers(parameters, "angles", (-1,))
    sinogram = np.asarray(scan["sinogram"])
    order = ("view", "bin") if sinogram.shape[0] == angles.size else ("bin", "view")
    lengths: dict[str, Any] = {
        name: number(parameters, next((n for n in names if n in parameters), names[0]))
        for name, names in _LENGTHS.items()
    }
    facts = FanFacts(
        schema="diffusionblend-geometry/1",
        angles_deg=tuple(angles.tolist()),
        detector="flat",
        data=Data(quantity="line-integrals"),
        **lengths,
    )
    stack = stack_of(f"{path}: sinogram", sinogram, order)
    return Source("MATLAB scan of HelTomo", stack, stated=facts)


def _from_mat(path: Path) -> Mapping[str, Any]:
    """Return what a file of version 5 holds; of arrays that no memory holds, nothing is read."""
    from scipy.io import loadmat, whosmat

    walk(path)
    with parsing(path):
        sizes = [math.prod(shape) for _, shape, kind in whosmat(path) if kind != "sparse"]
        check_claim(path, max(sizes, default=0), path.stat().st_size, compressed=True)
        if sum(sizes) > MAX_VALUES:
            raise UnsupportedInput(f"{path}: {sum(sizes)} values; expected at most {MAX_VALUES}")
        held = loadmat(path, simplify_cells=True)
    return {name: part for name, part in held.items() if not name.startswith("__")}


def _from_hdf5(path: Path) -> Mapping[str, Any]:
    """Return what a file of version 7.3 holds, axes as MATLAB has them."""
    import h5py

    walk(path)
    with parsing(path), h5py.File(path) as file:
        return _group(file, path, "")


def _group(file: "h5py.File", path: Path, place: str) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    for name, item in (file[place] if place else file).items():
        where = f"{place}/{name}".strip("/")
        if isinstance(item, h5py.Group):
            if not name.startswith("#"):
                found[name] = _group(file, path, where)
            continue
        values = hdf5.dataset(file, path, where)
        if values is None or values.dtype.kind not in "iuf" or not values.shape:
            continue
        if values.size > MAX_VALUES:
            raise UnsupportedInput(f"{path}: {values.size} values; expected at most {MAX_VALUES}")
        hdf5.check_held(f"{path}: /{where}", values)
        array = np.asarray(values).T
        found[name] = array.ravel() if 1 in array.shape and array.ndim == 2 else array
    return found
