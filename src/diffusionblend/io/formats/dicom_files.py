"""DICOM files: which there are, what series they belong to, and single values of their headers.

A DICOMDIR is never followed: it may name any file. What is read is what lies in the folder, or in
the zip. What lies beside slices and is no slice is known not to belong to them, or is named: a copy
that was cut short must not pass for a shorter series; nor one that is hidden, packed or a link that
leads nowhere.
"""

import contextlib
import gzip
import logging
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats import archive
from diffusionblend.io.formats.archive import File, Member, opened, size_of
from diffusionblend.io.formats.foreign import extra, parsing
from diffusionblend.io.formats.unread import CONVERT, way_to_read

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

AnyFile = TypeVar("AnyFile", Path, Member, File)
log = logging.getLogger(__name__)

MAGIC, MAGIC_AT = b"DICM", 128
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""Groups of the first element of a file without a preamble, little endian."""
PACKED = b"\x1f\x8b"
COPY_AGAIN = "export it again with this value, or take it out if it is no slice"
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
NO_SLICES = (
    *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".htm", ".html", ".css"),
    *(".json", ".xml", ".yaml", ".yml", ".toml", ".ini", ".inf", ".cfg", ".csv", ".tsv", ".xlsx"),
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".svg", ".tif", ".tiff", ".ico", ".mp4", ".avi"),
    *(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5"),
    *(".log", ".md5", ".sha256", ".exe", ".dll", ".jar", ".js", ".py", ".sh", ".bat", ".db"),
)
"""Suffixes of what is known to lie beside slices: notes, pictures, volumes, and viewers."""
MAYBE = {"", "part", "partial", "filepart", "crdownload", "download"}
"""Suffixes, without dots and digits, of what may be a slice: none, and of unfinished copies."""
NO_SLICES_NAMES = {"readme", "license", "licence", "copying", "changelog", "version", "notice"}
ZARR = {".zattrs", ".zgroup", "zarr.json"}
"""Files of which one is in every folder of a Zarr."""
DEFLATED = "1.2.840.10008.1.2.1.99"
DIRECTORY = "1.2.840.10008.1.3.10"
DIRECTORY_NAME = "DICOMDIR"
MAX_HEADER_BYTES = 2**21
"""Before the pixels of a slice: pydicom may take 100 bytes of memory and 5 us for each."""
MAX_NUMBER = 1e9
"""No number of a slice is larger; the square of what is may be none."""


NEAR = 20
"""So many folders before and behind that of a series, by name, may hold more of it, which is told
by one of their first so many files."""


# Which files


def is_dicom(file: File) -> bool:
    """Return whether a file is DICOM by its magic or its first element, or says so by its name.

    A hidden file is one by its magic alone: copies that are not finished have such names, and so
    have notes of other systems.
    """
    if not _is_file(file):
        return False
    start = _start(file)
    told = file.suffix.lower() in DICOM_SUFFIXES or (
        start[:2] in FIRST_GROUPS and start[3:4] == b"\x00"
    )
    return has_magic(start) or (told and not _is_hidden(file))


def _start(file: File) -> bytes:
    """Return the first bytes of a file, unpacked; none of a link that leads nowhere."""
    if isinstance(file, Path) and not file.exists():
        return b""
    with parsing(file), file.open("rb") as stream:
        start = stream.read(MAGIC_AT + len(MAGIC))
        if start.startswith(PACKED):
            stream.seek(0)
            with contextlib.suppress(OSError, EOFError, zlib.error):
                start = gzip.GzipFile(fileobj=stream).read(MAGIC_AT + len(MAGIC))
    return start


def has_magic(start: bytes) -> bool:
    """Return whether the first bytes of a file have the preamble of DICOM."""
    return start[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files directly in a folder, sorted: see `slices_among`."""
    with parsing(folder):
        return slices_among(sorted(folder.iterdir()))


def slices_among(files: Sequence[AnyFile]) -> list[AnyFile]:
    """Return the DICOM files among others, and beside such what may have been one.

    That is a file without a suffix, or with a number for one, that is empty or was cut, and an
    unfinished copy: reading it refuses it by name. What is known to be no slice is left out, and
    so, with a word, is the rest.
    """
    found = [(file, is_dicom(file)) for file in files if _is_file(file)]
    if not any(sure for _, sure in found):
        return []
    kept = []
    for file, sure in found:
        suffix = file.suffix.lower()
        name = file.name.lower()
        known = name.endswith(NO_SLICES) or name in NO_SLICES_NAMES
        known |= _is_hidden(file)
        if sure or (not known and suffix.strip(".0123456789") in MAYBE):
            kept.append(file)
        elif not known:
            log.warning("%s: left out, for it is no DICOM file", file)
    return kept


def _is_file(file: File) -> bool:
    """Return whether it is a file, or a link, be it to one that is gone."""
    return not isinstance(file, Path) or file.is_file() or not file.exists()


