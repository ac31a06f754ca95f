"""Whether slices belong together and lie evenly: what a volume cannot be made of is refused."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.dicom.slices import APART, HOW, PARTS, WHOSE, Slice

MAX_TILT_DEG = 0.5
"""By how much slices may be sheared. Gantry/Detector Tilt (0018,1120) is nominal, and does not say
whether the slices that are stored still are; their positions do."""
MAX_UNEVEN = 0.01
ROUNDING_MM = 0.02
MOST_ROUNDED = 0.25
"""Share of a step by which rounded positions may be off: a missing slice moves some by a third."""
SAME = 1e-4
"""How much sizes in mm and parts of directions may differ among slices."""


def check_same(slices: Sequence[Slice]) -> None:
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


def check_parts(slices: Sequence[Slice]) -> None:
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


def check_made(slices: Sequence[Slice]) -> None:
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


def check_single(one: Slice) -> None:
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


def check_steps(slices: Sequence[Slice], normal: np.ndarray) -> None:
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
