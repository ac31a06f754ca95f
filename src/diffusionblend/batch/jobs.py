"""The scans of a batch: from files, folders, patterns and tables, each with its output."""

import csv
import fnmatch
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diffusionblend.batch.settings import Settings, check, decides
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import (
    PathLike,
    as_utf8,
    check_kind,
    check_small,
    check_texts,
    escaped,
    has_suffix,
    inside,
    names_folder,
    naming,
)
from diffusionblend.io.remote import Place, Remote, fetched, place_of
from diffusionblend.io.scans import SUFFIXES
from diffusionblend.io.tree import folders_below
from diffusionblend.io.volumes import check_suffix

_Place = TypeVar("_Place", Path, Remote, Place)
MOST_OTHERS = 200_000
"""How many files and folders are searched for a first scan, which takes some seconds."""
SMALLER = "give a folder of scans, a pattern without `**`, or a table of scans"
_ANYWHERE = Path("/a/folder")
"""Stands for any folder: whether a name points outside does not depend on which one, or on a
store."""


@dataclass(frozen=True)
class Job:
    """A scan of a batch.

    Attributes:
        scan: Its file.
        folder: The folder of the batch.
        name: Where its volume goes, in that folder.
        settings: How it is reconstructed.
    """

    scan: Place
    folder: Place
    name: str
    settings: Settings

    @property
    def output(self) -> Place:
        """Where its volume goes."""
        return self.folder / self.name

    @property
    def listed(self) -> str:
        """The name that the journal and the report have for it."""
        return escaped(self.name)


def find_jobs(
    scans: Sequence[PathLike], folder: Place, settings: Settings, suffix: str
) -> list[Job]:
    """Return the scans of a batch, sorted by the names of their outputs.

    Args:
        scans: Files, folders (all scans below them), patterns such as `scans/**/*.h5`, and tables;
            paths, and addresses such as `s3://bucket/scans`. `**` and folders follow no
            links to folders.
        folder: Folder of the batch.
        settings: How they are reconstructed, as far as a table does not say otherwise.
        suffix: What the names of outputs end with; nothing makes folders of DICOM.
    """
    _check_name(folder, f"volume{suffix}")
    found = [job for given in scans for job in _found(place_of(given), folder, settings, suffix)]
    jobs: dict[str, Job] = {}
    checked = set()
    for job in found:
        _check_text(job)
        _check_one(jobs.setdefault(job.name, job), job)
        if id(job.settings) not in checked:
            check(job.settings, job.scan)
            checked.add(id(job.settings))
    return [jobs[name] for name in sorted(jobs)]


def _check_one(first: Job, job: Job) -> None:
    """Refuse two jobs of one output, unless one is given twice: `a.h5`, `b/../a.h5`, by a link."""
    if first.scan != job.scan and not _is_one_file(first.scan, job.scan):
        raise UsageError(
            f"{first.scan} and {job.scan} would both become {job.output}; give their folder, "
            "a pattern in quotes, or a table with outputs"
        )
    if first.settings != job.settings:
        raise UsageError(
            f"{job.scan}: is given twice for {job.output}, with different options; leave one out, "
            "or give each its own output in a table"
        )


def _is_one_file(*scans: Place) -> bool:
    # `samefile` would ask for files that need not be there.
    return all(isinstance(scan, Path) for scan in scans) and len(set(map(_real, scans))) == 1


def _real(scan: Place) -> str:
    return os.path.realpath(str(scan))


def _check_text(job: Job) -> None:
    """Refuse an object whose name would not be UTF-8: a store has no other."""
    if isinstance(job.folder, Remote) and as_utf8(str(job.output)) != str(job.output):
        raise UsageError(
            f"{job.scan}: its name is not UTF-8, which a name in {job.folder} has to be; rename it"
        )


def _check_name(folder: Place, name: str) -> None:
    """Raise what is wrong with the name of a volume in the folder of a batch."""
    check_suffix(Path(name))
    if isinstance(folder, Remote) and names_folder(Path(name)):
        raise UsageError(
            f"{folder / name}: would be a folder of files, but a volume in a store is one object; "
            "expected a name ending in .nii.gz, .nii or .nrrd"
        )


def _found(given: Place, folder: Place, settings: Settings, suffix: str) -> Iterator[Job]:
    """Yield the scans that one word stands for."""

    def job(scan: Any, root: Any) -> Job:  # noqa: ANN401 - both paths, or both addresses
        name = scan.relative_to(root).with_name(scan.name.removesuffix(scan.suffix) + suffix)
        return Job(scan.absolute(), folder, name.as_posix(), settings)

    if given.suffix.lower() in TABLES:
        yield from _of_table(given, folder, settings, suffix)
    elif given.is_dir():
        yield from (job(scan, given) for scan in _below(given))
    elif given.is_file() or not glob.has_magic(str(given)):
        if isinstance(given, Path):
            check_kind(given)
        if not given.is_file():
            raise CorruptInput(f"{given}: no such file; expected scans, folders or tables of them")
        yield job(given, given.parent)
    else:
        yield from (job(scan, _root(given)) for scan in _matching(given))


