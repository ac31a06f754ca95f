"""DICOM files: which there are, what series they belong to, and single values of their headers.

The files read are those in the folder or the zip, or those that an index names (`dicom_index`).
What is beside slices and is not a slice is known not to belong to them, or is named: a copy that
was cut short must not pass for a shorter series, nor one that is hidden, packed or a broken link.
"""

import contextlib
import gzip
import logging
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.archive import File, Member, opened, size_of
from diffusionblend.io.formats.foreign import extra, parsing

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

AnyFile = TypeVar("AnyFile", Path, Member, File)
log = logging.getLogger(__name__)

MAGIC, MAGIC_AT = b"DICM", 128
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""Groups of the first element of a file without a preamble, little endian."""
PACKED = b"\x1f\x8b"
COPY_AGAIN = "export it again with this value, or remove it if it is not a slice"
WITH_A_POINT = "write the numbers of its header with a decimal point, or export it again"
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
DEFLATED = "1.2.840.10008.1.2.1.99"
DIRECTORY = "1.2.840.10008.1.3.10"
MAX_HEADER_BYTES = 2**21
"""Before the pixels of a slice: pydicom may take 100 bytes of memory and 5 us for each."""
MAX_NUMBER = 1e9
"""No number of a slice is larger; the square of what is may be none."""


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
    return has_magic(start) or (told and not is_hidden(file))


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
        known |= is_hidden(file)
        if sure or (not known and suffix.strip(".0123456789") in MAYBE):
            kept.append(file)
        elif not known:
            log.warning("%s: left out, because it is not a DICOM file", file)
    return kept


def _is_file(file: File) -> bool:
    """Return whether it is a file, or a link, be it to one that is gone."""
    return not isinstance(file, Path) or file.is_file() or not file.exists()


def is_hidden(file: File) -> bool:
    """Return whether a file or folder is hidden, by its name."""
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


# One header


def read_header(file: File, tags: list[str] | None = None, most: int = 0) -> "Dataset":
    """Read a header, or some of its tags, without pixels, from at most this many bytes."""
    with extra(file, "pydicom"):
        import pydicom
    with parsing(file), opened(file, most or MAX_HEADER_BYTES) as stream:
        syntax = syntax_of(file, stream)
        if syntax == DEFLATED:
            # Only the whole of it can be inflated, to whatever size that is.
            raise UnsupportedInput(f"{file}: the whole file is deflated; convert it to explicit VR")
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
        raise UnsupportedInput(f"{file}: is compressed with gzip; unpack it")
    if first[:2] != FIRST_GROUPS[0]:
        raise CorruptInput(
            f"{file}: is among the slices of a series, but is empty, cut short or not a DICOM "
            f"file ({size_of(file)} bytes); copy it again or remove it"
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
    if not _in_words(file, found):
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
        # pydicom leaves what is not a number as text.
        words = [word for word in np.atleast_1d(found) if isinstance(word, str) and "," in word]
        if words:
            raise CorruptInput(f"{file}: {keyword} is {words[0]:.80}; {WITH_A_POINT}")
        array = np.atleast_1d(np.array(found, dtype=float))
    if array.shape != (count,) or not (np.abs(array) <= MAX_NUMBER).all():  # NaN is not
        raise CorruptInput(
            f"{file}: {keyword} is {found}; expected {count} finite numbers up to {MAX_NUMBER:g}; "
            "copy it again"
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


def text(file: File, header: "Dataset", keyword: str) -> str:
    """Return the value of such a tag in words, numbers in one form; empty if there is none."""
    try:
        found = _in_words(file, value(file, header, keyword))
    except CorruptInput:
        return ""
    one = number_or_none(file, header, keyword)
    return f"{one:.12g}" if one is not None else found


def said(file: File, *keywords: str) -> tuple[str, ...]:
    """Return what a file says of itself, in words, to compare it with others."""
    header = read_header(file, [*keywords])
    return tuple(str(value(file, header, keyword)) for keyword in keywords)


def _in_words(file: File, found: object) -> str:
    """Return a value in words, empty if there is none; those of a sequence are read only now."""
    with parsing(file):
        return "" if found is None else str(found)
