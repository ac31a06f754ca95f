"""Texts that list the angle of each view: one a line, or behind its number as Nikon writes them.

Nikon's `_ctdata.txt` and `.ang` have a head of some lines, and then the number of a projection, its
angle in degrees, and its time. Where a line of a head names the columns, the one that it calls an
angle counts, whatever the others hold. Tables of spreadsheets have quotes, marks of UTF-8 or UTF-16
before their first number, and decimal commas between semicolons or tabs.
"""

import codecs
import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.formats.geometry_file import read_text

_BETWEEN = re.compile(r"[\s,;:\"'\[\]\N{DEGREE SIGN}]+")
_ANGLE = re.compile(r"angle|theta|rotation", re.I)
_COMMENT = "#%"
_DELIMITERS = "\t;,"
_ONE_COMMA = re.compile(r"[+-]?\d+,\d+")
_DECIMAL_COMMA = re.compile(r"(?<![^\s;\"'])([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)(?![^\s;\"'])")
"""A number with a comma in it that other marks set apart from its neighbours."""
_DECIMAL_POINT = re.compile(r"\d\.\d")
_FORTRAN = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")
_Split = Callable[[str], list[str]]
LISTED = 3
"""Numbers of a single line from which it is a list, not a view's number and its angle."""


def read_angles(path: Path) -> np.ndarray:
    """Return the angles that a text lists, in its unit and order (views,)."""
    lines = [line.strip() for line in _decoded(read_text(path)).splitlines()]
    lines = [line for line in lines if line]
    named = _column_by_name(lines)
    if named is not None:
        return named
    plain = [_without_comment(line) for line in lines if line[0] not in _COMMENT]
    heads = [at for at, line in enumerate(plain) if not _numbers(line)]
    begin = heads[-1] + 1 if heads else 0  # all before was a head, whatever numbers it has
    rows = [_numbers(line) for line in _with_points(plain[begin:])]
    if any(line.startswith("[") for line in plain[begin : begin + 1]) or _is_list(rows):
        return np.array([number for row in rows for number in row])
    if len({len(row) for row in rows}) != 1:
        raise CorruptInput(
            f"{path}: expected the angle of each view, one per line, alone or after the number of "
            "the view"
        )
    table = np.array(rows)
    _check_head(path, lines, table.shape[1])
    return _angles(path, table)


def _check_head(path: Path, lines: Sequence[str], columns: int) -> None:
    """Refuse rows that have more numbers than their head has names, as by decimal commas."""
    head = next((line for line in lines if _ANGLE.search(line)), "")
    names = _names(head.lstrip(_COMMENT), _anyhow)
    if 1 < len(names) < columns:
        raise CorruptInput(
            f"{path}: its rows have {columns} numbers, and {len(names)} names stand above them; "
            "expected as many of each; use decimal points, not commas, or write the angles "
            "alone, one per line"
        )


def _decoded(text: bytes) -> str:
    """Return a text of a file, by the mark that it begins with, if there is one."""
    wide = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return text.decode("utf-16" if wide else "utf-8-sig", errors="replace")


def _without_comment(line: str) -> str:
    return line.partition("#")[0].rstrip()


def _is_list(rows: Sequence[Sequence[float]]) -> bool:
    """Return whether numbers are all in one line."""
    return len(rows) == 1 and len(rows[0]) >= LISTED


def _column_by_name(lines: Sequence[str]) -> np.ndarray | None:
    """Return the column that one of the lines above it calls an angle, if it is clear which."""
    for at, head in enumerate(lines):
        if not _ANGLE.search(head):
            continue
        below = [line for line in lines[at + 1 :] if line[0] not in _COMMENT]
        for split in (*map(_by, _DELIMITERS), str.split, _anyhow):
            found = _called(_names(head.lstrip(_COMMENT), split), [split(line) for line in below])
            if found is not None:
                return found
    return None


def _names(head: str, split: _Split) -> list[str]:
    """Return what a head calls its columns; rows may be divided in another way."""
    if split is not _anyhow:
        return split(head.strip())
    return re.split(r"[\t;,]+", head.strip())


def _called(names: Sequence[str], rows: Sequence[Sequence[str]]) -> np.ndarray | None:
    called = [at for at, name in enumerate(names) if _ANGLE.search(name)]
    if not rows or len(called) != 1 or {len(row) for row in rows} != {len(names)}:
        return None
    cells = [_DECIMAL_COMMA.sub(r"\1.\2", row[called[0]].strip()) for row in rows]
    numbers = [_numbers(cell) for cell in cells]
    return np.array(numbers)[:, 0] if all(len(number) == 1 for number in numbers) else None


def _angles(path: Path, table: np.ndarray) -> np.ndarray:
    """Return the column of a table (views, columns) that has the angles."""
    columns = table.shape[1]
    if columns == 1:
        return np.asarray(table[:, 0])
    if not (np.diff(table[:, 0]) == 1).all():
        raise CorruptInput(
            f"{path}: has {columns} columns, and the first does not count views; expected one "
            "angle per line, alone or after the number of the view, or a heading that calls a "
            "column an angle"
        )
    if len(table) > 1 and np.ptp(table[:, 1]) == 0:
        raise CorruptInput(
            f"{path}: has {columns} columns, and the second is {table[0, 1]:g} in all lines; "
            "expected the angles there, or a heading that calls a column an angle"
        )
    return np.asarray(table[:, 1])


def _by(delimiter: str) -> _Split:
    """Return what divides a line of a table by a mark, but for those in quotes."""
    return lambda line: next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))


def _anyhow(line: str) -> list[str]:
    """Divide a line by whatever stands between its numbers."""
    return [word for word in _BETWEEN.split(line) if word]


def _with_points(lines: Sequence[str]) -> Sequence[str]:
    """Return lines with decimal points in place of commas, if these are decimal ones.

    A comma is a decimal point if something else divides all lines and no number has a point. Alone,
    a number and its angle look alike; but angles are not all the same, nor do they begin with 0.
    """
    if all(map(_ONE_COMMA.fullmatch, lines)):
        behind = [line.partition(",")[2] for line in lines]
        padded = any(len(part) > 1 and part.startswith("0") for part in behind)
        alike = len(set(map(len, behind))) == 1 and (padded or len(set(behind)) == 1)
        return [line.replace(",", ".") for line in lines] if alike and len(lines) > 1 else lines
    pointed = [_DECIMAL_COMMA.sub(r"\1.\2", line) for line in lines]
    mixed = any("," in line for line in pointed) or any(map(_DECIMAL_POINT.search, lines))
    return lines if mixed else pointed


def _numbers(line: str) -> list[float]:
    """Return the numbers of a line; none if a word is not a finite number."""
    try:
        numbers = [float(_FORTRAN.sub("e", word)) for word in _anyhow(line)]
    except ValueError:
        return []
    return numbers if np.isfinite(numbers).all() else []