def _is_hidden(file: File) -> bool:
    return file.name.startswith(".")


def by_series(files: Iterable[AnyFile]) -> dict[str, list[AnyFile]]:
    """Return DICOM files by the UID of their series, sorted, without a DICOMDIR.

    Reads headers only.
    """
    series: dict[str, list[AnyFile]] = {}
    for file in files:
        header = read_header(file, ["SeriesInstanceUID"])
        if value(file, header.file_meta, "MediaStorageSOPClassUID") != DIRECTORY:
            series.setdefault(str(required(file, header, "SeriesInstanceUID")), []).append(file)
    return dict(sorted(series.items()))


def dicom_series(folder: Path) -> dict[str, list[Path]]:
    """Return the DICOM files directly in a folder, by the UID of their series, sorted.

    Files that are not DICOM are left out, and so is a DICOMDIR.
    """
    return by_series(dicom_files(folder))


@contextlib.contextmanager
def one_series(path: Path) -> Iterator[list[File]]:
    """Yield the files of the one series in a folder or a zip, as long as that is open.

    In a zip they may lie in folders.
    """
    with _files(path) as files:
        series = by_series(files)
        below = _dicom_below(path) if path.is_dir() else []
        if not series:
            raise CorruptInput(_nothing_in(path, files, below))
        uid = _only_ct(path, series)
        _check_below(path, uid, below)
        if path.is_dir():
            _tell_of_beside(path, uid, series[uid])
        yield series[uid]


def _only_ct(path: Path, series: Mapping[str, Sequence[File]]) -> str:
    """Return the UID of the one series, or of the only one of CT, and name the others."""
    kinds = {
        uid: value(files[0], read_header(files[0], ["Modality"]), "Modality") or "no modality"
        for uid, files in series.items()
    }
    told = {uid: f"{uid} ({kinds[uid]}, {len(files)} files)" for uid, files in series.items()}
    ct = [uid for uid in series if kinds[uid] == "CT" or len(series) == 1]
    if len(ct) != 1:
        raise UnsupportedInput(
            f"{path}: {len(series)} series: {', '.join(told.values())}; expected one of CT; give "
            "each a folder of its own"
        )
    for other in series.keys() - ct:
        log.warning("%s: holds another series, %s; left out", path, told[other])
    return ct[0]


@contextlib.contextmanager
def _files(path: Path) -> Iterator[list[File]]:
    if path.is_dir():
        yield list(dicom_files(path))
    else:
        with archive.members(path) as members:
            yield list(slices_among(members))


def _dicom_below(folder: Path) -> list[Path]:
    """Return the DICOM files in the subfolders of a folder, sorted; links are not followed."""
    found = []
    for place, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if Path(place) != folder:
            found += [file for name in sorted(names) if is_dicom(file := Path(place, name))]
    return found


def _check_below(path: Path, uid: str, below: Sequence[Path]) -> None:
    """Refuse a series of which more lies in subfolders, and name what else lies there."""
    series = by_series(below)
    if uid in series:
        files = series.pop(uid)
        raise UnsupportedInput(
            f"{path}: {len(files)} more files of its series lie in {_folders(path, files)}; put "
            "all into one folder, or into one .zip"
        )
    for files in series.values():
        log.warning("%s: another series lies in %s; left out", path, _folders(path, files))


def _tell_of_beside(path: Path, uid: str, files: Sequence[File]) -> None:
    """Name folders beside this one that hold slices of its series which it does not hold itself.

    They may be another phase of it, or the rest of a volume that was split.
    """
    ours: set[str] = set()
    for folder in _near(path.resolve()):
        with contextlib.suppress(OSError, CorruptInput, UnsupportedInput):  # of others' files
            some = sorted(folder.iterdir())[:NEAR]
            first = next(filter(is_dicom, some), None)
            if first is None or _uid(first, "SeriesInstanceUID") != uid:
                continue
            ours = ours or {_uid(file, "SOPInstanceUID") for file in files}
            theirs = dicom_series(folder).get(uid, [])
            more = [file for file in theirs if _uid(file, "SOPInstanceUID") not in ours]
            if more:
                log.warning(
                    "%s: %d more files of its series lie beside it, in %s; left out: if they "
                    "belong to this volume, put all into one folder",
                    path,
                    len(more),
                    folder.name,
                )


def _near(folder: Path) -> list[Path]:
    """Return the folders beside one: of many those of near names, as parts of a series have."""
    beside: list[Path] = []
    with contextlib.suppress(OSError):
        found = (other for other in folder.parent.iterdir() if not _is_hidden(other))
        beside = sorted(other for other in found if other.is_dir() and not other.is_symlink())
    at = beside.index(folder) if folder in beside else 0
    return [other for other in beside[max(0, at - NEAR) : at + NEAR + 1] if other != folder]


def _uid(file: File, keyword: str) -> str:
    return str(value(file, read_header(file, [keyword]), keyword))


