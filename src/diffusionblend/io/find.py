"""Find the volumes in a folder and all its subfolders, without reading a voxel."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusionblend.data.hounsfield import check_scale
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, DiffusionBlendError, UnsupportedInput
from diffusionblend.io.files import as_utf8, naming
from diffusionblend.io.formats.dicom.files import dicom_files, dicom_series, is_dicom, said
from diffusionblend.io.formats.dicom.volume import read_series
from diffusionblend.io.formats.registry import is_volume, reader_of
from diffusionblend.io.tree import some_of
from diffusionblend.io.volumes import read_volume

PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
"""Where a slice lies; frames of enhanced CT state it elsewhere, and a file of them is whole."""


@dataclass(frozen=True)
class Candidate:
    """What may be a volume: reading it tells.

    Attributes:
        name: Its file or folder, relative to the folder that was searched, with the end of the
            series' UID where a folder holds several.
        files: One file or folder, or the files of a DICOM series.
        uid: Of a DICOM series; empty if it is none, or is damaged.
        parts: Folders in which the slices of one volume lie; none if it is one.
    """

    name: str
    files: tuple[Path, ...]
    uid: str = ""
    parts: tuple[str, ...] = ()

    def read(self) -> Volume:
        """Read it."""
        if self.parts:
            raise UnsupportedInput(
                f"{self.name}: its slices are in several folders, {some_of(self.parts)}; put all "
                "files of the series into one folder"
            )
        if is_volume(self.files[0]):
            volume = read_volume(self.files[0])
        else:
            volume = read_series(list(self.files), self.name)
        with naming(self.name):
            check_scale(self.name, volume.hu)
        return volume


def find_volumes(folder: Path) -> list[Candidate]:
    """Return the volumes under a folder, sorted by name.

    A file or folder of any format that is read is one, and so is a DICOM series of any one folder.
    Hidden files and folders are left out, as are archives, and links to folders are not followed.
    """
    found: list[Candidate] = []
    for place, subfolders, names in os.walk(folder, onerror=_refuse):
        subfolders[:] = _visible(subfolders)
        files = [Path(place, name) for name in _visible(names)]
        folders = [Path(place, name) for name in subfolders]
        volumes = [path for path in files + folders if is_volume(path)]
        subfolders[:] = [folder.name for folder in folders if folder not in volumes]
        found += [Candidate(_named(file, folder), _held(file)) for file in volumes]
        if any(is_dicom(file) for file in files if file not in volumes):
            found += _series(Path(place), folder)
    return sorted(_whole(sorted(found, key=_name)), key=_name)


def _name(candidate: Candidate) -> str:
    return candidate.name


def _whole(found: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield the candidates, and one in place of those that are parts of one volume.

    Each part would pass for a volume, of slices that are further apart or of a single one.
    """
    by_uid: dict[str, list[Candidate]] = {}
    for candidate in found:
        by_uid.setdefault(candidate.uid, []).append(candidate)
    for uid, each in by_uid.items():
        if uid and len(each) > 1 and _are_parts(each):
            files = tuple(file for candidate in each for file in candidate.files)
            parts = tuple(candidate.name for candidate in each)
            yield Candidate(f"{parts[0]}#{uid[-8:]}", files, uid, parts)
        else:
            yield from each


def _are_parts(candidates: Sequence[Candidate]) -> bool:
    """Return whether no two of all files lie at one place, as those of copies and phases do."""
    files = [file for candidate in candidates for file in candidate.files]
    with contextlib.suppress(CorruptInput, UnsupportedInput):  # reading them says why
        return len({said(file, *PLACE) for file in files}) == len(files)
    return False


def _named(path: Path, folder: Path) -> str:
    """Return a name relative to the folder, which journals and packs can hold."""
    return as_utf8(path.relative_to(folder).as_posix())


def _held(file: Path) -> tuple[Path, ...]:
    """Return the files of which a volume is made; of a damaged one its own: reading it says why."""
    with contextlib.suppress(DiffusionBlendError):
        return reader_of(file).files(file)
    return (file,)


def _series(place: Path, folder: Path) -> list[Candidate]:
    """Return the DICOM series directly in the folder `place`."""
    name = _named(place, folder)
    try:
        series = dicom_series(place)
    except (CorruptInput, UnsupportedInput):
        # One damaged file must not hide the other folders: reading this candidate names it.
        return [Candidate(name, tuple(dicom_files(place)))]
    return [
        Candidate(name if len(series) == 1 else f"{name}#{uid[-8:]}", tuple(files), uid)
        for uid, files in series.items()
    ]


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _refuse(error: OSError) -> None:
    raise CorruptInput(f"{error.filename}: cannot be read ({error.strerror}); check the folder")
