"""Which files of a folder are its projections, and in what order: by the numbers in their names.

Names are compared without their numbers: `scan_0001.tif` as `scan_#.tif`. A number counts if it is
different in each file, which neither a detector's nor a sample's is. Angles in names have signs and
fractions, which may be in some of the names only: `-7.5`, `0`, `7.5`. A minus in all names may be a
sign or a hyphen, which the numbers, or others beside them, show.
"""

import fnmatch
import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.io.files import has_suffix, sha256
from diffusionblend.io.formats.foreign import parsing

SUFFIXES = (".tif", ".tiff")
REGULAR = 0.8
"""Share of steps from number to number that have to be alike for a longer one to be a gap."""
SURE = 0.95
"""The same, where nothing else speaks for a gap."""
WHOLE = r"\d+"
DECIMAL = r"(?:(?<![^\W_])[+-])?\d+(?:\.\d+)?"
"""A number with its sign, which is at the beginning or after a mark: that of `a-1` is none."""
_WORDS = r"(^|[_.\- ])({})[#_.\- ]"
CONVENTIONS = (
    ("deg", "a view beside the scan", None),
    (_WORDS.format(r"di|df|drk|dark\w*|offset"), "dark fields", "dark"),
    (
        _WORDS.format(
            r"io|i#|ff|ob|bf|air|ref\w*|flat\w*|white\w*|gain|bright\w*|open\w*|blank\w*"
        ),
        "white fields",
        "white",
    ),
)
"""What names without numbers say of files, and the parameter for them: di and io are FleX-ray's."""

Column = tuple[float, ...]
"""One number of all names."""


@dataclass(frozen=True)
class Series:
    """Files whose names differ in numbers alone, in their order.

    Attributes:
        numbers: The number of each file that sorts them; empty if no single one does.
    """

    files: tuple[Path, ...]
    numbers: tuple[float, ...] = ()
    by: str = ""

    @cached_property
    def gaps(self) -> dict[int, int]:
        """Of each file before which some are missing, by its place: how many."""
        step = step_of(self.numbers)
        if step is None:
            return {}
        each = enumerate(np.diff(self.numbers), 1)
        return {at: round(n / step) - 1 for at, n in each if n > 1.5 * step}

    @property
    def surely(self) -> bool:
        """Whether gaps are more than rounding: steps of 1.2 degrees skip some whole numbers."""
        return len(self.gaps) == 1 or len(self.gaps) <= (1 - SURE) * len(self.files)

    @property
    def words(self) -> str:
        """The files and their order."""
        if len(self.files) < 2:
            return ""
        ends = f"{self.files[0].name} to {self.files[-1].name}"
        return f"{len(self.files)}, {ends}, {self.by}"

    @property
    def missing(self) -> str:
        """Which files are missing, if any are."""
        return ", ".join(
            f"{count} between {self.files[at - 1].name} and {self.files[at].name}"
            for at, count in list(self.gaps.items())[:4]
        )


def step_of(numbers: Sequence[float]) -> float | None:
    """Return the step that most numbers, in their order, are apart; None if there is none."""
    steps = Counter(np.diff(numbers).round(9).tolist())
    step, often = steps.most_common(1)[0] if steps else (0.0, 0)
    return step if often and often >= REGULAR * steps.total() else None


def is_pattern(path: Path) -> bool:
    """Return whether a path is that of files in a folder, such as `scan_*.tif`."""
    return any(c in path.name for c in "*?[") and not path.exists()


def tiff_files(path: Path) -> list[Path]:
    """Return the TIFF files directly in a folder, or those whose names follow a pattern."""
    folder, pattern = (path.parent, path.name) if is_pattern(path) else (path, "*")
    with parsing(path):
        return sorted(
            (
                file
                for file in (folder.iterdir() if folder.is_dir() else ())
                if has_suffix(file, SUFFIXES)
                and not file.name.startswith(".")
                and fnmatch.fnmatchcase(file.name, pattern)
                and file.is_file()
            ),
            key=natural,
        )


