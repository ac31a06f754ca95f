"""What NXtomo says of its frames beside their angles: exposures, movements, mirrors.

`control/data` has the counts of a monitor for each frame, or, in files of the ESRF, the current of
the machine, which does not count for the time of the exposure: `count_time` does. All of it may be
missing, or lie in other files, which are not followed.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import DiffusionBlendError
from diffusionblend.io.projections.formats import hdf5
from diffusionblend.io.projections.formats.exposure import Exposures, exposures

if TYPE_CHECKING:
    import h5py

_MONITOR, _SECONDS = "control/data", "instrument/detector/count_time"
_MM = {
    **dict.fromkeys(("m", "metre", "meter"), 1e3),
    **dict.fromkeys(("mm", "millimetre", "millimeter"), 1.0),
    **dict.fromkeys(("um", "\N{MICRO SIGN}m", "micrometre", "micrometer", "micron"), 1e-3),
}


def exposures_of(
    file: "h5py.File",
    path: Path,
    entry: str,
    projections: np.ndarray,
    white: np.ndarray,
    frames: int,
) -> tuple[Exposures | None, tuple[str, ...]]:
    """Return how strongly views and fields of air were exposed, and what of it cannot be used."""
    stated = {name: _if_there(file, path, f"{entry}/{name}") for name in (_MONITOR, _SECONDS)}
    used, unused = [], []
    lit = np.concatenate([projections, white])
    for name, values in stated.items():
        if values is None or values.size < 2 or not white.size:
            continue
        some = values[lit] if len(values) == frames else np.zeros(1)
        if (np.isfinite(some) & (some > 0)).all():
            used.append(name)
        else:
            unused.append(
                f"/{entry}/{name} was left out: it is not above 0 for each of {frames} frames"
            )
    if _MONITOR in used and not _is_current(file, f"{entry}/{_MONITOR}"):
        used = [_MONITOR]  # which counts for the time of the exposure
    if not used:
        return None, tuple(unused)
    product = np.prod([np.asarray(stated[name], np.float64) for name in used], axis=0)
    said = " times ".join(used)
    return exposures(product[projections], product[white], said), tuple(unused)


def _if_there(file: "h5py.File", path: Path, name: str) -> np.ndarray | None:
    """Return what is read of a place, or None if it cannot be read: nothing depends on it."""
    try:
        return hdf5.values(file, path, name)
    except DiffusionBlendError:
        return None


def _is_current(file: "h5py.File", name: str) -> bool:
    """Return whether a monitor has the machine's current, not counts."""
    unit = hdf5.text(file[name].attrs.get("units", "")).lower()
    return unit in {"a", "ma", "ua"} or "amp" in unit


def mirrored(file: "h5py.File", path: Path, entry: str) -> tuple[str, ...]:
    """Say that the file calls its frames mirrored; programs do not agree on which way."""
    place = f"{entry}/instrument/detector/"
    named = ("x_flipped", "y_flipped")
    flipped = [n for n in named if hdf5.flag(file, path, place + n)]
    if len(flipped) != 1:  # by both a picture is turned, and nothing is mirrored
        return ()
    return (
        f"the file says {flipped[0]}: frames were taken as they are stored, and slices may be "
        "mirrored",
    )


def pixel_said(file: "h5py.File", path: Path, entry: str) -> str:
    """Say what the file calls the width of a pixel, which may be that before optics magnify."""
    name = f"{entry}/instrument/detector/x_pixel_size"
    width = _if_there(file, path, name)
    if width is None or width.size != 1 or not (np.isfinite(width) & (width > 0)).all():
        return ""
    unit = hdf5.text(file[name].attrs.get("units", ""))
    mm, number = _MM.get(unit.lower()), float(width[0])
    same = "" if mm is None else f", which is `bin_mm={mm * number:.6g}`"
    return f"; /{name} is {number:.6g} {unit[:20]}".rstrip() + same + ", unless optics magnify"


def moved_mm(
    file: "h5py.File", path: Path, entry: str, projections: np.ndarray, frames: int
) -> dict[str, float]:
    """Return how far the object was moved during the views in mm, by the file's name for it."""
    moved = {}
    for name in (f"{entry}/sample/{axis}_translation" for axis in "xyz"):
        places = _if_there(file, path, name)
        if places is None or len(places) != frames:
            continue
        mm = _MM.get(hdf5.text(file[name].attrs.get("units", "")).lower())
        if mm is not None and np.isfinite(places[projections]).all():
            moved[f"/{name}"] = mm * float(np.ptp(places[projections]))
    return moved
