"""NXtomo, the NeXus files of tomography, and what CIL writes in a similar form.

The frames of NXtomo are in one data set, and `image_key` says what each is: 0 a projection, 1 of
air, 2 without rays; anything else does not count. `image_key_control`, where there is one, has the
same but -1 for views that were taken again after the scan, to see whether the object moved: they
are 0 in `image_key`. `rotation_angle` has an angle for each.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry.tools.cil import from_panel, panel_of
from diffusionblend.geometry.tools.values import count, number
from diffusionblend.io.files import naming
from diffusionblend.io.projections.formats import hdf5, nexus_frames
from diffusionblend.io.projections.formats.geometry_file import AnyFacts, facts_of
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.formats.stack import AXES, arranged_shape, finite_angles

if TYPE_CHECKING:
    import h5py

PROJECTION, WHITE, DARK, NEITHER = 0, 1, 2, 3
_KEYS = ("instrument/detector/image_key", "data/image_key")
_ANGLES = ("sample/rotation_angle", "data/rotation_angle", "instrument/detector/rotation_angle")
_CIL_ANGLES = ("config/angles", "data/rotation_angle")
_CONES = ("cone", "cone_flex")


def read_nexus(file: "h5py.File", path: Path, order: Sequence[str] | None) -> Source | None:
    """Read an NXtomo or CIL file; return None if it is neither.

    Args:
        file: The file.
        path: Where it lies.
        order: Of its axes, if the user says it; frames are its views.
    """
    found = [source for entry in _entries(file) if (source := _read(file, path, entry, order))]
    if len(found) > 1:
        raise UnsupportedInput(
            f"{path}: holds {len(found)} scans; expected one; copy the one you want into a file "
            "of its own, with h5py: old.copy('ENTRY', new)"
        )
    return found[0] if found else None


def _entries(file: "h5py.File") -> Iterator[str]:
    """Yield the groups that may be entries: of the file, and of these."""
    for outer in _groups(file):
        yield outer
        yield from (f"{outer}/{inner}" for inner in _groups(file[outer]))


def _groups(parent: "h5py.Group") -> Iterator[str]:
    """Yield the names of the groups in a group, but for links, which may lead to other files."""
    import h5py

    for name in parent:
        if isinstance(parent.get(name, getlink=True), h5py.HardLink) and isinstance(
            parent[name], h5py.Group
        ):
            yield name


def _read(file: "h5py.File", path: Path, entry: str, order: Sequence[str] | None) -> Source | None:
    if hdf5.is_elsewhere(file, f"{entry}/data") and f"{entry}/instrument" not in file:
        return None  # a monitor, for one, which need not be followed
    key = _first(file, path, [f"{entry}/{name}" for name in _KEYS])
    angles = _first(file, path, [f"{entry}/{name}" for name in _ANGLES])
    if key is not None:
        return _frames(file, path, entry, key, angles, order or AXES)
    place = f"{entry}/data/data"
    angles = _first(file, path, [f"{entry}/{name}" for name in _CIL_ANGLES])
    found = None if angles is None else hdf5.dataset(file, path, place)
    if found is None or angles is None:
        return None
    return _cil(file, path, entry, found, angles, order)


def _first(file: "h5py.File", path: Path, names: list[str]) -> str | None:
    return next((name for name in names if hdf5.dataset(file, path, name) is not None), None)


def _frames(
    file: "h5py.File",
    path: Path,
    entry: str,
    key: str,
    angles: str | None,
    order: Sequence[str],
) -> Source | None:
    """Return projections and fields that are frames of one data set."""
    place = key.removesuffix("image_key") + "data"
    found = hdf5.dataset(file, path, place)
    if found is None:
        return None
    shape = tuple(found.shape or ())
    frames = arranged_shape(f"{path}: /{place}", shape, order)[0]
    keys, controlled = _keys(file, path, key, frames, f"/{place} has the shape {shape}")
    if keys is None:
        return None
    chosen = {kind: np.flatnonzero(keys == kind) for kind in (PROJECTION, WHITE, DARK)}
    if not chosen[PROJECTION].size:
        raise CorruptInput(f"{path}: /{key} marks no frame as a projection (0); expected some")
    data, white, dark = (
        hdf5.stack(path, place, found, order, which.tolist()) if which.size else None
        for which in chosen.values()
    )
    if data is None:
        return None
    theta, why = _angles(file, path, angles, chosen[PROJECTION], len(keys))
    others = len(keys) - sum(which.size for which in chosen.values())
    projections, fields = chosen[PROJECTION], chosen[WHITE]
    exposed, unused = nexus_frames.exposures_of(file, path, entry, projections, fields, len(keys))
    return Source(
        "NXtomo HDF5",
        data,
        theta,
        None if angles is None else hdf5.unit_of(file, path, angles),
        white,
        dark,
        white_at=tuple(float((keys[:at] == PROJECTION).sum()) for at in chosen[WHITE]) or None,
        exposures=exposed,
        remarks=_left_out(others, controlled) + unused + nexus_frames.mirrored(file, path, entry),
        no_angles=why,
        moved_mm=nexus_frames.moved_mm(file, path, entry, projections, len(keys)),
        pixel_said=nexus_frames.pixel_said(file, path, entry),
    )


def _keys(
    file: "h5py.File", path: Path, key: str, frames: int, data: str
) -> tuple[np.ndarray | None, bool]:
    """Return what each frame is, and whether image_key_control says so, too.

    A frame of which the two say different things is neither projection nor field.
    """
    keys = hdf5.numbers(file, path, key)
    control = hdf5.numbers(file, path, f"{key}_control")
    for name, each in ((key, keys), (f"{key}_control", control)):
        if each is not None and len(each) != frames:
            raise CorruptInput(
                f"{path}: {data}, /{name} {len(each)} values; expected one for each frame"
            )
    if keys is None or control is None:
        return keys, False
    return np.where(control == keys, keys, NEITHER), True


def _left_out(frames: int, controlled: bool) -> tuple[str, ...]:
    """Say how many frames do not count, and why."""
    if not frames:
        return ()
    again = ", or whose image_key_control differs, as in views that were taken again"
    return (f"{frames} frames left out, whose image_key is not 0, 1 or 2{again * controlled}",)


def _angles(
    file: "h5py.File", path: Path, name: str | None, projections: np.ndarray, frames: int
) -> tuple[tuple[float, ...] | None, str]:
    """Return the angle of each projection, or why the file does not tell it."""
    angles = None if name is None else hdf5.values(file, path, name)
    if angles is None:
        return None, ""
    if len(angles) == frames:
        angles = angles[projections]  # of fields it may be NaN
    elif len(angles) != len(projections):
        return None, f"/{name} has {len(angles)} angles for {frames} frames; "
    return tuple(finite_angles(f"{path}: /{name}", angles, len(projections)).tolist()), ""


def _cil(
    file: "h5py.File",
    path: Path,
    entry: str,
    found: Any,  # noqa: ANN401 - h5py has no types
    name: str,
    said: Sequence[str] | None,
) -> Source | None:
    """Return projections that CIL wrote, which may be anything: it does not say counts or lines."""
    angles, place = hdf5.numbers(file, path, name), f"{entry}/data/data"
    shape = tuple(found.shape or ())
    labels = _labels(found, len(shape))
    order = tuple(said) if said is not None else hdf5.order_of_axes(labels)
    if said is None and not any(labels):
        order = hdf5.order_by_angles(f"{path}: /{place}", shape, angles)
    if order is None or "view" not in order:
        raise UnsupportedInput(
            f"{path}: /{place} has the axes {', '.join(labels)[:60]}; expected projections: angle, "
            "vertical and horizontal"
        )
    data = hdf5.stack(path, place, found, order, ())
    views = data.shape[0]
    why = "" if angles is None or len(angles) == views else f"{len(angles)} angles; "
    cone = hdf5.text(found.attrs.get("geometry", "")) in _CONES
    stated = None
    if angles is not None and not why and f"{entry}/config/detector/position" in file:
        with naming(path):
            stated = _stated(file, path, entry, found.attrs, angles, cone)
    return Source(
        "CIL's NeXus HDF5",
        data,
        None if angles is None or why or stated is not None else tuple(angles.tolist()),
        hdf5.unit_of(file, path, name),
        diverges=cone,
        no_angles=why,
        stated=stated,
    )


def _labels(found: Any, axes: int) -> list[str]:  # noqa: ANN401 - h5py has no types
    """Return what a data set calls its axes, in files of any version of CIL."""
    names = ("dimension{}", "dim{}")
    stated = [[found.attrs.get(name.format(axis), "") for axis in range(axes)] for name in names]
    return [hdf5.text(label) for label in next(filter(any, stated), stated[0])]


def _stated(
    file: "h5py.File",
    path: Path,
    entry: str,
    attrs: Any,  # noqa: ANN401 - h5py has no types
    angles: np.ndarray,
    cone: bool,
) -> AnyFacts:
    """Return the geometry that CIL's NEXUSDataWriter wrote beside the projections."""
    where = {
        "source": "source/position" if cone else "ray/direction",
        "detector": "detector/position",
        "across": "detector/direction_x",
        "upwards": "detector/direction_y",
        "axis": "rotation_axis/position",
        "axis_along": "rotation_axis/direction",
    }
    places = {
        name: hdf5.numbers(file, path, f"{entry}/config/{place}") for name, place in where.items()
    }
    told = file[f"{entry}/config/angles"].attrs
    unit = 1.0 if hdf5.text(told.get("angle_unit", "degree")).startswith("deg") else 180 / np.pi
    panel = panel_of(
        places,
        (count(attrs, "num_pixels_h"), count(attrs, "num_pixels_v", 1)),
        (number(attrs, "pixel_size_h"), number(attrs, "pixel_size_v", 1.0)),
        hdf5.text(attrs.get("panel_origin", "bottom-left")),
        unit * (angles + number(told, "initial_angle", 0.0)),
        cone,
    )
    return facts_of(from_panel(panel))
