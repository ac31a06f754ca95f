"""The paper's directions, measured: what it says, what comes out here, and whether that agrees."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from diffusionblend.benchmark.results import Run, mean, over_seeds
from diffusionblend.benchmark.table import Entry, Table
from diffusionblend.errors import DiffusionBlendError
from diffusionblend.io.files import atomic
from diffusionblend.partition import padded_length

FILE = "directions.json"
RATIO = (0.32, 0.36)
"""Bounds of the evaluations of ++ over those of DiffusionBlend; a third, and the ends."""

PLUS, BLEND, DDS, DDS_2D = "DiffusionBlend++", "DiffusionBlend", "DDS", "DDS 2D"
FIXED, ADJACENT = "fixed partition", "adjacent"
JUMP = "jump every {}"


class DirectionsFailed(DiffusionBlendError):
    """A direction of the paper does not hold here."""

    code = 8


@dataclass(frozen=True)
class Direction:
    """One thing that the paper says.

    Attributes:
        claim: What it says.
        measured: What came out.
        margin: By how much it holds; below zero by how much it does not.
        unit: Of the margin.
        holds: Whether it does.
    """

    claim: str
    measured: str
    margin: float
    unit: str
    holds: bool


def directions(runs: Sequence[Run]) -> tuple[Direction, ...]:
    """Return all directions, measured on the runs of the recipe `directions`."""
    rows = _by_row(runs)
    found = [
        _higher(rows, plane, better, worse, "")
        for plane in ("sagittal", "coronal")
        for better, worse in ((PLUS, DDS), (DDS, DDS_2D))
    ]
    found.append(_higher(rows, "sagittal", ADJACENT, FIXED, " (+1.17 dB)"))
    found.append(_higher(rows, "sagittal", PLUS, ADJACENT, " (+1.63 dB)"))
    found += _total_variation(rows)
    found.append(_best_jump(rows))
    found.append(_evaluations(rows))
    return tuple(found)


def table(found: Sequence[Direction]) -> Table:
    """Return the directions as a table."""
    rows = tuple(
        (
            Entry(d.claim),
            Entry(d.measured),
            Entry("holds" if d.holds else "not reproduced", best=not d.holds),
        )
        for d in found
    )
    return Table("The paper's directions", ("paper (text)", "measured here", "verdict"), rows)


def write_directions(folder: Path, found: Sequence[Direction]) -> None:
    """Write `directions.json`."""
    with atomic(folder / FILE) as temporary:
        temporary.write_text(
            json.dumps([asdict(d) for d in found], indent=1) + "\n", encoding="utf-8"
        )


def check(found: Sequence[Direction]) -> None:
    """Raise DirectionsFailed if one does not hold: which, and by how much."""
    failed = [d for d in found if not d.holds]
    if failed:
        each = "; ".join(f"{d.claim}: {d.measured}, by {-d.margin:.3g} {d.unit}" for d in failed)
        raise DirectionsFailed(f"{len(failed)} of {len(found)} directions do not hold: {each}")


def _by_row(runs: Sequence[Run]) -> dict[str, list[Run]]:
    rows: dict[str, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.point.row.label, []).append(run)
    return rows


def _higher(
    rows: dict[str, list[Run]], plane: str, better: str, worse: str, paper: str
) -> Direction:
    high, low = (over_seeds(rows[name], plane, "psnr") for name in (better, worse))
    return Direction(
        claim=f"{plane} PSNR: {better} > {worse}{paper}",
        measured=f"{high:.2f} and {low:.2f} dB ({high - low:+.2f})",
        margin=high - low,
        unit="dB",
        holds=high > low,
    )


def _total_variation(rows: dict[str, list[Run]]) -> Iterator[Direction]:
    dds, plus = (mean(r.result.total_variation for r in rows[name]) for name in (DDS, PLUS))
    truth = mean(r.result.total_variation_truth for r in rows[PLUS])
    yield _lower("z total variation: DDS < DiffusionBlend++", dds, plus, dds < plus)
    yield _lower("z total variation: DiffusionBlend++ <= truth", plus, truth, plus <= truth)


def _lower(claim: str, low: float, high: float, holds: bool) -> Direction:
    return Direction(claim, f"{low:.4f} and {high:.4f}", high - low, "x", holds)


def _best_jump(rows: dict[str, list[Run]]) -> Direction:
    """Compare a cross partition at every second step with all other frequencies."""
    prefix = JUMP.format("")
    others = {
        name.removeprefix(prefix): over_seeds(found, "axial", "psnr")
        for name, found in rows.items()
        if name.startswith(prefix)
    }
    two, best = over_seeds(rows[PLUS], "axial", "psnr"), max(others, key=lambda n: others[n])
    values = ", ".join(f"{name} {value:.2f}" for name, value in others.items())
    return Direction(
        claim="axial PSNR: cross partition at every 2nd step is best (A.3)",
        measured=f"2: {two:.2f} dB; others: {values}",
        margin=two - others[best],
        unit="dB",
        holds=two > others[best],
    )


def _evaluations(rows: dict[str, list[Run]]) -> Direction:
    """Compare evaluations for as many slices: ++ pads its volume to a multiple of nine."""
    plus, blend = (mean(r.result.groups for r in rows[name]) for name in (PLUS, BLEND))
    first, last = rows[PLUS][0].point.cell.slices
    slices, padded = last - first, padded_length(last - first)
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
