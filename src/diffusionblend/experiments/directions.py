"""The paper's directions, measured: what it says, what comes out here, and whether that agrees."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from diffusionblend.errors import CorruptInput, DiffusionBlendError
from diffusionblend.io.files import write_file
from diffusionblend.sampling.partition import whole_blocks
from diffusionblend.show.report.tables import Cell, Column, Table

if TYPE_CHECKING:
    import pandas as pd

FILE = "directions.json"
RATIO = (0.32, 0.36)
"""Bounds of the evaluations of ++ over those of DiffusionBlend; a third, and the ends."""

PLUS, BLEND, DDS, DDS_2D = "DiffusionBlend++", "DiffusionBlend", "DDS", "DDS 2D"
FIXED, ADJACENT, JUMP = "fixed partition", "adjacent", "jump every "
HIGHER = [
    ("sagittal", PLUS, DDS, ""),
    ("sagittal", DDS, DDS_2D, ""),
    ("coronal", PLUS, DDS, ""),
    ("coronal", DDS, DDS_2D, ""),
    ("sagittal", ADJACENT, FIXED, " (+1.17 dB)"),
    ("sagittal", PLUS, ADJACENT, " (+1.63 dB)"),
]
"""Planes, and which row has a higher PSNR than which; the gain that the paper states."""


class DirectionsFailed(DiffusionBlendError):
    """A direction of the paper does not hold here."""

    code = 8


@dataclass(frozen=True)
class Direction:
    """One thing that the paper says.

    Attributes:
        margin: By how much it holds; below zero by how much it does not.
    """

    claim: str
    measured: str
    margin: float
    unit: str
    holds: bool


def directions(runs: "pd.DataFrame") -> tuple[Direction, ...]:
    """Return all directions, measured on the runs of the recipe `directions`."""
    means = runs.groupby("row", observed=True).mean(numeric_only=True)
    return (
        *(_higher(means[f"{plane} psnr"], plane, *rest) for plane, *rest in HIGHER),
        *_total_variation(means),
        _best_jump(means["axial psnr"]),
        _evaluations(means),
    )


def directions_table(found: Sequence[Direction]) -> Table:
    """Return the directions as a table."""
    verdicts = [Cell("holds" if d.holds else "not reproduced", best=not d.holds) for d in found]
    columns = (
        Column("measured here", tuple(Cell(d.measured) for d in found), number=False),
        Column("verdict", tuple(verdicts), number=False),
    )
    claims = tuple(d.claim for d in found)
    return Table("paper (text)", claims, columns, "The paper's directions")


def write_directions(folder: Path, found: Sequence[Direction]) -> None:
    """Write `directions.json`."""
    text = json.dumps([asdict(d) for d in found], indent=1) + "\n"
    write_file(folder / FILE, text)


def read_directions(folder: Path) -> tuple[Direction, ...]:
    """Return the directions that a folder holds; empty if they were not measured."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Direction, ...])
    except FileNotFoundError:
        return ()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptInput(f"{path}: is damaged ({error}); remove it") from error


def check(found: Sequence[Direction]) -> None:
    """Raise DirectionsFailed if one does not hold: which, and by how much."""
    failed = [d for d in found if not d.holds]
    if failed:
        each = "; ".join(f"{d.claim}: {d.measured}, by {-d.margin:.3g} {d.unit}" for d in failed)
        raise DirectionsFailed(f"{len(failed)} of {len(found)} directions do not hold: {each}")


def _higher(psnr: "pd.Series", plane: str, better: str, worse: str, paper: str) -> Direction:
    high, low = float(psnr[better]), float(psnr[worse])
    claim = f"{plane} PSNR: {better} > {worse}{paper}"
    measured = f"{high:.2f} and {low:.2f} dB ({high - low:+.2f})"
    return Direction(claim, measured, high - low, "dB", high > low)


def _total_variation(means: "pd.DataFrame") -> list[Direction]:
    dds, plus = (float(means.at[name, "z total variation"]) for name in (DDS, PLUS))
    truth = float(means.at[PLUS, "z total variation of the truth"])
    claims = [
        (f"{DDS} < {PLUS}", dds, plus, dds < plus),
        (f"{PLUS} <= truth", plus, truth, plus <= truth),
    ]
    return [
        Direction(f"z total variation: {claim}", f"{a:.4f} and {b:.4f}", b - a, "x", holds)
        for claim, a, b, holds in claims
    ]


def _best_jump(psnr: "pd.Series") -> Direction:
    """Compare a cross partition at every second step with all other frequencies."""
    others = {n.removeprefix(JUMP): float(psnr[n]) for n in psnr.index if n.startswith(JUMP)}
    margin = float(psnr[PLUS]) - max(others.values())
    values = ", ".join(f"{name} {value:.2f}" for name, value in others.items())
    claim = "axial PSNR: cross partition at every 2nd step is best (A.3)"
    measured = f"2: {psnr[PLUS]:.2f} dB; others: {values}"
    return Direction(claim, measured, margin, "dB", margin > 0)


def _evaluations(means: "pd.DataFrame") -> Direction:
    """Compare evaluations for as many slices: ++ pads its volume to a multiple of nine."""
    plus, blend = (float(means.at[name, "evaluations"]) for name in (PLUS, BLEND))
    slices = int(means.at[PLUS, "slices"])
    padded = whole_blocks(slices)
    ratio = (plus / padded) / (blend / slices)
    low, high = RATIO
    return Direction(
        claim="evaluations: DiffusionBlend++ a third of DiffusionBlend",
        measured=f"{ratio:.3f} a slice ({plus:.0f} for {padded} padded slices, {blend:.0f} for "
        f"{slices}: {plus / blend:.3f} in all)",
        margin=min(ratio - low, high - ratio),
        unit="of the evaluations",
        holds=low <= ratio <= high,
    )
