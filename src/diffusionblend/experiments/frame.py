"""The runs of an experiment as a tidy table: one row a run, from which all tables are made."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffusionblend.data.volume import Volume
from diffusionblend.experiments.measure import truth_of
from diffusionblend.experiments.recipe import Recipe, Row, Value
from diffusionblend.experiments.runs import Run
from diffusionblend.experiments.store import Result, load_hu
from diffusionblend.metrics import evaluate

COST = ["minutes", "memory / MiB", "finished", "hardware"]
_SHOWN = ["scan", "label", "paper"]  # for people
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def make_frame(recipe: Recipe, runs: Sequence[tuple[Run, Result]], folder: Path) -> pd.DataFrame:
    """Return the runs of a recipe as a table, one row a run, in order.

    Its columns are the run's place in the recipe (`volume`, `acquisition`, both as `scan`, `row`,
    with its remark as `label`, `value` of a sweep), what is swept, what it cost, and each figure of
    each plane, such as `axial psnr` and its spread over the slices, `axial psnr_std`. Names are
    ordered as in the recipe.

    Args:
        recipe: The recipe.
        runs: Its runs and their results.
        folder: Where their volumes are, of which metrics of other packages are taken.
    """
    swept = sorted({"steps"} | {row.sweep.option for row in recipe.rows if row.sweep})
    frame = pd.DataFrame([
        _row(run, result, several=len(recipe.volumes) > 1)
        | {name: _or_nan(run.inputs.options.get(name)) for name in swept}
        | _figures(result.figures)
        | _of_kept(run, folder, recipe.metrics)
        for run, result in runs
    ])  # fmt: skip
    names = {name: list(frame[name].unique()) for name in ("volume", "acquisition", "scan")}
    names |= {"row": [r.label for r in recipe.rows], "label": [label_of(r) for r in recipe.rows]}
    for name, known in names.items():
        frame[name] = pd.Categorical(frame[name], categories=known, ordered=True)
    return frame


def label_of(row: Row) -> str:
    """Return what tables call a row."""
    return f"{row.label} ({row.remark})" if row.remark else row.label


def to_csv(frame: pd.DataFrame) -> str:
    """Return the table in CSV, for other programs; no text in it is taken for a formula."""
    whole = frame.drop(columns=[*_SHOWN, "trace"]).convert_dtypes()
    return whole.astype(object).map(_harmless).to_csv(index=False, lineterminator="\n")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the table for `results.json`: the same for the same runs, thus without their cost."""
    kept = frame.drop(columns=[*_SHOWN, *COST]).astype({"trace": object})
    return json.loads(kept.to_json(orient="records", double_precision=6))


def _harmless(value: object) -> object:
    """Put an apostrophe before text that spreadsheets would compute."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _row(run: Run, result: Result, *, several: bool) -> dict[str, Any]:
    volume, acquisition, times = run.source.name, run.acquisition.label, result.times
    return {
        "volume": volume,
        "acquisition": acquisition,
        "scan": f"{volume}, {acquisition}" if several else acquisition,
        "row": run.row.label,
        "label": label_of(run.row),
        "method": run.row.method,
        "value": _or_nan(run.value),
        "views": _or_nan(run.acquisition.views),
        "photons": _or_nan(run.acquisition.photons),
        "slices": run.inputs.slices[1] - run.inputs.slices[0],
        "seed": run.inputs.seed,
        "paper": run.row.paper,
        "z total variation": result.total_variation,
        "z total variation of the truth": result.total_variation_truth,
        "evaluations": result.groups,
        "calls": result.calls,
        "minutes": times.seconds / 60,
        "memory / MiB": _or_nan(times.gpu_peak_mib or times.peak_mib),
        "finished": times.finished,
        "hardware": times.hardware,
        "trace": result.trace,
        "key": run.key,
    }


def _or_nan(value: Value | None) -> Value:
    return math.nan if value is None else value


def _figures(figures: Mapping[str, Mapping[str, float | None]]) -> dict[str, Value]:
    return {f"{plane} {k}": _or_nan(v) for plane, each in figures.items() for k, v in each.items()}


def _of_kept(run: Run, folder: Path, metrics: Sequence[str]) -> dict[str, Value]:
    """Return figures by metrics that were not taken in the run itself."""
    if not metrics:
        return {}
    truth = truth_of(run.inputs, run.file)
    return _figures(evaluate(Volume(load_hu(folder, run.key), truth.grid), truth, metrics))
