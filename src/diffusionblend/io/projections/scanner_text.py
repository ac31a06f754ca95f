"""The texts that scanners write beside their TIFF: Nikon's .xtekct and the log of a SkyScan.

Nikon. The source is at the origin, the axis at SrcToObject, ObjectOffsetX beside the central ray
(or where CentreOfRotationTop and Bottom say), turned by ObjectRoll and ObjectTilt, the detector at
SrcToDetector, its first pixel at the top right as the source sees it; at InitialAngle the object is
turned by half a turn, and turns on clockwise. Projections are counts of which WhiteLevel is air.
That is how CIL reads such files (`NikonDataReader`, checked there on scans).

SkyScan. Object to Source and Camera to Source in mm, Image Pixel Size in um at the object, Rotation
Step and Number of Files. The sense of rotation and the row of the source's plane are not in it: it
is taken for counterclockwise, and for the middle row.
"""

import configparser
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.geometry.tools.cil import Panel, from_panel
from diffusionblend.geometry.tools.values import count, number
from diffusionblend.io.files import naming
from diffusionblend.io.projections.geometry_file import (
    AnyFacts,
    ConeFacts,
    Data,
    Even,
    facts_of,
    read_text,
)

_ANY = 64
"""Pixels, where the text does not say how many there are."""
TEXTS = (".xtekct", ".log")
NIKON, SKYSCAN = b"[XTekCT]", b"[System]"


def is_scanner_text(start: bytes) -> bool:
    """Return whether a file that begins so is one of these texts."""
    return start.lstrip(b"\xef\xbb\xbf").startswith((NIKON, SKYSCAN))


def read_scanner_text(path: Path) -> AnyFacts:
    """Read the text of a scanner."""
    parts = _parts(path)
    with naming(path):
        return _nikon(path, parts["XTekCT"]) if "XTekCT" in parts else _skyscan(parts)


def _parts(path: Path) -> dict[str, dict[str, str]]:
    """Return the sections of a text, names as they are."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # else names are lowered
    try:
        parser.read_string(read_text(path).decode("utf-8-sig", errors="replace"))
    except configparser.Error as error:
        reason = " ".join(str(error).split())[:100]
        raise CorruptInput(f"{path}: {reason}; expected lines NAME=VALUE; copy it again") from error
    return {
        name: {key: (value or "").strip() for key, value in parser.items(name)}
        for name in parser.sections()
    }


def _nikon(path: Path, stated: Mapping[str, str]) -> AnyFacts:
    sod, sdd = number(stated, "SrcToObject"), number(stated, "SrcToDetector")
    pixels = count(stated, "DetectorPixelsX", _ANY), count(stated, "DetectorPixelsY", _ANY)
    bin_mm = number(stated, "DetectorPixelSizeX")
    sizes = bin_mm, number(stated, "DetectorPixelSizeY", bin_mm)
    views = count(stated, "Projections")
    top, bottom = (number(stated, f"CentreOfRotation{end}", 0.0) for end in ("Top", "Bottom"))
    roll = np.degrees(-np.arctan2(top - bottom, pixels[1] * sizes[1]))
    axis = number(stated, "ObjectOffsetX", (top + bottom) / 2 * sod / sdd)
    turned = np.arange(views) * number(stated, "AngularStep") + number(stated, "InitialAngle", 0.0)
    panel = Panel(
        source=np.zeros(3),
        detector=np.array([0.0, sdd, 0.0]),
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
    return msgspec.structs.replace(facts, **unknown)


def _axis(tilt_deg: float, roll_deg: float) -> np.ndarray:
    """Return the direction of an axis that is rolled, then tilted."""
    tilt, roll = -np.radians(tilt_deg), np.radians(roll_deg)
    x, z = np.sin(roll), np.cos(roll)
    return np.array([x, -np.sin(tilt) * z, np.cos(tilt) * z])


def _skyscan(parts: Mapping[str, Mapping[str, str]]) -> ConeFacts:
    stated = parts.get("Acquisition", {})
    sod, sdd = number(stated, "Object to Source (mm)"), number(stated, "Camera to Source (mm)")
    pixel = number(stated, "Image Pixel Size (um)") / 1000 * sdd / sod
    ratio = number(parts["System"], "CameraXYRatio", 1.0)
    return ConeFacts(
        schema="diffusionblend-geometry/1",
        angles_deg=Even(
            0.0, number(stated, "Rotation Step (deg)"), count(stated, "Number of Files")
        ),
        bins=count(stated, "Number of Columns") if "Number of Columns" in stated else None,
        rows=count(stated, "Number of Rows") if "Number of Rows" in stated else None,
        bin_mm=pixel,
        row_mm=pixel * ratio,
        sod_mm=sod,
        sdd_mm=sdd,
        data=Data(quantity="counts"),
    )
