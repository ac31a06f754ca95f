"""The texts that scanners write beside their TIFF: Nikon's .xtekct and the log of a SkyScan.

Nikon. The source is at the origin, the axis at SrcToObject, ObjectOffsetX beside the central ray
(or where CentreOfRotationTop and Bottom say), turned by ObjectRoll and ObjectTilt, the detector at
SrcToDetector, its first pixel at the top right as the source sees it; at InitialAngle the object is
turned by half a turn, and turns on clockwise. The middle of the detector is DetectorOffsetX to the
left of the central ray as its pixels go, and DetectorOffsetY above it. Projections are counts, and
WhiteLevel is that of air. That is how CIL reads such files (`NikonDataReader`, checked on scans).

SkyScan. Object to Source and Camera to Source in mm, Image Pixel Size in um at the object, Rotation
Step and Number of Files; newer scanners write some names in other letters. A Rotation Direction of
CC is taken for counterclockwise. The log does not say from which end the line of the Optical Axis
counts, nor in which sense the Image Rotation, that of the camera, is meant: the plane of the source
is taken for the middle row and the camera for upright, with a warning if that matters.
"""

import configparser
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry.tools.cil import Panel, from_panel
from diffusionblend.geometry.tools.values import count, number
from diffusionblend.io.files import naming
from diffusionblend.io.projections.formats.angle_list import read_angles
from diffusionblend.io.projections.formats.geometry_file import (
    NAME,
    AnyFacts,
    ConeFacts,
    Data,
    Even,
    PosedFacts,
    facts_of,
    read_text,
)

_ANY = 64
"""Pixels, where the text does not say how many there are."""
FAR = 1.0
"""By how many pixels what is left open may move shadows far from the axis."""
TEXTS = (".xtekct", ".log")
NIKON, SKYSCAN = b"[XTekCT]", b"[System]"


class ScannerFacts(ConeFacts, frozen=True, kw_only=True, tag="cone"):
    """A circular cone beam, and what its text leaves open.

    Attributes:
        doubts: In words, to warn of.
    """

    doubts: tuple[str, ...] = ()


class PosedScannerFacts(PosedFacts, frozen=True, kw_only=True, tag="posed"):
    """The same of a beam whose axis is not upright before its detector."""

    doubts: tuple[str, ...] = ()


def is_scanner_text(start: bytes) -> bool:
    """Return whether a file that begins so is one of these texts."""
    return start.lstrip(b"\xef\xbb\xbf").startswith((NIKON, SKYSCAN))


def read_scanner_text(path: Path, angles_from: Path | None = None) -> AnyFacts:
    """Read the text of a scanner, and the angles that another lists, instead of its own."""
    parts = _parts(path)
    if not {"XTekCT", "System"} & parts.keys():
        raise CorruptInput(f"{path}: expected a section [XTekCT] or [System]; copy it again")
    with naming(path):
        listed = None if angles_from is None else read_angles(angles_from)
        if "XTekCT" in parts:
            return _nikon(path, parts["XTekCT"], listed)
        return _skyscan(parts, listed)


