"""What lies around a volume: the volumes of its sampling's steps, and its scan.

`reconstruct` writes them: the volumes of the steps of `a.nii.gz` lie in the folder `a.steps`, and
the record `a.nii.gz.json` has their residuals, and the name and SHA-256 of the scan.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from diffusionblend.files import sha256
from diffusionblend.formats.read import READERS
from diffusionblend.provenance import record_of

MAX_RECORD_BYTES = 2**26
_NAME = re.compile(r"step-(\d{1,9})\.nii\.gz")


@dataclass(frozen=True)
class SavedStep:
    """A volume of the sampling.

    Attributes:
        step: Its number.
        place: Its file.
        residual: |A u - y| / |y|; none if the record does not say.
    """

    step: int
    place: Path
    residual: float | None


class _Step(msgspec.Struct):
    step: int
    residual: float | None = None


class _Scan(msgspec.Struct):
    name: str = ""
    sha256: str = ""


class _Record(msgspec.Struct):
    scan: _Scan | None = None
    steps: list[_Step] | None = None


def saved_steps(volume: Path) -> list[SavedStep]:
    """Return the saved steps of a volume's sampling in order; none if there are none."""
    folder = steps_folder(volume)
    if not folder.is_dir():
        return []
    numbers = {int(m[1]): p for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))}
    residuals = {step.step: step.residual for step in _record(volume).steps or []}
    return [SavedStep(n, numbers[n], residuals.get(n)) for n in sorted(numbers)]


def steps_folder(volume: Path) -> Path:
    """Return the place of the steps of a volume: `a.steps` beside `a.nii.gz`."""
    suffix = next((s for s in READERS if volume.name.endswith(s)), "")
    return volume.with_name(f"{volume.name.removesuffix(suffix)}.steps")


def scan_of(volume: Path) -> Path | None:
    """Return the scan that a volume's record names, if the same scan still lies beside it."""
    named = _record(volume).scan
    if named is None:
        return None
    # Its last part only: a record may come from anywhere.
    place = volume.with_name(Path(named.name).name or "none")
    return place if place.is_file() and sha256(place) == named.sha256 else None


def _record(volume: Path) -> _Record:
    """Read what matters here of a record; a damaged one says nothing."""
    path = record_of(volume)
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            return _Record()
        return msgspec.json.decode(path.read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return _Record()