def natural(path: Path) -> list[tuple[int, str]]:
    """Return what to sort names by, so that 2 comes before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, or of those of the TIFF of a folder or a pattern.

    Nothing else in a folder, and nothing below it, is read: it is no part of the projections.
    """
    if not path.is_dir() and not is_pattern(path):
        return sha256(path)
    files = tiff_files(path)
    if path.is_dir():
        files = sorted(files)  # as earlier versions did: a geometry may state it
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def series_of(path: Path, number: int | None = None) -> Series:
    """Return the projections in a folder, or of a pattern, in their order.

    Args:
        path: The folder or pattern.
        number: Which number in the names counts, 1 for the first; without it that which differs.
    """
    files = tiff_files(path)
    kinds = _kinds(files)
    if len(kinds) > 1:
        raise UnsupportedInput(_strangers(path, kinds))
    if len(files) < 2:
        return Series(tuple(files))
    return _sorted(path, files, number)


def _kinds(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return files by what their names are without numbers, fields last, the most first."""
    alike: dict[str, list[Path]] = {}
    for file in files:
        alike.setdefault(re.sub(DECIMAL, "#", file.stem), []).append(file)
    kinds: dict[str, list[Path]] = {}
    for name, same in alike.items():
        as_written = {file: re.sub(WHOLE, "#", file.name) for file in same}
        together = len(set(as_written.values())) > 1 and _one_series(same)
        for file in same:
            kinds.setdefault(f"{name}.tif" if together else as_written[file], []).append(file)
    return dict(sorted(kinds.items(), key=lambda kind: (_role(kind[0])[1] or "", -len(kind[1]))))


def _one_series(files: Sequence[Path]) -> bool:
    """Return whether names that differ in signs, fractions and suffixes are those of one series.

    Where some have fractions and others none, they are only if no step is shorter than the usual
    one: 3.1 may be the second picture of 3.
    """
    columns = [readings[0] for readings in _numbers(files, DECIMAL) or []]
    if len({file.stem.count(".") for file in files}) == 1:
        return bool(columns)
    return any((np.diff(sorted(c)) > (step_of(sorted(c)) or math.inf) / 2).all() for c in columns)


def _strangers(path: Path, kinds: dict[str, list[Path]]) -> str:
    """Say which kinds of files there are, what they may be, and how to name those of the scan."""
    every = [file.name for files in kinds.values() for file in files]
    folder = path.parent if is_pattern(path) else path
    listed: list[str] = []
    options: list[str] = []
    for kind, files in kinds.items():
        role, option = (None, None) if not listed else _role(kind)
        listed.append(f"{kind} ({len(files)}{f', by its name {role}' if role else ''})")
        pattern = _pattern(kind, files, every)
        if pattern and (option or len(listed) == 1):
            options.append(f"`{option or 'source'}={str(folder / pattern)!r}`")
    named = options[:1] != [] and options[0].startswith("`source=")
    several = named and len(next(iter(kinds.values()))) > 1
    cure = " ".join(options) if several else "in a folder of their own"
    more = f", and {len(listed) - 5} more" if len(listed) > 5 else ""
    return (
        f"{path}: holds TIFF of {len(kinds)} kinds: {', '.join(listed[:5])}{more}; expected those "
        f"of one scan; name only them: {cure}"
    )


def _role(kind: str) -> tuple[str | None, str | None]:
    """Return what files are by the conventions of the field, and the parameter for them."""
    found = ((role, option) for words, role, option in CONVENTIONS if re.search(words, kind, re.I))
    return next(found, (None, None))


def _pattern(kind: str, files: Sequence[Path], every: Sequence[str]) -> str | None:
    """Return the pattern that selects the files of a kind and no others, if there is one."""
    exact = re.sub(WHOLE, lambda number: "?" * len(number[0]), files[0].name)
    own = {file.name for file in files}
    tried = (kind.replace("#", "*"), exact, kind.replace("#", "[0-9]*"))
    return next((p for p in tried if set(fnmatch.filter(every, p)) == own), None)


def _sorted(path: Path, files: Sequence[Path], number: int | None) -> Series:
    """Sort files of one kind by the number that counts, or by all of them together."""
    columns = _numbers(files, DECIMAL) or _numbers(files, WHOLE) or []
    own = [at for at, readings in enumerate(columns) if len(set(readings[0])) == len(files)]
    if number is not None:
        if number - 1 not in own:
            raise UsageError(
                f"`number={number}`: the names in {path} have {len(columns)} numbers, of which "
                f"{_listed(own) or 'none'} differ from file to file; give one of these"
            )
        own = [number - 1]
    if own:
        return _by_one(path, files, _settled(path, files, columns, own), own)
    if len(set(zip(*(readings[0] for readings in columns), strict=True))) < len(files):
        raise UnsupportedInput(
            f"{path}: the names of several files have the same numbers, so their order is "
            "unknown; rename them"
        )
    return Series(
        tuple(files), (), "by all numbers in their names, none of which is different in each"
    )


def _numbers(files: Sequence[Path], form: str) -> list[list[Column]] | None:
    """Return the readings of each number in names, for all files; None if it has not this form."""
    names = [re.findall(form, file.stem) for file in files]
    if len({len(name) for name in names}) > 1:
        return None
    columns = list(zip(*names, strict=True))
    return [_readings(column) for column in columns] if all(map(_decimal, columns)) else None


def _decimal(column: Sequence[str]) -> bool:
    """Return whether points in numbers are decimal ones: 1.9 and 1.10 are a part and its files."""
    wholes, _, fractions = zip(*(number.partition(".") for number in column), strict=True)
    if len(set(map(len, fractions))) == 1:
        return True
    return len(set(wholes)) > 1 and not any(re.fullmatch(r"\d+0", part) for part in fractions)


def _readings(column: Sequence[str]) -> list[Column]:
    """Return what numbers may be if all have a minus: with it as a sign, or without it.

    Angles have fractions or steps; they have no zero with a minus, nor more than three digits.
    """
    signed = tuple(map(float, column))
    plain = tuple(map(abs, signed))
    if any("." in n or not n.startswith("-") for n in column):
        return [signed]
    if min(plain) == 0 or max(map(len, column)) > len("-360") or max(plain) > 360:
        return [plain]
    return [signed] if np.diff(sorted(plain)).min() > 1 else [signed, plain]


def _settled(
    path: Path, files: Sequence[Path], columns: Sequence[Sequence[Column]], own: Sequence[int]
) -> list[Column]:
    """Return the reading of each number that sorts files as those do that have one reading."""
    sure = next((columns[at][0] for at in own if len(columns[at]) == 1), None)
    if sure is None:
        raise UnsupportedInput(
            f"{path}: in the names of all its files, as in {files[0].name}, there is a minus "
            "before the number: it may be a sign or a hyphen, which sort them in opposite "
            "directions; rename them with numbers without a minus that rise from view to view"
        )
    order = np.argsort(sure)
    return [
        next((r for r in readings if (np.diff(np.take(r, order)) > 0).all()), readings[0])
        for readings in columns
    ]


def _by_one(
    path: Path, files: Sequence[Path], columns: Sequence[Column], own: Sequence[int]
) -> Series:
    """Sort files by a number that differs in each; if several do, they have to agree."""
    order = sorted(range(len(files)), key=lambda file: columns[own[0]][file])
    for at, other in itertools.pairwise(own):
        if sorted(order, key=lambda file: columns[other][file]) != order:
            raise UnsupportedInput(
                f"{path}: the numbers {at + 1} and {other + 1} in the names of its files, as of "
                f"{files[order[0]].name}, sort them differently; say which one counts: "
                f"`number={at + 1}` or `number={other + 1}`"
            )
    found = [_series(files, order, columns, at, own) for at in own]
    return min(found, key=lambda series: len(series.gaps))  # a time has more than a number


def _series(
    files: Sequence[Path],
    order: Sequence[int],
    columns: Sequence[Column],
    at: int,
    own: Sequence[int],
) -> Series:
    which = "" if len(columns) == 1 else f" {at + 1}"
    others = [other for other in own if other != at]
    agree = f"; the numbers {_listed(others)} rise with it" if others else ""
    return Series(
        tuple(files[file] for file in order),
        tuple(columns[at][file] for file in order),
        f"by the number{which} in their names{agree}",
    )


def _listed(columns: Sequence[int]) -> str:
    return ", ".join(str(at + 1) for at in columns)
