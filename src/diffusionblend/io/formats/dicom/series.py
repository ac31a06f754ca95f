"""The one series of CT in a folder or a zip, and what else lies there, below it or beside it.

A part of a series must not pass for a shorter one: what is known of the rest is reported.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from diffusionblend.errors import CorruptInput, DiffusionBlendError, UnsupportedInput
from diffusionblend.io.formats import archive
from diffusionblend.io.formats.archive import File
from diffusionblend.io.formats.dicom.files import (
    by_series,
    dicom_files,
    dicom_series,
    is_dicom,
    is_hidden,
    number_or_none,
    read_header,
    said,
    slices_among,
    value,
)
from diffusionblend.io.formats.dicom.index import images_of, is_index
from diffusionblend.io.formats.dicom.slices import ENHANCED_CT, sort_of
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.unread import CONVERT, way_to_read
from diffusionblend.io.tree import folders_below, some_of

log = logging.getLogger(__name__)

ZARR = {".zattrs", ".zgroup", "zarr.json"}
"""Every folder of a Zarr has one of these files."""
MOST_FILES = 20_000
"""How many files and folders below a series are searched for more of it: each file is opened."""
NEAR = 20
"""How many folders before and after that of a series, by name, are looked at for more of it, and
how many of their first files."""

MOST_NAMED = 5
"""Series of a folder that are named, and from one more on they may be single slices."""
IDENTITY = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient")
"""What distinguishes slices, even if an export has given all of them one identifier."""


@contextlib.contextmanager
def one_series(path: Path) -> Iterator[list[File]]:
    """Yield the files of the one series in a folder or a zip, as long as that is open.

    In a zip they may lie in folders; so they may where an index names them (DICOMDIR), which is
    given itself or is all that a folder holds. A file that is not a single slice is a series
    itself.
    """
    path = _index_alone(path) or path
    with _files(path) as files:
        series = by_series(files)
        if not series:
            raise CorruptInput(_nothing_in(path))
        uid = _only_ct(path, series)
        if path.is_dir():
            _check_below(path, uid, _dicom_below(path))
            _tell_of_beside(path, uid, series[uid])
        elif is_alone(path):
            _tell_of_rest(path, uid)
        yield series[uid]


def _only_ct(path: Path, series: Mapping[str, Sequence[File]]) -> str:
    """Return the UID of the one series, or of the only one of slices of CT; name the others."""
    kinds = {uid: sort_of(files) for uid, files in series.items()}
    told = {
        uid: f"{uid} ({kinds[uid]}, {len(files)} files){_where(path, files)}"
        for uid, files in series.items()
    }
    ct = [uid for uid in series if kinds[uid] == "CT" or len(series) == 1]
    if len(ct) != 1:
        some = [*told.values()][:MOST_NAMED]
        more = f" and {len(series) - len(some)} more" if len(series) > len(some) else ""
        raise UnsupportedInput(
            f"{path}: {len(series)} series: {', '.join(some)}{more}; expected one of CT; "
            f"{_way_to_one(path, series, ct)}"
        )
    for other in series.keys() - ct:
        log.warning("%s: holds another series, %s; left out", path, told[other])
    return ct[0]


def _way_to_one(path: Path, series: Mapping[str, Sequence[File]], ct: Sequence[str]) -> str:
    """Say what to do with several series: with one for each slice they are none."""
    files = [file for uid in ct for file in series[uid]]
    single = len(files) == len(ct) > 0
    if single and path.is_dir() and all(map(is_alone, files)):
        return f"give one of the files {some_of([file.name for file in files])}"
    if single and len(ct) > MOST_NAMED:
        return (
            "each slice has a SeriesInstanceUID of its own, as some anonymising programs leave "
            "it; export them again, or give all slices of one series the same one"
        )
    return "give the folder of one" if is_index(path) else "give each a folder of its own"


def _where(path: Path, files: Sequence[File]) -> str:
    """Name the folders of a series that an index names; the others lie in one."""
    if not is_index(path):
        return ""
    return f" in {_folders(path.parent, [Path(str(file)) for file in files])}"


def _index_alone(path: Path) -> Path | None:
    """Return the index that is all of DICOM directly in a folder; None if there are slices."""
    with parsing(path):
        files = sorted(path.iterdir()) if path.is_dir() else []
    index = next(filter(is_index, files), None)
    if index is None or any(is_dicom(file) for file in files if file != index):
        return None
    return index


@contextlib.contextmanager
def _files(path: Path) -> Iterator[list[File]]:
    if is_index(path):
        yield list(images_of(path))
    elif path.is_dir():
        yield list(dicom_files(path))
    elif is_alone(path):
        yield [path]
    elif path.is_file() and path.suffix.lower() != archive.SUFFIX:
        raise UnsupportedInput(f"{path}: {way_to_series(path)}")
    else:
        with archive.members(path) as members:
            yield list(slices_among(members))


def is_alone(path: File) -> bool:
    """Return whether a file of DICOM is not a single slice of CT: of enhanced CT it is a volume.

    What is neither is refused as what it is, which a folder of it would not change.
    """
    tags = ["Modality", "SOPClassUID", "NumberOfFrames"]
    with contextlib.suppress(CorruptInput, UnsupportedInput):
        if is_dicom(path):
            header = read_header(path, tags)
            modality, kind = (value(path, header, tag) for tag in tags[:2])
            frames = number_or_none(path, header, tags[2]) or 1
            return modality not in (None, "", "CT") or kind in ENHANCED_CT or frames > 1
    return False


def way_to_series(path: Path) -> str:
    """Say what to give for a series instead of a file that is not a zip."""
    if is_dicom(path):
        return "is a single DICOM file; give the folder of its series"
    return "is not a DICOM series; give the folder of one, or a .zip"


def _dicom_below(folder: Path) -> list[Path]:
    """Return the DICOM files in the subfolders of a folder, sorted; links are not followed."""
    cure = "give the folder of one series, with nothing else below it"
    return [
        place / name
        for place, names in folders_below(folder, MOST_FILES, cure)
        for name in names
        if place != folder and is_dicom(place / name)
    ]


def _told_below(folder: Path) -> list[Path]:
    """Return the DICOM files in subfolders, for a hint: none if they cannot all be looked at."""
    with contextlib.suppress(DiffusionBlendError, OSError):
        return _dicom_below(folder)
    return []


def _check_below(path: Path, uid: str, below: Sequence[Path]) -> None:
    """Refuse a series that continues in subfolders, and name what else is there."""
    series = by_series(below)
    if uid in series:
        files = series.pop(uid)
        raise UnsupportedInput(
            f"{path}: {len(files)} more files of its series are in {_folders(path, files)}; put "
            "all into one folder, or into one .zip"
        )
    for files in series.values():
        log.warning("%s: another series is in %s; left out", path, _folders(path, files))


def _tell_of_beside(path: Path, uid: str, files: Sequence[File]) -> None:
    """Name folders beside this one that hold slices of its series which it does not hold itself.

    They may be another phase of it, or the rest of a volume that was split.
    """
    ours: set[tuple[str, ...]] = set()
    more: dict[Path, int] = {}
    for folder in _near(path.resolve()):
        with contextlib.suppress(OSError, CorruptInput, UnsupportedInput):  # of others' files
            some = sorted(folder.iterdir())[:NEAR]
            first = next(filter(is_dicom, some), None)
            if first is None or said(first, "SeriesInstanceUID") != (uid,):
                continue
            ours = ours or {said(file, *IDENTITY) for file in files}
            theirs = dicom_series(folder).get(uid, [])
            more[folder] = sum(said(file, *IDENTITY) not in ours for file in theirs)
    if any(more.values()):
        log.warning(
            "%s: %d more files of its series are beside it, in %s; left out: if they belong to "
            "this volume, put all into one folder",
            path,
            sum(more.values()),
            some_of([folder.name for folder, count in more.items() if count]),
        )


def _tell_of_rest(path: Path, uid: str) -> None:
    """Say if frames of a series lie in other files of its folder, as phases or parts of it do."""
    with contextlib.suppress(OSError, CorruptInput, UnsupportedInput):  # of others' files
        more = len(dicom_series(path.parent).get(uid, [])) - 1
        if more > 0:
            log.warning(
                "%s: %d more files of its series are beside it; left out: if they belong to this "
                "volume, give the folder",
                path,
                more,
            )


def _near(folder: Path) -> list[Path]:
    """Return the folders beside one: of many those of near names, as parts of a series have."""
    beside: list[Path] = []
    with contextlib.suppress(OSError):
        found = (other for other in folder.parent.iterdir() if not is_hidden(other))
        beside = sorted(other for other in found if other.is_dir() and not other.is_symlink())
    at = beside.index(folder) if folder in beside else 0
    return [other for other in beside[max(0, at - NEAR) : at + NEAR + 1] if other != folder]


def _folders(path: Path, files: Sequence[Path]) -> str:
    """Name the first few folders below another in which files lie."""
    return some_of([f"{file.parent.relative_to(path).as_posix()}/" for file in files])


def _nothing_in(path: Path) -> str:
    place = "this folder" if path.is_dir() else "this zip"
    if below := _told_below(path):  # a zip has none
        split = _in_several(below)
        cure = (
            f"put all files of the series {split}, which are now in several, into one folder or "
            "one .zip"
            if split
            else "give the folder of one series"
        )
        return (
            f"{path}: no slices in this folder, but {len(below)} DICOM files in "
            f"{_folders(path, below)}; {cure}"
        )
    names = _names_in(path)
    if names & ZARR:
        way = "give it a name" if path.is_dir() else "unpack it into a folder with a name"
        return f"{path}: is a Zarr, but its name does not say so; {way} that ends in .ome.zarr"
    if not names:
        return f"{path}: no DICOM file in {place}; expected the files of one CT series"
    some = sorted(names)[:3]
    unpacked = "" if path.is_dir() else "unpack it and "
    ways = {way_to_read(path / name) for name in names} - {CONVERT}
    way = f"; {ways.pop()}" if len(ways) == 1 else ""
    return (
        f"{path}: no DICOM file in {place}, but {', '.join(some)}; {unpacked}give the name of a "
        f"volume, or the files of one CT series{way}"
    )


def _in_several(below: Sequence[Path]) -> str:
    """Return the UID of a series whose files lie in several folders; empty if there is none.

    Each of the folders alone would pass for a shorter series.
    """
    with contextlib.suppress(CorruptInput, UnsupportedInput):  # of a damaged file of any other
        for uid, files in by_series(below).items():
            if len({file.parent for file in files}) > 1:
                return uid
    return ""


def _names_in(path: Path) -> set[str]:
    """Return the names of the files in a folder or a zip."""
    if path.is_dir():
        return {file.name for file in path.iterdir()}
    with archive.members(path) as members:
        return {member.name for member in members}
