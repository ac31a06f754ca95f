"""Texts that list the angle of each view: one a line, or behind its number as Nikon writes them.

Nikon's `_ctdata.txt` and `.ang` have a head of some lines, and then the number of a projection, its
angle in degrees, and its time.
"""

from pathlib import Path

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.geometry_file import read_text


def read_angles(path: Path) -> np.ndarray:
    """Return the angles that a text lists, in its unit and order (views,)."""
    rows: list[list[float]] = []
    for line in read_text(path).decode(errors="replace").splitlines():
        words = line.replace(",", " ").replace(";", " ").replace(":", " ").split()
        numbers = _numbers(words)
        if words and not numbers:
            rows = []  # all so far was a head, whatever numbers it has
        elif words:
            rows.append(numbers)
    columns = {len(row) for row in rows}
    if len(columns) != 1:
        raise CorruptInput(
            f"{path}: expected the angle of each view, one a line, or behind the number of the view"
        )
    table = np.array(rows)
    if table.shape[1] == 1:
        return table[:, 0]
    if not (np.diff(table[:, 0]) == 1).all():
        raise CorruptInput(
            f"{path}: has {table.shape[1]} columns, of which the first does not count views; "
            "expected the angle of each view, one a line, or behind the number of the view"
        )
    return table[:, 1]


def _numbers(words: list[str]) -> list[float]:
    """Return words as numbers; none if one is no finite number."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return []
    return numbers if np.isfinite(numbers).all() else []
