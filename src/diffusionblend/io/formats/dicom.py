"""A DICOM CT series: one slice a file, or many frames, in a folder or a zip, read with pydicom.

Axes follow DICOM's patient coordinates (LPS, in mm) and are turned to RAS+. Positions are decimal
strings, often rounded to 0.01 mm, so that a check of them needs some room.
"""

import itertools
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionblend.data.units import HU_AIR
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.archive import File
from diffusionblend.io.formats.dicom_pixels import read_pixels
from diffusionblend.io.formats.dicom_series import one_series
from diffusionblend.io.formats.dicom_slices import (
    APART,
    HOW,
    LOSS,
    PARTS,
    TURNS,
    WHOSE,
    Slice,
    slices_of,
)
from diffusionblend.io.formats.headers import LPS_TO_RAS, check_header, volume_in_order

log = logging.getLogger(__name__)
BELOW_TISSUE = -900.0
"""HU that no tissue has."""
MAX_TILT_DEG = 0.5
"""By how much slices may be sheared. Gantry/Detector Tilt (0018,1120) is nominal, and does not say
whether the slices that are stored still are; their positions do."""
MAX_UNEVEN = 0.01
ROUNDING_MM = 0.02
MOST_ROUNDED = 0.25
"""Share of a step by which rounded positions may be off: a missing slice moves some by a third."""
LOST = "1"
"""What Lossy Image Compression says of pixels that lost something, as a number: 01."""
SAME = 1e-4
"""How much sizes in mm and parts of directions may differ among slices."""


