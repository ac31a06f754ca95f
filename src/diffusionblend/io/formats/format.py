"""What a format of volumes is: an object of this class. `registry` holds them all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from diffusionblend.data.volume import Volume
from diffusionblend.errors import UsageError
from diffusionblend.geometry import Grid

FOLDER = ""
"""The suffix of a folder's name: none."""


def itself(path: Path) -> tuple[Path, ...]:
    """Return the files of a volume that lies in one: that one."""
    return (path,)


def not_written(volume: Volume, path: Path) -> NoReturn:
    """Raise UsageError: the format is only read."""
    raise UsageError(
        f"{path}: this format can be read but not written; give a name in another format"
    )


@dataclass(frozen=True)
class Format:
    """A format of volumes in HU.

    Attributes:
        name: What people call it.
        suffixes: Ends of the names of its files, with the dot, in lower case; names in capitals are
            found, too. `FOLDER` among them stands for a folder.
        read: Returns the volume in a file. That its values are finite and Hounsfield units is
            checked for all formats in one place, by `io.volumes`.
        shape: Returns the number of voxels along each axis, in the order of the file, from its
            header alone.
        write: Writes a volume to a path, whole or not at all (`io.files.atomic`); without it the
            format is only read.
        written: Suffixes that are written, if not all are.
        needs: The module that the format needs, its package, and the extra that this is in, if any.
        is_folder: Whether what has one of the suffixes is a folder, and no file.
        files: Returns the files of which a volume in the file is made: for its SHA-256.
        check_source: Of a format that has a place for a patient: refuses a series that a volume on
            a grid cannot be derived from. Its `write` takes `source` and `description`, too.
        check_grid: Of a format that cannot express every grid: refuses one before long work.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Volume]
    shape: Callable[[Path], tuple[int, ...]]
    write: Callable[..., None] = not_written
    written: tuple[str, ...] | None = None
    needs: tuple[str, str, str] | None = None
    is_folder: bool = False
    files: Callable[[Path], tuple[Path, ...]] = itself
    check_source: Callable[[Path, Grid], object] | None = None
    check_grid: Callable[[Path, Grid], object] | None = None

    def __str__(self) -> str:
        """Say what it is called and which names it has: `MetaImage (.mha, .mhd; only read)`."""
        read = [s or "a folder" for s in self.suffixes]
        only = [s or "a folder" for s in self.outputs]
        limit = "" if only == read else f"; {', '.join(only)} written" if only else "; only read"
        return f"{self.name} ({', '.join(read)}{limit})"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The suffixes that are written."""
        if self.write is not_written:
            return ()
        return self.suffixes if self.written is None else self.written
