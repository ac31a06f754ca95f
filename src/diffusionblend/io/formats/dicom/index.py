"""The index of a disc of DICOM, DICOMDIR (PS3.10, 8.6): which files of images it names.

Nothing in an index can point outside its folder. If a file that it names is missing, the copy is
incomplete, and must not pass for a shorter series.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionblend.errors import CorruptInput
from diffusionblend.io.formats.dicom.files import read_header, required, value

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "DICOMDIR"
MAX_BYTES = 2**25
"""Of an index: some 300 for each image."""
COPY_AGAIN = "copy the disc again, or give the folder of one series"
INACTIVE = 0
"""The Record In-use Flag of what has been deleted (PS3.3, F.3.2.2)."""


def is_index(path: Path) -> bool:
    """Return whether a file has the name of an index, in capitals or not."""
    return path.name.upper() == NAME and path.is_file()


def images_of(index: Path) -> list[Path]:
    """Return the files of images that an index names, sorted.

    Raises:
        CorruptInput: It cannot be read, names no image, or one that is not there or is elsewhere.
    """
    header = read_header(index, ["DirectoryRecordSequence"], MAX_BYTES)
    records = value(index, header, "DirectoryRecordSequence") or ()
    named = [_name(index, record) for record in records if _is_image(index, record)]
    if not named:
        raise CorruptInput(f"{index}: lists no images; give the folder of one series")
    found = [_beside(index, parts) for parts in named]
    gone = ["/".join(parts) for parts, path in zip(named, found, strict=True) if path is None]
    if gone:
        raise CorruptInput(
            f"{index}: names {len(named)} images, but {len(gone)} are missing, the first "
            f"{gone[0]}; {COPY_AGAIN}"
        )
    return sorted({path for path in found if path})


def _is_image(index: Path, record: "Dataset") -> bool:
    kind, flag = (value(index, record, k) for k in ("DirectoryRecordType", "RecordInUseFlag"))
    return kind == "IMAGE" and flag != INACTIVE


def _name(index: Path, record: "Dataset") -> Sequence[str]:
    """Return folders and name of a record's file; all are names, none is a way."""
    found = required(index, record, "ReferencedFileID", COPY_AGAIN)
    parts = [found] if isinstance(found, str) else [str(part) for part in found]
    if any(part in ("", ".", "..") or {"/", "\\", "\0"} & set(part) for part in parts):
        raise CorruptInput(
            f"{index}: names {'/'.join(parts)}, which may be anywhere on the disk; {COPY_AGAIN}"
        )
    return parts


def _beside(index: Path, parts: Sequence[str]) -> Path | None:
    """Return the file of this name in the index's folder, also in small letters; none without."""
    folder = index.parent
    for names in (parts, [part.lower() for part in parts]):
        path = folder.joinpath(*names)
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise CorruptInput(
                    f"{index}: names {'/'.join(parts)}, a link that points outside its folder; "
                    "put the files themselves there"
                )
            return path
    return None
