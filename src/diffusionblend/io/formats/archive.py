"""Files inside a zip, read where they are.

Nothing is unpacked onto the disk, so names in an archive can do no harm; and nothing is opened
before everything that the archive says about itself has been checked.
"""

import contextlib
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import MAX_DEFLATE

SUFFIX = ".zip"
MAX_MEMBERS = 100_000
MAX_MEMBER_BYTES = 2**27
MAX_BYTES = 2**33
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Member:
    """A file inside an open zip."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def __str__(self) -> str:
        return f"{self.archive.filename}/{self.info.filename}"

    @property
    def name(self) -> str:
        """Its name, without folders."""
        return PurePosixPath(self.info.filename).name

    @property
    def suffix(self) -> str:
        """The end of its name, with the dot."""
        return PurePosixPath(self.name).suffix

    @property
    def size(self) -> int:
        """Its bytes, unpacked; more than these are never read."""
        return self.info.file_size

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open it to read bytes, as a path is opened."""
        return cast(BinaryIO, self.archive.open(self.info))


File = Path | Member
"""A file on the disk or in a zip: both have a name, a suffix, and can be opened."""


def size_of(file: File) -> int:
    """Return the bytes of a file."""
    return file.size if isinstance(file, Member) else file.stat().st_size


class Bounded:
    """The first bytes of a file, for a parser, which may ask for any number.

    A length in a damaged header may be any, and Python takes memory for it before it reads a file.
    """

    def __init__(self, file: File, stream: BinaryIO, most: int) -> None:
        self._file, self._stream = file, stream
        self._size, self._most = size_of(file), most

    def read(self, count: int = -1) -> bytes:
        """Read up to the end of the file."""
        left = max(min(self._size, self._most) - self._stream.tell(), 0)
        count = left if count < 0 else count
        if count > left and self._size > self._most:
            raise CorruptInput(
                f"{self._file}: its header is longer than {self._most} bytes; copy it again, or "
                "remove its private elements"
            )
        return self._stream.read(min(count, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._stream.tell()


@contextlib.contextmanager
def opened(file: File, most: int = MAX_BYTES) -> Iterator[BinaryIO]:
    """Open a file for a parser that is to read its first `most` bytes."""
    with file.open("rb") as stream:
        yield cast(BinaryIO, Bounded(file, stream, most))


@contextlib.contextmanager
def members(path: Path) -> Iterator[list[Member]]:
    """Yield the files in a zip, sorted by name, as long as it is open."""
    with contextlib.ExitStack() as stack:
        with parsing(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            held = path.stat().st_size
        infos = archive.infolist()
        _check_whole(path, infos, held)
        for info in infos:
            _check_one(path, info)
        files = [Member(archive, info) for info in infos if not info.is_dir()]
        yield sorted(files, key=str)


def _check_whole(path: Path, infos: Sequence[zipfile.ZipInfo], held: int) -> None:
    """Refuse an archive whose files together are more than it can hold, or too much."""
    packed = sum(info.compress_size for info in infos)
    unpacked = sum(info.file_size for info in infos)
    if packed > held or unpacked > MAX_DEFLATE * held:
        raise CorruptInput(
            f"{path}: its list of files says {packed} bytes ({unpacked} unpacked), but the zip "
            f"has {held}; copy it again"
        )
    if len(infos) > MAX_MEMBERS or unpacked > MAX_BYTES:
        raise UnsupportedInput(
            f"{path}: unpacks to {len(infos)} files of {unpacked} bytes; expected at most "
            f"{MAX_MEMBERS} and {MAX_BYTES}; unpack it and give the folder of one series"
        )


def _check_one(path: Path, info: zipfile.ZipInfo) -> None:
    name = repr(info.filename)[:80]
    if _leads_out(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
        raise CorruptInput(
            f"{path}: holds {name}, which is a link or points outside the archive; do not unpack "
            "it, but ask for one of plain files"
        )
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        raise UnsupportedInput(
            f"{path}: {name} is encrypted, or not compressed with deflate; unpack it and give the "
            "folder"
        )
    if info.file_size > MAX_MEMBER_BYTES:
        raise UnsupportedInput(
            f"{path}: {name} unpacks to {info.file_size} bytes; expected {MAX_MEMBER_BYTES} at "
            "most; unpack it and give the folder"
        )


def _leads_out(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return name[:1] in ("/", "\\") or ".." in parts or ":" in parts[0]