def _parts(path: Path) -> dict[str, dict[str, str]]:
    """Return the sections of a text, names as they are."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # else names are lowered
    lines = read_text(path).decode("utf-8-sig", errors="replace").split("\n")
    try:
        # An indented line is a line like others, not a continuation of the one before.
        parser.read_string("\n".join(line.strip() for line in lines))
    except configparser.Error as error:
        reason = " ".join(str(error).split())[:100]
        raise CorruptInput(f"{path}: {reason}; expected lines NAME=VALUE; copy it again") from error
    return {
        name: {key: (value or "").strip() for key, value in parser.items(name)}
        for name in parser.sections()
    }


def _nikon(path: Path, stated: Mapping[str, str], listed: np.ndarray | None) -> AnyFacts:
    sod, sdd = number(stated, "SrcToObject"), number(stated, "SrcToDetector")
    pixels = count(stated, "DetectorPixelsX", _ANY), count(stated, "DetectorPixelsY", _ANY)
    bin_mm = number(stated, "DetectorPixelSizeX")
    sizes = bin_mm, number(stated, "DetectorPixelSizeY", bin_mm)
    views = count(stated, "Projections")
    top, bottom = (number(stated, f"CentreOfRotation{end}", 0.0) for end in ("Top", "Bottom"))
    roll = np.degrees(-np.arctan2(top - bottom, pixels[1] * sizes[1]))
    axis = number(stated, "ObjectOffsetX", (top + bottom) / 2 * sod / sdd)
    turned = np.arange(views) * number(stated, "AngularStep")
    doubts = () if listed is not None else tuple(_listed_otherwise(path, turned, pixels[0]))
    turned = (turned if listed is None else listed) + number(stated, "InitialAngle", 0.0)
    left, above = (number(stated, f"DetectorOffset{axis}", 0.0) for axis in "XY")
    panel = Panel(
        source=np.zeros(3),
        detector=np.array([-left, sdd, above]),
        axis=np.array([-axis, sod, 0.0]),
        axis_along=_axis(number(stated, "ObjectTilt", 0.0), number(stated, "ObjectRoll", roll)),
        pixels=pixels,
        pixel_mm=sizes,
        origin="top-right",
        angles_deg=180.0 - turned,
    )
    folder = stated.get("InputFolderName", "")
    data = Data(
        file=folder if folder and (path.parent / folder).is_dir() else None,
        quantity="counts",
        i0=number(stated, "WhiteLevel") if stated.get("WhiteLevel") else None,
    )
    facts = facts_of(from_panel(panel), data, known_axis=axis != 0)
    unknown = {name: None for name in ("bins", "rows") if getattr(facts, name) == _ANY}
    cls = ScannerFacts if isinstance(facts, ConeFacts) else PosedScannerFacts
    said = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return cls(**(said | unknown), doubts=doubts)


def _listed_otherwise(path: Path, turned: np.ndarray, bins: int) -> Iterator[str]:
    """Yield that a text beside lists other angles than even steps, where that moves shadows."""
    names = (f"{path.stem}.ang", f"{path.stem}_ctdata.txt", "_ctdata.txt")
    beside = next((file for name in names if (file := path.with_name(name)).is_file()), None)
    if beside is None:
        return
    try:
        listed = read_angles(beside)
    except CorruptInput:
        return
    if len(listed) != len(turned):
        return
    apart = listed - turned
    apart = np.abs(apart - np.median(apart))
    if math.radians(float(apart.max())) * bins / 2 > FAR:
        yield (
            f"{beside.name} lists angles up to {apart.max():.3g} degrees away from the even "
            f"steps of {path.name}, which were used, as CIL does and TIGRE does not; "
            f"`angles_from={beside.name!r}` uses the list: see which picture is sharper"
        )


def _axis(tilt_deg: float, roll_deg: float) -> np.ndarray:
    """Return the direction of an axis that is rolled, then tilted."""
    tilt, roll = -np.radians(tilt_deg), np.radians(roll_deg)
    x, z = np.sin(roll), np.cos(roll)
    return np.array([x, -np.sin(tilt) * z, np.cos(tilt) * z])


def _skyscan(parts: Mapping[str, Mapping[str, str]], listed: np.ndarray | None) -> ScannerFacts:
    stated = {name.lower(): value for name, value in parts.get("Acquisition", {}).items()}
    system = {name.lower(): value for name, value in parts["System"].items()}
    trajectory = stated.get("scanning trajectory", "ROUND")
    if trajectory.upper() != "ROUND":
        raise UnsupportedInput(
            f"Scanning Trajectory is {trajectory[:40]!r}; expected ROUND; state that path in a "
            f'{NAME}, of a helix by "helix_pitch_mm"'
        )
    sod, sdd = number(stated, "object to source (mm)"), number(stated, "camera to source (mm)")
    pixel = number(stated, "image pixel size (um)") / 1000 * sdd / sod
    ratio = next((n for n in ("cameraxyratio", "camera x/y ratio") if n in system), "")
    sense = -1 if stated.get("rotation direction", "CC").upper() == "CW" else 1
    step = sense * number(stated, "rotation step (deg)")
    even = Even(0.0, step, count(stated, "number of files"))
    facts = ScannerFacts(
        schema="diffusionblend-geometry/1",
        angles_deg=even if listed is None else tuple((sense * listed).tolist()),
        bins=count(stated, "number of columns") if "number of columns" in stated else None,
        rows=count(stated, "number of rows") if "number of rows" in stated else None,
        bin_mm=pixel,
        row_mm=pixel * number(system, ratio, 1.0),
        sod_mm=sod,
        sdd_mm=sdd,
        data=Data(quantity="counts"),
    )
    return msgspec.structs.replace(facts, doubts=tuple(_doubts(facts, stated)))


def _doubts(facts: ScannerFacts, stated: Mapping[str, str]) -> Iterator[str]:
    """Yield that source or camera do not stand as they are taken to, where that moves shadows."""
    if not (facts.rows and facts.bins):
        return
    line = number(stated, "optical axis (line)", facts.rows / 2)
    beside = abs(line - facts.rows / 2)
    if beside * facts.bins / 2 * (facts.bin_mm or 0.0) / facts.sdd_mm > FAR:
        yield (
            f"its Optical Axis is line {line:g} of {facts.rows}, but not from which end that is "
            f"counted: the plane of the source is taken for the middle row; state it in a {NAME} "
            f'as "row_offset_mm", {beside * (facts.row_mm or 0.0):.4g} or the negative, whichever '
            "is sharper above and below"
        )
    rolled = number(stated, "image rotation", 0.0)
    if math.radians(abs(rolled)) * max(facts.rows, facts.bins) / 2 > FAR:
        yield (
            f"its Image Rotation is {rolled:g} degrees, but not in which direction: the camera is "
            f'taken for upright; state it in a {NAME} as "detector_roll_degrees", {rolled:g} or '
            f"{-rolled:g}, whichever is sharper above and below"
        )