@dataclass(frozen=True)
class Stack:
    """The slices of a series, in order, and where they lie.

    Attributes:
        slices: From one end to the other, along the normal.
        affine: 4 x 4, from (column, row, slice) to millimetres, RAS+.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.slices[0].plane.size
        return columns, rows, len(self.slices)


def read(path: Path) -> Volume:
    """Read the one CT series of a folder or a zip."""
    with one_series(path) as files:
        return read_series(files, str(path))


def read_shape(path: Path) -> tuple[int, ...]:
    """Return columns, rows and slices, from the headers."""
    with one_series(path) as files:
        return stacked(files, str(path)).shape


def read_series(files: Sequence[File], name: str) -> Volume:
    """Read the files of one CT series.

    Args:
        files: One slice each, or frames of enhanced CT, in any order.
        name: What to call the series in messages.
    """
    stack = stacked(files, name)
    columns, rows, count = stack.shape
    hu, held = np.empty((count, rows, columns), np.float32), None
    for index, one in enumerate(stack.slices):
        if one.file is not held:
            stored, padded = read_pixels(one.file, one.plane.size, one.frames)
            held = one.file
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            hu[index] = stored[one.frame] * one.slope + one.intercept
        hu[index][_outside(hu[index], padded[one.frame])] = HU_AIR
    _tell_of_flat(stack, hu)
    return volume_in_order(name, hu.T, stack.affine)


def _tell_of_flat(stack: Stack, hu: np.ndarray) -> None:
    """Name slices of one value: they may be air, or room that an interrupted copy left empty."""
    flat = [one.file for one, pixels in zip(stack.slices, hu, strict=True) if not np.ptp(pixels)]
    if 0 < len(flat) < len(hu):
        log.warning(
            "%s: all its pixels have the same value, and so do those of %d other slices; if that "
            "is wrong, copy them again",
            flat[0],
            len(flat) - 1,
        )


def _outside(hu: np.ndarray, padded: np.ndarray) -> np.ndarray:
    """Return which padded pixels (rows, columns) are outside the measured field.

    A padding value that tissue or metal may have, such as the largest, counts where it is joined
    to the edge of the slice.
    """
    if not padded.any() or hu[padded].max() < BELOW_TISSUE:
        return padded
    from scipy.ndimage import label

    regions, _ = label(padded)
    edges = [regions[0], regions[-1], regions[:, 0], regions[:, -1]]
    return padded & np.isin(regions, np.concatenate(edges))


def stacked(files: Sequence[File], name: str) -> Stack:
    """Read the headers of one CT series, and put its slices in order."""
    slices = [one for file in files for one in slices_of(file)]
    _check_same(slices)
    _check_parts(slices)
    row, column = _directions(slices[0])
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(normal @ s.position))
    if len(slices) == 1:
        _check_single(slices[0])
    else:
        _check_steps(slices, normal)
        _check_made(slices)
    stack = Stack(tuple(slices), _affine(slices, row, column))
    check_header(name, stack.shape, stack.affine)
    _tell_of_gaps(slices, name)
    _tell_of_turns(slices)
    _tell_of_pairs(slices)
    _tell_of_loss(slices, name)
    return stack


def _tell_of_gaps(slices: Sequence[Slice], name: str) -> None:
    """Name numbers that are left out: where every second slice is lost, positions are even.

    Where the first or the last slices are lost, numbers show nothing, but their count may.
    """
    acquired = max((one.acquired or 0 for one in slices), default=0)
    found = [one.instance for one in slices if one.instance is not None]
    first, last = min(found, default=0), max(found, default=0)
    if last - first + 1 > len(slices):
        log.warning(
            "%s: its slices are numbered from %d to %d, but there are only %d; if some were "
            "lost, copy the series again",
            name,
            first,
            last,
            len(slices),
        )
    elif acquired > len(slices):
        log.warning(
            "%s: ImagesInAcquisition is %d, but there are only %d slices; if some are missing "
            "or in another folder, put all into one folder",
            name,
            acquired,
            len(slices),
        )


def _tell_of_turns(slices: Sequence[Slice]) -> None:
    """Name slices, sorted, of one acquisition or reconstruction between those of another."""
    for tag in TURNS:
        told = [one for one in slices if tag in one.made]
        parts = [key for key, _ in itertools.groupby(one.made[tag] for one in told)]
        if len(set(parts)) < len(parts):
            first, second = parts[:2]
            log.warning(
                "%s: slices of %s %s and %s are interleaved; if they are two scans or two "
                "reconstructions, give only one of them",
                told[0].file,
                tag,
                first,
                second,
            )


def _tell_of_pairs(slices: Sequence[Slice]) -> None:
    """Name slices, sorted, of one number beside each other: those of two volumes may alternate.

    Two volumes one above the other may have the same numbers, too, and meet at one pair.
    """
    pairs = [
        (one, other)
        for one, other in itertools.pairwise(slices)
        if one.file != other.file and one.instance is not None and one.instance == other.instance
    ]
    if len(pairs) > 1 and len({one.instance for one, _ in pairs}) > 1:
        one, other = pairs[0]
        log.warning(
            "%s: has the same InstanceNumber, %g, as its neighbour %s, and there are %d more "
            "such pairs; if they are two scans or two reconstructions, give only one of them",
            one.file,
            one.instance,
            other.file.name,
            len(pairs) - 1,
        )


def _tell_of_loss(slices: Sequence[Slice], name: str) -> None:
    """Say if pixels were compressed with loss: their HU are near those that were measured."""
    flag, *how = LOSS
    lost = [one for one in slices if one.made.get(flag) == LOST]
    if lost:
        told = [f"{tag} {lost[0].made[tag]}" for tag in how if tag in lost[0].made]
        log.warning(
            "%s: %d of its %d slices were compressed with loss%s, which changed their HU "
            "slightly: give the original series if there is one",
            name,
            len(lost),
            len(slices),
            f" ({', '.join(told)})" if told else "",
        )


def _check_same(slices: Sequence[Slice]) -> None:
    """Refuse slices whose planes differ, and name one that is unlike most: it may be a scout."""
    planes = Counter(one.plane.rounded for one in slices)
    usual = max(planes, key=planes.__getitem__)
    first = next(one for one in slices if one.plane.rounded == usual)
    for one in slices:
        for field, known in vars(first.plane).items():
            value = getattr(one.plane, field)
            same = value == known if isinstance(value, str) else np.allclose(value, known, 0, SAME)
            if not same:
                raise UnsupportedInput(
                    f"{one.file}: mixed {field}: {value or 'none'}, but {known} in "
                    f"{first.file.name}; {_way_to_same(field, slices)}"
                )


def _way_to_same(field: str, slices: Sequence[Slice]) -> str:
    """Say what to do with slices that differ in their planes: not all of them are of two series."""
    frames = {one.plane.frame for one in slices}
    if field != "frame" or 1 < len(frames - {""}) < len(slices):
        return "expected the same in all slices; remove this slice or split the series"
    each = "some slices have no" if "" in frames else "each slice has a"
    return (
        f"{each} FrameOfReferenceUID{'' if '' in frames else ' of its own'}, as some anonymising "
        "programs leave it; export them again, or give all slices of one series the same one"
    )


def _check_parts(slices: Sequence[Slice]) -> None:
    """Refuse frames that were divided among several files if one of those is not there.

    What is left of them is even, if it was the first or the last.
    """
    whole, *numbers = PARTS
    for uid in {one.made[whole] for one in slices if whole in one.made}:
        parts = [one for one in slices if one.made.get(whole) == uid]
        told = [one.made.get(number, "") for one in parts for number in numbers]
        most = max((int(number) for number in told if number.isdecimal()), default=0)
        held = len({one.file for one in parts})
        if held < most:
            raise CorruptInput(
                f"{parts[0].file}: its frames were divided among {most} files, and only {held} "
                "are here; put all into one folder"
            )


def _check_made(slices: Sequence[Slice]) -> None:
    """Refuse slices of several patients, phases or ways to reconstruct them, where that is stated.

    Such slices may lie evenly one between the other, or one above the other. If each slice has its
    own value, that is a count and shows no groups. Who the patient is, no message says.
    """
    for tag in (*WHOSE, *HOW):
        told = [one for one in slices if tag in one.made]
        counts = Counter(one.made[tag] for one in told)
        if 1 < len(counts) < len(told):
            usual = max(counts, key=counts.__getitem__)
            first = next(one for one in told if one.made[tag] == usual)
            one = next(one for one in told if one.made[tag] != usual)
            values = "" if tag in WHOSE else f": {one.made[tag]}, but {first.made[tag]}"
            raise UnsupportedInput(
                f"{one.file}: mixed {tag}{values or ', another than'} in {first.file.name}; "
                "expected the same in all slices; split the series"
            )


def _directions(one: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors along a row and along a column."""
    row, column = np.array(one.plane.orientation).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose([*lengths, row @ column], [1, 1, 0], 0, 1e-2):
        raise CorruptInput(
            f"{one.file}: ImageOrientationPatient is {one.plane.orientation}; expected two unit "
            "vectors at right angles; repair the header"
        )
    return row / lengths[0], column / lengths[1]


