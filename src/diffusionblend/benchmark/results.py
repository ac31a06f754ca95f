"""What came of an experiment: runs with their place in it, and the files that keep them."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from diffusionblend.benchmark.cell import Result
from diffusionblend.benchmark.plan import Plan, Point
from diffusionblend.io.files import atomic

RESULTS, TIMES = "results.json", "times.json"
_DIGITS = {"psnr": 3, "psnr_std": 3, "ssim": 5, "ssim_std": 5}


@dataclass(frozen=True)
class Run:
    """A run and its result."""

    point: Point
    result: Result

    def figure(self, plane: str, name: str) -> float:
        """Return a figure of `metrics.evaluate`; NaN if there is none."""
        value = self.result.figures.get(plane, {}).get(name)
        return math.nan if value is None else value


def runs_of(plan: Plan, results: dict[str, Result]) -> tuple[Run, ...]:
    """Return the runs of a plan, in its order."""
    return tuple(Run(point, results[point.cell.key]) for point in plan.points)


def mean(values: Iterable[float]) -> float:
    """Return the mean, over seeds mostly; NaN of nothing."""
    known = list(values)
    return math.fsum(known) / len(known) if known else math.nan


def over_seeds(runs: Sequence[Run], plane: str, name: str) -> float:
    """Return the mean of a figure over runs that differ in their seeds."""
    return mean(run.figure(plane, name) for run in runs)


def write_results(folder: Path, name: str, plan: Plan, runs: Sequence[Run]) -> None:
    """Enter an experiment into `results.json`, and what it cost into `times.json`.

    The first is the same bytes for the same cells, however often they were interrupted, on the same
    kind of machine with the same number of threads; the second holds all that is not, those too.
    """
    entry = {
        "title": plan.recipe.title,
        "scale": plan.scale,
        "runs": [_facts(run) for run in runs],
    }
    _enter(folder / RESULTS, name, entry)
    _enter(folder / TIMES, name, {r.point.cell.key: _times(r.result) for r in runs})


def _enter(path: Path, name: str, entry: object) -> None:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        known = {}
    known[name] = entry
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _facts(run: Run) -> dict[str, Any]:
    point, result = run.point, run.result
    figures = {
        plane: {k: None if v is None else round(v, _DIGITS[k]) for k, v in values.items()}
        for plane, values in result.figures.items()
    }
    return {
        "volume": point.source.name,
        "acquisition": point.acquisition.label,
        "row": point.row.label,
        "value": point.value,
        "key": point.cell.key,
        "cell": msgspec.to_builtins(point.cell),
        "figures": figures,
        "total_variation": round(result.total_variation, 6),
        "total_variation_truth": round(result.total_variation_truth, 6),
        "groups": result.groups,
        "calls": result.calls,
        "trace": [[step, None if v is None else round(v, 3)] for step, v in result.trace],
    }


def _times(result: Result) -> dict[str, Any]:
    return msgspec.to_builtins(result.times)
