"""Files, and folders of files, that are whole or absent: written beside, checked, renamed."""

import contextlib
import errno
import functools
import glob
import hashlib
import itertools
import logging
import os
import platform
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from diffusionblend.errors import (
    CorruptInput,
    DiffusionBlendError,
    LostProcess,
    OutputError,
    PriorError,
    UsageError,
    printable,
)

PathLike: TypeAlias = str | os.PathLike[str]

log = logging.getLogger(__name__)

DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    TypeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What libraries throw at a file that is damaged."""
_KEPT = 40
_NUMBERS = itertools.count()
_UNFINISHED: set[Path] = set()
_CURES = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EFBIG: "the file is too large for this user; raise `ulimit -f`, or choose another place",
    errno.EACCES: "no permission to write there; choose another place",
    errno.EPERM: "no permission to write there; choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextlib.contextmanager
def atomic(path: Path, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if `check` accepts it.

    A file is made there, or a folder of files. Whatever happens, `path` is either what it was
    before or the whole new one, and nothing temporary is left by a process that was not killed.

    Args:
        path: The final place. Its folder must exist. A file there is replaced; a folder only if
            it is empty.
        check: Reads what was made back, and returns False if it is not as it should be, or raises.
    """
    writable(path)
    temporary = _temporary(path)
    with unfinished(temporary), writing(path):
        yield temporary
        _flush(temporary)
        if check is not None and check(temporary) is False:
            raise OSError(None, "what was written does not read back the same")
        os.replace(temporary, path)


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Remove a file or folder at the end, and before it if the process ends without unwinding."""
    _UNFINISHED.add(path)
    try:
        yield
    finally:
        _remove(path)
        _UNFINISHED.discard(path)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all (`atomic`); text is UTF-8."""
    with atomic(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


class Dispensable:
    """Around writes that a run can do without: it continues where the disk is full or read-only.

    The first failure is logged, and no other.

    Args:
        what: What the run then continues without, for the log.

    Attributes:
        failure: Why the last write failed, in words; empty if it did not.
    """

    def __init__(self, what: str) -> None:
        self._what, self._told = what, False
        self.failure = ""  # not the error, which would keep what the failed write has taken

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.failure = str(error) if isinstance(error, OutputError) else ""
        if self.failure and not self._told:
            log.warning("%s; the run continues without %s", error, self._what)
            self._told = True
        return bool(self.failure)


def left_overs(folder: Path, end: str = "") -> list[Path]:
    """Return what processes of this machine that are gone were writing in a folder."""
    found = folder.glob(f".{owner()}-*-*-*{glob.escape(end)}")
    return sorted(path for path in found if not lives(path.name.split("-")[1]))


def _temporary(path: Path) -> Path:
    """Return a name beside `path` that says which process of which machine writes there.

    The end of the name is kept, since writers choose the format by it; not all of a long one, since
    the whole must not become too long. The number keeps apart what is written within another
    writing.
    """
    return path.with_name(f".{owner()}-{os.getpid()}-{next(_NUMBERS)}-{end_of(path)}")


def end_of(path: Path) -> str:
    """Return the end of a name for a hidden file that belongs to it: never so long as to fail."""
    return path.name[-_KEPT:].lstrip(".")


@functools.cache
def owner() -> str:
    """Return what distinguishes the process numbers of this machine, or container, from others.

    It has no hyphen.
    """
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def lives(number: str) -> bool:
    """Return whether a process of this number runs; True where that is unknown."""
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return True


def remove_unfinished() -> None:
    """Remove what is being written: of a process that ends without unwinding."""
    for path in list(_UNFINISHED):
        _remove(path)


def _flush(path: Path) -> None:
    for file in files_of(path):
        with open(file, "rb+") as stream:
            os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def writable(path: Path) -> None:
    """Raise OutputError if nothing can be made at `path`: asked before long work begins.

    What a process that was killed left of the same output is removed. A folder may be there if it
    is empty and has the name of one: without a suffix, or with `.zarr`.
    """
    folder = path.absolute().parent
    if not path.absolute().name:
        raise OutputError(f"{path}: is a folder, expected the name of a file; add a file name")
    probe = _temporary(path.absolute())
    with writing(path):
        if not folder.is_dir():
            raise OutputError(f"{path}: no such folder, {folder}; make it first")
        _check_free(path)
        for left in left_overs(folder, end_of(path)):
            log.info("%s: left by a process that was killed; removed", left)
            _remove(left)
        with unfinished(probe):
            probe.touch()


def _check_free(path: Path) -> None:
    if path.is_dir() and not names_folder(path):
        raise OutputError(f"{path}: is a folder, expected the name of a file; add a file name")
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path}: is a folder that is not empty; give the name of a new one")
    if path.exists() and not path.is_dir() and names_folder(path):
        raise OutputError(f"{path}: is a file, expected a folder; give the name of a new one")


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Return whether a name ends with one of the suffixes, in capitals or not."""
    return path.suffix.lower() in suffixes


def expect_suffix(path: Path, suffixes: Sequence[str], what: str) -> None:
    """Raise UsageError if an output has no suffix of what it is to be: `a report`."""
    if not has_suffix(path, suffixes):
        raise UsageError(f"{path}: expected a name ending in {' or '.join(suffixes)} for {what}")


def names_folder(path: Path) -> bool:
    """Return whether an output of this name is a folder."""
    return path.suffix.lower() in ("", ".zarr")


@contextlib.contextmanager
def naming(path: object, *, always: bool = False) -> Iterator[None]:
    """Put the name of a file before the message of a failure that it is the cause of.

    A message that names it already stays as it is, and so does one that begins with the parameter
    to blame, which somebody else gave, unless the file gives parameters, too (`always`).
    """
    try:
        yield
    except (PriorError, LostProcess):
        raise
    except DiffusionBlendError as error:
        if printable(str(path)) in str(error) or (not always and str(error).startswith("`")):
            raise
        raise type(error)(f"{path}: {error}") from error


def make_folder(path: Path) -> None:
    """Make a folder for output, and its parents."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Raise OutputError if no folder can be made at `path`, or nothing in it; make nothing."""
    with writing(path):
        # `exists` raises where a folder on the way may not be looked into.
        there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        probe = _temporary(there / "folder")
        with unfinished(probe):
            probe.touch()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes to `path`: say in one line why it could not, and what to do."""
    try:
        yield
    except OSError as failure:
        error = _of_system(failure)
        cure = _CURES.get(error.errno or 0, "choose another place")
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); {cure}"
        ) from failure


def _of_system(error: OSError) -> OSError:
    """Return what the system said, where a library has put it into more words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__
    return error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of those of the files in a folder, as hex."""
    if path.is_dir():
        return hashlib.sha256("".join(map(sha256, files_of(path))).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return a file, or those in a folder and its subfolders, sorted by their names."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def check_kind(path: Path) -> None:
    """Raise CorruptInput if an input is neither a file nor a folder: a pipe waits for ever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise CorruptInput(
            f"{path}: is a pipe or a device, which can be read only once; save it as a file and "
            "give that"
        )