def _check_single(one: Slice) -> None:
    """Refuse a single slice that does not say how thick it is, or that may be tilted."""
    if one.thickness <= 0:
        raise UnsupportedInput(
            f"{one.file}: is the only slice of its series, a two-dimensional image, and does not "
            "state its thickness; set SliceThickness, or give a series of two or more slices"
        )
    if abs(one.tilt) > MAX_TILT_DEG:
        raise UnsupportedInput(
            f"{one.file}: has a gantry tilt of {one.tilt:g} degrees, and with a single slice "
            "nobody can tell whether it was corrected; resample it to straight axes first"
        )


def _check_steps(slices: Sequence[Slice], normal: np.ndarray) -> None:
    """Refuse slices, sorted along the normal, that do not lie evenly one above the other."""
    positions = np.array([one.position for one in slices])
    along = positions @ normal
    steps = np.diff(along)
    low = int(steps.argmin())
    if steps[low] < ROUNDING_MM / 2:
        apart = _way_apart(slices[low], slices[low + 1], steps.max() < ROUNDING_MM / 2)
        raise CorruptInput(
            f"{slices[low + 1].file}: at {along[low]:g} mm, where {slices[low].file.name} is, "
            f"too: two slices in one place; {apart}"
        )
    _check_straight(slices, positions, along, normal)
    uneven = np.abs(steps - np.median(steps))
    even = uneven.max() <= max(MAX_UNEVEN * np.median(steps), ROUNDING_MM)
    if not (even or _is_rounded(along)):
        at = int(uneven.argmax())
        raise CorruptInput(
            f"{slices[at + 1].file}: missing slice or mixed spacing: {steps[at]:g} mm after the "
            f"slice at {along[at]:g} mm, {slices[at].file.name}; elsewhere {np.median(steps):g} "
            "mm; add the slice or split the series"
        )


def _way_apart(one: Slice, other: Slice, everywhere: bool) -> str:
    """Say why two slices lie at one place, where perhaps all others lie too, and what to do."""
    if everywhere:
        return (
            "and so are all the others; export the series again, with the positions of its slices"
        )
    for tag in APART:
        first, second = (made.made.get(tag, "none") for made in (one, other))
        if first != second:
            return f"they differ in {tag}: {first} and {second}; give the slices of one of them"
    # Last: an export may have given all slices one identifier.
    name = one.made.get("SOPInstanceUID")
    if one.file != other.file and name is not None and name == other.made.get("SOPInstanceUID"):
        return "they are the same one, by SOPInstanceUID; remove one of them"
    return "expected one slice at each position; remove the duplicate or split the series"


def _is_rounded(along: np.ndarray) -> bool:
    """Return whether sorted positions (slices,) are even but for their few decimals."""
    decimals = next((d for d in range(3) if np.allclose(along, along.round(d), 0, 1e-4)), None)
    if decimals is None:
        return False
    off = np.abs(along - np.linspace(along[0], along[-1], len(along))).max()
    step = (along[-1] - along[0]) / (len(along) - 1)
    return bool(off <= min(10.0**-decimals, MOST_ROUNDED * step) + 1e-6)


def _check_straight(
    slices: Sequence[Slice], positions: np.ndarray, along: np.ndarray, normal: np.ndarray
) -> None:
    """Refuse slices that are shifted in their planes: positions (slices, 3) and along the normal.

    A tilted gantry shifts each a little further than the last.
    """
    across = positions - positions[0] - np.outer(along - along[0], normal)
    room = math.tan(math.radians(MAX_TILT_DEG)) * (along - along[0])
    aside = np.linalg.norm(across, axis=1) - room - 0.1 * min(slices[0].plane.spacing)
    if aside.max() > 0:
        raise UnsupportedInput(
            f"{slices[int(aside.argmax())].file}: at {along[aside.argmax()]:g} mm, does not lie "
            f"along the normal of {slices[0].file.name} (gantry tilt, or shifted slices); resample "
            "it to straight axes first"
        )


def _affine(slices: Sequence[Slice], row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the affine (4 x 4) from (column, row, slice) to millimetres, RAS+."""
    spacing = slices[0].plane.spacing
    first, last = np.array(slices[0].position), np.array(slices[-1].position)
    normal = np.cross(row, column) * slices[0].thickness
    affine = np.eye(4)
    # PixelSpacing is the distance of the rows, then that of the columns.
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    affine[:3, 2] = (last - first) / (len(slices) - 1) if len(slices) > 1 else normal
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine
