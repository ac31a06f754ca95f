"""From runs to tables: one function for each kind."""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from diffusionblend.benchmark.recipe import Row, Value
from diffusionblend.benchmark.results import Run, mean, over_seeds
from diffusionblend.benchmark.shown import Scans, Shown
from diffusionblend.benchmark.table import Entry, Table, mark_best

HEADINGS = {"psnr": "PSNR / dB", "ssim": "SSIM"}
DECIMALS = {"psnr": 2, "ssim": 3}
NEVER = "never"
TOTAL_VARIATION = ("tv", "sbtv")


def quality(shown: Shown) -> Table:
    """Return figures of each method: conditions side by side for one plane, else below."""
    lead = [Entry(_label(row)) for row in shown.rows]
    if len(shown.show.planes) == 1:
        plane = shown.show.planes[0]
        head = ["Method", *(h for s in shown.scans for h in _heads(shown, shown.name(s)))]
        columns = [c for s in shown.scans for c in _columns(shown, s, plane)]
        rows = list(zip(lead, *columns, strict=True))
    else:
        several = len(shown.scans) > 1
        head = ["Scan"] * several + ["Method"]
        head += [h for plane in shown.show.planes for h in _heads(shown, plane)]
        rows = []
        for scans in shown.scans:
            columns = [c for plane in shown.show.planes for c in _columns(shown, scans, plane)]
            first = [[Entry(shown.name(scans))] * len(lead)] if several else []
            rows += list(zip(*first, lead, *columns, strict=True))
    known = [row for row in rows if any(_is_number(e) for e in row)]
    notes = (*_tv_words(shown), *_seed_words(shown), *shown.notes)
    return Table(shown.title, tuple(head), tuple(known), notes)


def gain(shown: Shown) -> Table:
    """Return what each row gains over the one above, beside what the paper states."""
    (scans, *_), plane = shown.scans, shown.show.planes[0]
    values = [over_seeds(shown.pick(scans, row), plane, "psnr") for row in shown.rows]
    spreads = [over_seeds(shown.pick(scans, row), plane, "psnr_std") for row in shown.rows]
    gains = [math.nan, *(b - a for a, b in itertools.pairwise(values))]
    columns = [
        [Entry(_label(row)) for row in shown.rows],
        mark_best([Entry(value=v, spread=s) for v, s in zip(values, spreads, strict=True)]),
        [Entry(value=g, signed=True) for g in gains],
        [Entry(row.paper) for row in shown.rows],
    ]
    head = ("Method", f"{plane} PSNR / dB", "over the row above / dB", shown.show.paper or "paper")
    return Table(shown.title, head, tuple(zip(*columns, strict=True)), shown.notes)


def total_variation(shown: Shown) -> Table:
    """Return the total variation along z, beside that of the truth."""
    (scans, *_) = shown.scans
    truth = mean(r.result.total_variation_truth for r in shown.runs[:1])
    lines = [("truth", truth)]
    for row in shown.rows:
        values = mean(r.result.total_variation for r in shown.pick(scans, row))
        lines.append((_label(row), values))
    rows = tuple(
        (Entry(label), Entry(value=value, decimals=4), Entry(value=value / truth))
        for label, value in lines
    )
    return Table(
        shown.title, ("Method", "z total variation / x", "of the truth's"), rows, shown.notes
    )


def cost(shown: Shown) -> Table:
    """Return minutes, evaluations and peak memory of each method."""
    (scans, *_) = shown.scans
    head = ("Method", "minutes", "steps", "evaluations (groups of 3 slices)", "peak memory / MiB",
            "axial PSNR / dB", *([shown.show.paper] if shown.show.paper else []))  # fmt: skip
    rows = []
    for row in shown.rows:
        runs = shown.pick(scans, row)
        times = [run.result.times for run in runs]
        steps = runs[0].point.cell.options.get("steps") if runs else None
        rows.append((
            Entry(_label(row)),
            Entry(value=mean(t.seconds for t in times) / 60),
            Entry(str(steps or "")),
            Entry(value=mean(run.result.groups for run in runs), decimals=0),
            Entry(value=mean(_peak(t) for t in times), decimals=0),
            Entry(value=over_seeds(runs, "axial", "psnr")),
            *([Entry(row.paper)] if shown.show.paper else []),
        ))  # fmt: skip
    return Table(shown.title, head, tuple(rows), shown.notes)


def sweep(shown: Shown) -> Table:
    """Return one figure of each method over what is swept."""
    if shown.show.x == "evaluations":
        return _by_evaluations(shown)
    plane, metric = shown.show.planes[0], shown.show.metrics[0]
    lines = curves(shown)
    ticks = list(dict.fromkeys(x for line in lines.values() for x, _ in line))
    head = [shown.show.x.replace("_", " "), *(tick_text(shown.show.x, x) for x in ticks)]
    rows = []
    for row in shown.rows:
        values = dict(lines[_label(row)])
        numbers = [values.get(x, math.nan) for x in ticks]
        entries = [Entry(value=v, decimals=DECIMALS[metric]) for v in numbers]
        entries = mark_best(entries)
        if shown.show.spread:
            known = [v for v in numbers if not math.isnan(v)]
            entries.append(Entry(value=max(known) - min(known), decimals=1))
        entries += [Entry(row.paper)] if shown.show.paper else []
        rows.append((Entry(_label(row)), *entries))
    head += ["highest - lowest"] if shown.show.spread else []
    head += [shown.show.paper] if shown.show.paper else []
    title = f"{shown.title} ({plane} {HEADINGS[metric]}; best of each row bold)"
    return Table(title, tuple(head), tuple(rows), shown.notes)


