"""Geometry files of other packages: which package wrote one, and what it states.

ASTRA's and TIGRE's geometries are dictionaries, saved as JSON or .npz, and ASTRA's as .mat, too;
LEAP writes a text. Nothing is unpickled.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry.tools.astra import KINDS, from_astra
from diffusionblend.geometry.tools.leap import from_leap, is_leap
from diffusionblend.geometry.tools.tigre import from_tigre
from diffusionblend.geometry.tools.values import numbers
from diffusionblend.geometry.tools.vectors import Taken
from diffusionblend.io.files import naming
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.projections.formats.angles import MOST_TURNS
from diffusionblend.io.projections.formats.arrays import NPY, NPZ
from diffusionblend.io.projections.formats.geometry_file import AnyFacts, Data, facts_of, read_text
from diffusionblend.io.projections.formats.source import Unit
from diffusionblend.io.projections.options import Tool

MAT = b"MATLAB 5.0"
_OURS = "schema"
_ANGLES: dict[str | None, str] = {"astra": "ProjectionAngles", "tigre": "angles"}
"""Where packages have angles in radians."""


def read_tool_geometry(
    path: Path, tool: Tool | None, unit: Unit | None = None
) -> tuple[AnyFacts, Unit | None] | None:
    """Return what a geometry file of another package states; None if it is not such a file.

    Args:
        path: The file.
        tool: Which package it is of, if the user says it.
        unit: Of its angles, if the user says it.

    Returns:
        The facts, and the unit if it is still to be used: ASTRA's and TIGRE's angles are read in
        it, the others are degrees.
    """
    if tool in ("cil", "deepinv"):
        raise UsageError(
            f"`from_={tool!r}`: has no geometry file; CIL's NEXUSDataWriter writes the geometry "
            "with the projections, and `import` reads that; of deepinv save "
            "physics.projection_geometry as JSON, which is ASTRA's"
        )
    stated = _stated(path)
    if isinstance(stated, Mapping) and _OURS in stated and tool is None:
        return None
    with naming(path):
        own = _ANGLES.get(_tool_of(stated))
        if own is not None and isinstance(stated, Mapping) and stated.get(own) is not None:
            stated, unit = {**stated, own: _in_radians(stated, own, unit)}, None
        taken = _taken(stated, tool)
        if taken is None:
            return None
        order: Any = taken.order
        return facts_of(taken, Data(order=order)), unit


def _in_radians(stated: Mapping[str, Any], name: str, unit: Unit | None) -> np.ndarray:
    """Return angles of a package that has them in radians; refuse those that look like degrees.

    Golden angles take many turns, too, but to no whole degrees, and hardly to half turns.
    """
    angles = numbers(stated, name, np.shape(stated[name]))
    if unit is None:
        span, steps = float(np.ptp(angles)), np.diff(np.unique(angles))
        step = float(np.median(steps)) if steps.size else 0.0
        whole = np.allclose(angles, np.round(angles, 2), 0, 1e-9)
        half_turns = min(abs(math.remainder(arc, 180.0)) for arc in (span, span + step)) < 1e-3
        if span > MOST_TURNS * 2 * math.pi and (whole or half_turns):
            raise UnsupportedInput(
                f"its {name}, {angles.min():g} to {angles.max():g}, look like degrees; expected "
                "radians; correct them, or give `angles='degrees'` or `angles='radians'`"
            )
    return np.radians(angles) if unit == "degrees" else angles


def _stated(path: Path) -> Mapping[str, Any] | np.ndarray | str:
    """Return what a file holds: a dictionary, an array or a text."""
    text = read_text(path)
    if text.startswith(NPY):
        with parsing(path):
            return np.asarray(np.load(path, allow_pickle=False))
    if text.startswith(NPZ):
        with parsing(path), np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    if text.startswith(MAT):
        return _from_matlab(path)
    if path.suffix.lower() != ".json":
        words = text.decode("utf-8-sig", errors="replace")
        table = _table(words)
        return words if table is None else table
    try:
        found = msgspec.json.decode(text)
    except (
        msgspec.MsgspecError,
        ValueError,
        RecursionError,
    ):  # which the reader of geometry.json reports
        found = None
    return found if isinstance(found, dict) else {}


def _table(words: str) -> np.ndarray | None:
    """Return the numbers of a text that holds nothing else, in lines of the same length."""
    try:
        lines = [
            [float(word) for word in line.replace(",", " ").split()] for line in words.split("\n")
        ]
    except ValueError:
        return None
    lines = [line for line in lines if line]
    return np.array(lines) if len({len(line) for line in lines}) == 1 else None


def _from_matlab(path: Path) -> Mapping[str, Any]:
    """Return the one structure of a MAT-file, or all of it."""
    from scipy.io import loadmat

    with parsing(path):
        held = loadmat(path, simplify_cells=True)
    found = {name: value for name, value in held.items() if not name.startswith("__")}
    structures = [value for value in found.values() if isinstance(value, Mapping)]
    return structures[0] if len(structures) == 1 else found


def _taken(stated: Mapping[str, Any] | np.ndarray | str, tool: Tool | None) -> Taken | None:
    """Return what was taken over; None if it is not a geometry of these packages."""
    found = _tool_of(stated)
    if tool is not None and found != tool:
        raise UnsupportedInput(
            f"is {'no geometry that is known' if found is None else f'one of {found}'}; expected "
            f"one of {tool}, as `from_` says: {_EXPECTED[tool]}"
        )
    if isinstance(stated, str):
        return from_leap(stated) if found == "leap" else None
    if isinstance(stated, np.ndarray):
        return _by_vectors(stated) if found == "astra" else None
    if found == "astra":
        return from_astra(stated, stated.get("volume"))
    return from_tigre(stated) if found == "tigre" else None


_EXPECTED = {
    "astra": "its dictionary as JSON",
    "tigre": "vars(geo) as JSON, with its angles",
    "leap": "the text of save_parameters",
    "rtk": "the XML of its geometry",
    "cil": "NeXus",
    "deepinv": "ASTRA's dictionary as JSON",
}


def _tool_of(stated: Mapping[str, Any] | np.ndarray | str) -> Tool | None:
    """Return which package wrote it."""
    if isinstance(stated, str):
        return "leap" if is_leap(stated) else None
    if isinstance(stated, np.ndarray):
        return "astra" if stated.ndim == 2 and stated.shape[1] in (6, 12) else None
    if str(stated.get("type")) in KINDS:
        return "astra"
    return "tigre" if {"DSO", "DSD"} <= set(stated) else None


def _by_vectors(vectors: np.ndarray) -> Taken:
    """Refuse ASTRA's vectors alone: those of a cone and of parallel rays look the same."""
    flat = vectors.shape[1] == 6
    kinds = "fanflat_vec or parallel_vec" if flat else "cone_vec or parallel3d_vec"
    sizes = (
        '"DetectorCount": BINS' if flat else '"DetectorRowCount": ROWS, "DetectorColCount": BINS'
    )
    raise UnsupportedInput(
        f"has {len(vectors)} vectors as of ASTRA, but does not say of which kind they are, and how "
        f'many pixels there are; save {{"type": KIND, {sizes}, "Vectors": [...]}} as JSON, where '
        f"KIND is {kinds}"
    )
