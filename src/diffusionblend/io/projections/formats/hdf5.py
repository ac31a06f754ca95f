"""HDF5: data sets that lie in one file and hold what they claim, whatever layout they are part of.

Values may lie in this one file only: a link to another could name any file of the machine.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import check_claim
from diffusionblend.io.projections.formats.source import Unit
from diffusionblend.io.projections.formats.stack import (
    AXES,
    Stack,
    arrange,
    arranged_shape,
    check_type,
    finite_angles,
    orders_of_fields,
    scale_of,
    volume_of,
)

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_ANGLES = 1_000_000
AXIS_NAMES = {
    **dict.fromkeys(("theta", "angle", "rotation_angle", "view"), "view"),
    **dict.fromkeys(("y", "vertical", "row"), "row"),
    **dict.fromkeys(("x", "horizontal", "bin"), "bin"),
}
"""What Data Exchange and CIL call the axes."""
FILTERS = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}
"""Filters of others that projections are compressed by, as the HDF Group has registered them."""
_LISTED = 6  # of the arrays of a layout that is not known


def dataset(file: "h5py.File", path: Path, name: str) -> Any:  # noqa: ANN401 - h5py has no types
    """Return a data set by its place in the file, or None if it is not there."""
    import h5py

    parts = name.strip("/").split("/")
    for part in ("/".join(parts[: depth + 1]) for depth in range(len(parts))):
        if not _leads_somewhere(file, part):
            return None
        if isinstance(file.get(part, getlink=True), h5py.ExternalLink):
            raise _elsewhere(path, part)
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise UnsupportedInput(f"{path}: /{name} is a group; expected numbers")
    if found.external or found.is_virtual or found.file.filename != file.filename:
        raise _elsewhere(path, name)
    return found


def _leads_somewhere(file: "h5py.File", part: str) -> bool:
    import h5py

    try:
        link = file.get(part, getlink=True)
        return isinstance(link, h5py.ExternalLink) or part in file
    except (KeyError, RuntimeError):  # a link to what was left out when its group was copied
        return False


def is_elsewhere(file: "h5py.File", place: str) -> bool:
    """Return whether a place is a link into another file."""
    import h5py

    return isinstance(file.get(place, getlink=True), h5py.ExternalLink)


def _elsewhere(path: Path, part: str) -> UnsupportedInput:
    return UnsupportedInput(
        f"{path}: /{part} is in another file, which is not followed; copy everything into one "
        f"file, with h5py: new['{part}'] = old['{part}'][...]"
    )


def stack(path: Path, name: str, found: Any, order: Sequence[str], some: Sequence[int]) -> Stack:  # noqa: ANN401
    """Return projections of a data set.

    Args:
        path: The file.
        name: Where the data set is.
        found: The data set.
        order: Of its axes.
        some: Which of its views they are; none means all.
    """
    place = f"{path}: /{name}"
    check_type(place, found.dtype)
    check_filters(place, found)
    views, rows, bins = arranged_shape(place, found.shape or (), order)
    check_held(place, found)
    views = len(some) if len(some) else views
    scale = scale_of(place, found.attrs)

    def read(chosen: Sequence[int], part: slice) -> np.ndarray:
        import h5py

        places = [some[view] for view in chosen] if len(some) else chosen
        at = {"view": _stretch(places), "row": part, "bin": slice(None)}
        with parsing(path), h5py.File(path) as again:
            return scale.of(arrange(again[name][tuple(at[axis] for axis in order)], order))

    dtype = np.dtype(np.float32) if scale.words else found.dtype
    return Stack(place, (views, rows, bins), dtype, read, scale.words)


def _stretch(places: Sequence[int]) -> "slice | np.ndarray":
    """Return places as one stretch if they are one, which is read much faster than a list."""
    steps = np.unique(np.diff(places))
    if len(places) and len(steps) < 2 and (len(steps) == 0 or steps[0] > 0):
        step = int(steps[0]) if len(steps) else 1
        return slice(int(places[0]), int(places[-1]) + 1, step)
    return np.asarray(places)


def check_filters(place: str, found: Any) -> None:  # noqa: ANN401 - h5py has no types
    """Refuse a data set compressed by a filter that neither HDF5 nor hdf5plugin has."""
    import h5py

    stored = found.id.get_create_plist()
    for code, _, _, name in (stored.get_filter(n) for n in range(stored.get_nfilters())):
        if h5py.h5z.filter_avail(code):
            continue
        with contextlib.suppress(ImportError):
            import_module("hdf5plugin")  # which makes its filters known
        if not h5py.h5z.filter_avail(code):
            called = FILTERS.get(code) or name.decode(errors="replace") or "of no known name"
            raise UsageError(
                f"{place}: is compressed by the filter {code} ({called[:40]}), which is not part "
                "of HDF5; run `pip install hdf5plugin`"
            )


def check_held(place: str, found: Any) -> None:  # noqa: ANN401 - h5py has no types
    """Refuse a data set that claims more than is stored: a stopped acquisition, a loss, a bomb."""
    filtered = found.id.get_create_plist().get_nfilters() > 0
    needed = volume_of(found.shape, found.dtype)
    check_claim(place, needed, found.id.get_storage_size(), filtered)
    if found.chunks is not None:
        chunks = math.prod(-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
        if (stored := found.id.get_num_chunks()) < chunks:
            raise CorruptInput(
                f"{place}: {chunks - stored} of its {chunks} chunks are missing; copy it again"
            )


def fields(
    file: "h5py.File", path: Path, name: str, order: Sequence[str], pixels: tuple[int, int]
) -> Stack | None:
    """Return projections of air, or without rays, which may be one picture; none without such.

    A data set of no pictures is one that a program made and never filled.
    """
    found = dataset(file, path, name)
    if found is None or found.size == 0:
        return None
    place, shape = f"{path}: /{name}", tuple(found.shape or ())
    for tried in orders_of_fields(order):
        if len(tried) == len(shape) and arranged_shape(place, shape, tried)[1:] == pixels:
            return stack(path, name, found, tried, ())
    raise UnsupportedInput(
        f"{place} has the shape {shape}, but the projections have {pixels} pixels; expected the "
        "same"
    )


def numbers(file: "h5py.File", path: Path, name: str) -> np.ndarray | None:
    """Return a few numbers (n,), all of them finite, or None if they are not there."""
    found = values(file, path, name)
    return None if found is None else finite_angles(f"{path}: /{name}", found, found.size)


def values(file: "h5py.File", path: Path, name: str) -> np.ndarray | None:
    """Return a few numbers (n,), NaN among them, or None if they are not there."""
    found = dataset(file, path, name)
    if found is None:
        return None
    check_type(f"{path}: /{name}", found.dtype)
    check_filters(f"{path}: /{name}", found)
    if found.size > MAX_ANGLES:  # before it is read
        raise UnsupportedInput(
            f"{path}: /{name} has {found.size} values; expected one for each view"
        )
    with parsing(path):
        return np.asarray(found).ravel()


def number(file: "h5py.File", path: Path, name: str) -> float | None:
    """Return one number, or None if it is not there."""
    found = numbers(file, path, name)
    return float(found[0]) if found is not None and len(found) == 1 else None


def flag(file: "h5py.File", path: Path, name: str) -> bool:
    """Return whether a flag is set, which may be a number or an enumeration; no if it is not there.

    One that is neither, or lies elsewhere, is not looked at: flags are no more than remarked on.
    """
    try:
        found = dataset(file, path, name)
    except UnsupportedInput:
        return False
    if found is None or found.size != 1 or found.dtype.kind not in "biu":
        return False
    with parsing(path):
        return bool(np.asarray(found).item())


def unit_of(file: "h5py.File", path: Path, name: str) -> Unit | None:
    """Return the unit of angles, if it is stated."""
    stated = text(file[name].attrs.get("units", ""))
    word = stated.lower()
    if not word:
        return None
    if word in {"deg", "degs", "degree", "degrees", "\N{DEGREE SIGN}"}:
        return "degrees"
    if word in {"rad", "rads", "radian", "radians"}:
        return "radians"
    raise CorruptInput(
        f"{path}: /{name}: its units are {stated[:40]!r}; expected degrees or radians"
    )


def text(attribute: object) -> str:
    """Return an attribute as text, which is stored as text or as bytes, or as an array of one."""
    if isinstance(attribute, np.ndarray) and attribute.size == 1:
        attribute = attribute.item()
    plain = attribute.decode(errors="replace") if isinstance(attribute, bytes) else str(attribute)
    return plain.strip()


def order_of_axes(names: Iterable[str]) -> tuple[str, ...] | None:
    """Return the order that names of axes say; None if one is not known."""
    axes = tuple(AXIS_NAMES.get(name.strip().lower(), "") for name in names)
    return axes if "" not in axes and len(set(axes)) == len(axes) else None


def order_by_angles(place: str, shape: Sequence[int], angles: np.ndarray | None) -> tuple[str, ...]:
    """Return the order of axes by the number of angles, if that shows the views; else the usual."""
    views = [at for at, length in enumerate(shape) if angles is not None and length == len(angles)]
    if len(shape) == 2 and 0 in views:
        return ("view", "bin")
    if len(shape) == 3 and views == [2]:  # as Fortran and MATLAB write (views, rows, bins)
        raise UnsupportedInput(
            f"{place} has the shape {tuple(shape)}, whose last axis has as many entries as there "
            "are angles; give `order='bin,row,view'`, or `order='row,bin,view'`"
        )
    return ("row", "view", "bin") if len(shape) == 3 and views == [1] else AXES


def arrays_in(file: "h5py.File") -> Iterator[str]:
    """Yield the places and shapes of arrays that may be projections, without following links."""
    import h5py

    found: list[str] = []

    def look(name: str, item: object) -> bool | None:
        if isinstance(item, h5py.Dataset) and len(item.shape or ()) in (2, 3):
            found.append(f"/{name} {item.shape}")
        return True if len(found) >= _LISTED else None

    file.visititems(look)
    yield from found
