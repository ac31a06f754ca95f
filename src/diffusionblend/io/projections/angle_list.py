"""Texts that list the angle of each view: one a line, or behind its number as Nikon writes them.

Nikon's `_ctdata.txt` and `.ang` have a head of some lines, and then the number of a projection, its
angle in degrees, and its time. Where the last line of a head names the columns, the one that it
calls an angle counts.
"""

import re
from pathlib import Path

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.geometry_file import read_text

_BETWEEN = re.compile(r"[\s,;:]+")
_ANGLE = re.compile(r"angle|theta|rotation", re.I)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def read_angles(path: Path) -> np.ndarray:
    """Return the angles that a text lists, in its unit and order (views,)."""
    lines = [line.strip() for line in read_text(path).decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    heads = [at for at, line in enumerate(lines) if not _numbers(line)]
    begin = heads[-1] + 1 if heads else 0  # all before was a head, whatever numbers it has
    rows = [_numbers(line) for line in _with_points(lines[begin:])]
    if len({len(row) for row in rows}) != 1:
        raise CorruptInput(
            f"{path}: expected the angle of each view, one a line, or behind the number of the view"
        )
    return _angles(path, np.array(rows), lines[heads[-1]] if heads else "")


def _angles(path: Path, table: np.ndarray, head: str) -> np.ndarray:
    """Return the column of a table (views, columns) that has the angles."""
    columns = table.shape[1]
    called = [at for at, name in enumerate(_names(head, columns)) if _ANGLE.search(name)]
    if columns == 1 or len(called) == 1:
        return np.asarray(table[:, called[0] if called else 0])
    if not (np.diff(table[:, 0]) == 1).all():
        raise CorruptInput(
            f"{path}: has {columns} columns, of which the first does not count views; expected the "
            "angle of each view, one a line, or behind the number of the view, or a line above "
            "them that calls a column an angle"
        )
    if len(table) > 1 and np.ptp(table[:, 1]) == 0:
        raise CorruptInput(
            f"{path}: has {columns} columns, of which the second is {table[0, 1]:g} in all lines; "
            "expected the angles there, or a line above them that calls a column an angle"
        )
    return np.asarray(table[:, 1])


def _names(head: str, columns: int) -> list[str]:
    """Return what a line calls so many columns; none if it has other words."""
    for between in (r"[\t;,]+", r"\s+"):
        names = re.split(between, head.strip("#% \t"))
        if len(names) == columns:
            return names
    return []


def _with_points(lines: list[str]) -> list[str]:
    """Return lines with decimal points in place of commas, if all have one number with a comma.

    A number and its angle look alike; but angles are not all the same, nor do they begin with 0.
    """
    if not all(map(_DECIMAL_COMMA.fullmatch, lines)):
        return lines
    behind = [line.partition(",")[2] for line in lines]
    padded = any(len(part) > 1 and part.startswith("0") for part in behind)
    alike = len(set(map(len, behind))) == 1 and (padded or len(set(behind)) == 1)
    return [line.replace(",", ".") for line in lines] if alike and len(lines) > 1 else lines


def _numbers(line: str) -> list[float]:
    """Return the numbers of a line; none if a word is no finite number."""
    try:
        numbers = [float(word) for word in _BETWEEN.split(line) if word]
    except ValueError:
        return []
    return numbers if np.isfinite(numbers).all() else []