def _folders(path: Path, files: Sequence[Path]) -> str:
    """Name the first few folders below another in which files lie."""
    names = [f"{p}/" for p in dict.fromkeys(f.parent.relative_to(path).as_posix() for f in files)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _nothing_in(path: Path, files: list[File], below: Sequence[Path]) -> str:
    place = "this folder" if path.is_dir() else "this zip"
    if below:
        split = _in_several(below)
        cure = (
            f"put all files of the series {split}, which are in several of them, into one folder, "
            "or into one .zip"
            if split
            else "give the folder of one series"
        )
        return (
            f"{path}: no slices in this folder, but {len(below)} DICOM files in "
            f"{_folders(path, below)}; {cure}"
        )
    if files:
        return (
            f"{path}: nothing but {files[0].name} in {place}, which is not followed; give the "
            "folder of the slices"
        )
    names = _names_in(path)
    if names & ZARR:
        return f"{path}: is a Zarr, and not called so; give it a name that ends in .ome.zarr"
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


def place_beside(index: Path) -> str:
    """Return where to look for the slices that a DICOMDIR may name: it is not read."""
    below = _dicom_below(index.parent)
    named = f", one of {_folders(index.parent, below)}" if below else ""
    return f"give the folder of one series{named}"


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


# One header


def read_header(file: File, tags: list[str] | None = None) -> "Dataset":
    """Read a header, or some tags of it, without pixels."""
    with extra(file, "pydicom"):
        import pydicom
    with parsing(file), opened(file, MAX_HEADER_BYTES) as stream:
        syntax = syntax_of(file, stream)
        if syntax == DEFLATED:
            # Only the whole of it can be inflated, to whatever size that is.
            raise UnsupportedInput(f"{file}: is deflated as a whole; convert it to explicit VR")
        header = pydicom.dcmread(stream, force=True, stop_before_pixels=True, specific_tags=tags)
        header.file_meta.TransferSyntaxUID = syntax
        return header


def syntax_of(file: File, stream: BinaryIO) -> "UID":
    """Return the transfer syntax that the first elements of a file name, or that they are in.

    A file may lack the preamble, or what follows it, or both, as some exports do.
    """
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    start = stream.read(MAGIC_AT + len(MAGIC) + 6)
    stream.seek(0)
    first = start[MAGIC_AT + len(MAGIC) :] if has_magic(start) else start
    if first[:2] == FIRST_GROUPS[1]:
        return ExplicitVRLittleEndian if first[4:6].isalpha() else ImplicitVRLittleEndian
    if start.startswith(PACKED):
        raise UnsupportedInput(f"{file}: is packed by gzip; unpack it")
    if first[:2] != FIRST_GROUPS[0]:
        raise CorruptInput(
            f"{file}: lies among the slices of a series, and is empty, cut or no DICOM file "
            f"({size_of(file)} bytes); copy it again or remove it"
        )
    read_preamble(stream, force=not has_magic(start))
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    stream.seek(0)
    return UID(str(required(file, meta, "TransferSyntaxUID")))


# One value


def value(file: File, header: "Dataset", keyword: str) -> Any:  # noqa: ANN401 - any DICOM value
    """Return the value of a tag or none; pydicom converts it only now, and may fail."""
    with parsing(file):
        return header.get(keyword)


def required(file: File, header: "Dataset", keyword: str, cure: str = COPY_AGAIN) -> Any:  # noqa: ANN401 - any DICOM value
    """Return the value of a tag that must be there."""
    found = value(file, header, keyword)
    if found is None or str(found) == "":
        raise CorruptInput(f"{file}: lacks {keyword}; {cure}")
    return found


def numbers(
    file: File,
    header: "Dataset",
    keyword: str,
    count: int,
    cure: str = COPY_AGAIN,
) -> tuple[float, ...]:
    """Return the numbers of a tag."""
    found = required(file, header, keyword, cure)
    with parsing(file):
        array = np.atleast_1d(np.array(found, dtype=float))
    if array.shape != (count,) or not (np.abs(array) <= MAX_NUMBER).all():  # NaN is not
        raise CorruptInput(
            f"{file}: {keyword} is {found}; expected finite numbers up to {MAX_NUMBER:g}, {count} "
            "of them; copy it again"
        )
    return tuple(array.tolist())


def number(file: File, header: "Dataset", keyword: str, default: float) -> float:
    """Return the number of a tag that may be absent or empty."""
    if value(file, header, keyword) in (None, ""):
        return default
    return numbers(file, header, keyword, 1)[0]


def number_or_none(file: File, header: "Dataset", keyword: str) -> float | None:
    """Return the number of a tag that places no slice and scales no value; None if there is none.

    Such tags hold what an export likes: no slice is refused for `A12` as its Instance Number.
    """
    try:
        return numbers(file, header, keyword, 1)[0]
    except CorruptInput:
        return None