def _below(folder: Place) -> Sequence[Place]:
    """Return the scans below a folder; hidden files and folders are left out."""
    found = _objects(folder) if isinstance(folder, Remote) else _files(folder)
    scans = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not scans:
        raise CorruptInput(
            f"{folder}: contains no scan; expected files ending in {' or '.join(SUFFIXES)}"
        )
    return scans


def _files(folder: Path) -> Sequence[Path]:
    return [
        place / name
        for place, names in folders_below(folder, MOST_OTHERS, SMALLER, SUFFIXES)
        for name in names
        if not name.startswith(".")
    ]


def _objects(folder: Remote) -> Sequence[Place]:
    return [
        each
        for each in folder.find()
        if not any(part.startswith(".") for part in each.relative_to(folder).parts)
    ]


def _matching(pattern: Place) -> Sequence[Place]:
    scans: Sequence[Place]
    if isinstance(pattern, Remote):
        scans = pattern.matching(_root(pattern))
    else:
        root = _root(pattern)
        rest = pattern.relative_to(root).parts
        if "**" in rest:
            found = (path for path in _files(root) if _matches(path.relative_to(root).parts, rest))
        else:
            found = (Path(name) for name in glob.glob(str(pattern)))
        scans = [path for path in found if path.is_file()]
    if not scans:
        raise CorruptInput(f"{pattern}: matches no file; check the pattern")
    return scans


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path are those of a pattern: `**` is any folders, or none.

    `glob` would follow links to folders, and a link to a folder above it some forty times.
    """
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _root(pattern: _Place) -> _Place:
    """Return the folder of a pattern's files: the part before its first wildcard."""
    while glob.has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


def _of_table(table: Place, folder: Place, settings: Settings, suffix: str) -> Iterator[Job]:
    """Yield the scans of a table: paths in it start at its own folder."""
    known: dict[str, Settings] = {}
    with fetched(table) as copy:
        rows = list(read_rows(copy))
    if not rows:
        raise CorruptInput(
            f"{table}: has no rows; expected a line of column names, one of them `scan`, and a "
            "line for each scan"
        )
    for number, row in rows:
        place = f"{table}, row {number}"
        scan, output = row.pop("scan", ""), row.pop("output", "")
        if not scan:
            others = f"; it has {', '.join(row)}" if row else ""
            raise UsageError(
                f"{place}: names no scan; expected a column `scan`, and commas between cells"
                f"{others}"
            )
        name = output or Path(scan).name.removesuffix(Path(scan).suffix) + suffix
        with naming(place, always=True):
            inside(folder if isinstance(folder, Path) else _ANYWHERE, name)
            _check_name(folder, name)
            if (own := known.get(str(row))) is None:
                own = known[str(row)] = settings.changed(row) if row else settings
                decides(own)
        yield Job(_beside(table, scan), folder, Path(name).as_posix(), own)


def _beside(table: Place, scan: str) -> Place:
    """Return the scan that a table names: an address, or a path from the table's folder."""
    known = place_of(scan)
    if isinstance(known, Remote) or known.is_absolute():
        return known
    return (table.parent / scan).absolute()


# Tables: CSV, or Parquet where pandas can read it


PARQUET = ".parquet"
TABLES = (".csv", PARQUET)
MAX_BYTES = 2**28
"""Of a table, which is read as a whole: a million scans have less."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, with their numbers from 1: what stands in which column.

    Empty cells are left out.

    Args:
        path: A `.csv` with a line of names first, or a `.parquet`.
    """
    if path.exists():
        check_small(path, MAX_BYTES, "a table of scans")
    rows = _parquet(path) if has_suffix(path, (PARQUET,)) else _csv(path)
    for number, row in enumerate(rows, start=1):
        with naming(f"{path}, row {number}"):
            check_texts(row.values())
        yield number, {name.strip(): value for name, value in row.items() if name and value}


def _csv(path: Path) -> Iterator[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for name, count in Counter(reader.fieldnames or ()).items():
                if count > 1 and name:
                    raise csv.Error(f"{count} columns are called {name}")
            for row in reader:
                if None in row:
                    raise csv.Error(f"the line of {row.get('scan')} has too many cells")
                yield {name: (value or "").strip() for name, value in row.items()}
    except OSError as error:
        raise CorruptInput(f"{path}: {error.strerror}; expected a table of scans") from error
    except UnicodeDecodeError as error:
        raise CorruptInput(f"{path}: is not UTF-8; save the table as CSV in UTF-8") from error
    except csv.Error as error:
        raise CorruptInput(f"{path}: is not valid CSV ({error}); repair it") from error


def _parquet(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; expected a table of scans")
    try:
        import pandas as pd

        frame = pd.read_parquet(path)
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet needs pandas and pyarrow; run `pip install pandas pyarrow`, "
            "or give a .csv"
        ) from error
    except (OSError, ValueError) as error:
        raise CorruptInput(f"{path}: is not a Parquet file ({error}); make it again") from error
    for row in frame.to_dict("records"):
        yield {str(name): _text(value) for name, value in row.items()}


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a table can hold
    return "" if value is None or value != value else str(value)  # NaN is no cell  # noqa: PLR0124