def curves(shown: Shown) -> dict[str, list[tuple[Value | None, float]]]:
    """Return the points (x, figure) of each row of a sweep, in order."""
    plane, metric, x = shown.show.planes[0], shown.show.metrics[0], shown.show.x
    lines: dict[str, list[tuple[Value | None, float]]] = {}
    for row in shown.rows:
        points = []
        for at, runs in _places(shown, row):
            where = _where(x, at, runs[0], runs)
            points.append((where, over_seeds(runs, plane, metric)))
        lines[_label(row)] = points
    return lines


def tick_text(x: str, value: Value | None) -> str:
    """Return what a place of a sweep is called."""
    if value is None:
        return "no noise" if x == "photons" else "-"
    if x == "jump_every" and value == 0:
        return NEVER
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _places(shown: Shown, row: Row) -> list[tuple[Scans, list[Run]]]:
    """Return the places of a row, over conditions and over what it sweeps itself."""
    values = row.sweep.values if row.sweep else (None,)
    found = [(s, shown.pick(s, row, value)) for s in shown.scans for value in values]
    return [(scans, runs) for scans, runs in found if runs]


def _where(x: str, scans: Scans, run: Run, runs: Sequence[Run]) -> Value | None:
    if x == "views":
        return scans.acquisition.views
    if x == "photons":
        return scans.acquisition.photons
    if x == "evaluations":
        return mean(r.result.groups for r in runs)
    return run.point.cell.options.get(x)


def _by_evaluations(shown: Shown) -> Table:
    plane, metric = shown.show.planes[0], shown.show.metrics[0]
    rows = [
        (
            Entry(_label(row)),
            Entry(str(runs[0].point.cell.options.get("steps", ""))),
            Entry(value=mean(r.result.groups for r in runs), decimals=0),
            Entry(value=over_seeds(runs, plane, metric), decimals=DECIMALS[metric]),
        )
        for row in shown.rows
        for _, runs in _places(shown, row)
    ]
    head = ("Method", "steps", "evaluations (groups of 3 slices)", f"{plane} {HEADINGS[metric]}")
    return Table(shown.title, head, tuple(rows), shown.notes)


def _label(row: Row) -> str:
    return f"{row.label} ({row.remark})" if row.remark else row.label


def _heads(shown: Shown, name: str) -> list[str]:
    return [f"{name}: {HEADINGS[metric]}" for metric in shown.show.metrics]


def _columns(shown: Shown, scans: Scans, plane: str) -> list[list[Entry]]:
    """Return a column for each metric, the best marked."""
    columns = []
    for metric in shown.show.metrics:
        entries = [
            Entry(
                value=over_seeds(shown.pick(scans, row), plane, metric),
                spread=over_seeds(shown.pick(scans, row), plane, f"{metric}_std"),
                decimals=DECIMALS[metric],
            )
            for row in shown.rows
        ]
        columns.append(mark_best(entries))
    return columns


def _tv_words(shown: Shown) -> list[str]:
    """Say where total variation wins: a learned prior that does not beat it shows nothing."""
    tv = [row for row in shown.rows if row.method in TOTAL_VARIATION]
    others = [row for row in shown.rows if row.method not in TOTAL_VARIATION]
    if not tv or not others:
        return []
    named, wins = " or ".join(row.label for row in tv), []
    for scans in shown.scans:
        for plane in shown.show.planes:
            best, second = (_best(shown, scans, rows, plane) for rows in (tv, others))
            if best > second:
                wins.append(f"{shown.name(scans)}, {plane}: by {best - second:.2f} dB")
    if not wins:
        return [f"Total variation ({named}) wins nowhere here"]
    return [f"Total variation ({named}) wins over every other row in PSNR: {'; '.join(wins)}"]


def _seed_words(shown: Shown) -> list[str]:
    """Say how much the seeds matter: less than that no difference of methods means much."""
    spreads = [
        statistics.stdev([run.figure(plane, "psnr") for run in runs])
        for scans in shown.scans
        for row in shown.rows
        for plane in shown.show.planes
        if len(runs := shown.pick(scans, row)) > 1
    ]
    if not spreads:
        return []
    return [f"Over the seeds, PSNR has a standard deviation of {max(spreads):.2f} dB at most"]


def _best(shown: Shown, scans: Scans, rows: Sequence[Row], plane: str) -> float:
    values = [over_seeds(shown.pick(scans, row), plane, "psnr") for row in rows]
    return max((v for v in values if not math.isnan(v)), default=math.nan)


def _peak(times: object) -> float:
    value = getattr(times, "gpu_peak_mib", None) or getattr(times, "peak_mib", None)
    return math.nan if value is None else float(value)


def _is_number(entry: Entry) -> bool:
    return entry.value is not None and not math.isnan(entry.value)


TABLES: dict[str, Callable[[Shown], Table]] = {
    "quality": quality,
    "gain": gain,
    "total-variation": total_variation,
    "cost": cost,
    "sweep": sweep,
}
"""The kinds that are tables; the others are pictures alone."""