def read_small(path: Path, most: int, expected: str) -> bytes:
    """Read a file of at most this many bytes, which should be, for instance, `a recipe`."""
    check_small(path, most, expected)
    return path.read_bytes()


def check_small(path: Path, most: int, expected: str) -> None:
    """Raise CorruptInput if a file is larger than it can be, or none."""
    check_kind(path)
    if path.stat().st_size > most:
        raise CorruptInput(f"{path}: is larger than {most} bytes; expected {expected}")


def reading_cure(error: BaseException, cure: str) -> str:
    """Return what helps where a file cannot be read: the right to do so, if that is what lacks."""
    return "give this user the right to read it" if isinstance(error, PermissionError) else cure


def check_texts(texts: Iterable[str]) -> None:
    """Raise UsageError if a text that a file gives can be no name: names have no NUL."""
    for text in texts:
        if "\0" in text:
            raise UsageError(
                f"{text!r:.80} contains a NUL character; expected plain text; write it again"
            )


def as_utf8(text: str) -> str:
    """Return a text with `?` for what no UTF-8 can say: names of files may be any bytes."""
    return text.encode("utf-8", "replace").decode()


def escaped(text: str) -> str:
    r"""Return a text with `\xff` for what no UTF-8 can say: unlike `?`, no two names become one."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def inside(folder: Path, name: str) -> Path:
    """Return `folder`/`name`.

    Raises:
        CorruptInput: It is outside the folder: `..`, an absolute path, or a link that points
            outside.
    """
    try:
        path = (folder / name).resolve()
        within = path.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise CorruptInput(f"{name!r} is not a valid file name ({error})") from error
    if not within or path == folder.resolve():
        raise CorruptInput(
            f"{name!r} is outside the folder of the file that names it; expected a file in that "
            "folder or below it"
        )
    return folder / name
