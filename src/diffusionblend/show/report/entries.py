"""What a report says of a run: from its volume, what is beside it, the truth and the scan."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.io.formats.registry import STD
from diffusionblend.methods import methods
from diffusionblend.metrics import evaluate
from diffusionblend.reconstruction.assessment import assess_volume
from diffusionblend.runs.provenance import CLASSICAL, beside
from diffusionblend.runs.record import Record
from diffusionblend.runs.trace import Trace
from diffusionblend.show.report.model import Entry, Points
from diffusionblend.show.report.numbers import named
from diffusionblend.show.report.runs import LONGEST_NAME, Run, on_grid

if TYPE_CHECKING:
    from diffusionblend.quality import Quality

log = logging.getLogger(__name__)

MOST_STEPS = 40
_OTHER_SCAN = "it belongs to another scan than the one given (the SHA-256 differs)"
_LONGEST_FACT, _LAST_STEP = 500, 10**9


@dataclass(frozen=True, eq=False)
class Compared:
    """What runs are compared with.

    Attributes:
        truth: On the grid of the runs; None if it is not known.
        scan: What was measured; None if it is not given.
        scan_digests: Those that records may have of it: of its file, and its own.
    """

    truth: Volume | None = None
    scan: Scan | None = None
    scan_digests: tuple[str, ...] = ()


def make_entries(runs: Sequence[Run], compared: Compared) -> Iterator[Entry]:
    """Yield an entry for each run, and for each classical picture beside it that is not a run."""
    shown = [run.volume.hu for run in runs]
    for run in runs:
        entry = _entry(run, compared)
        yield entry
        plain = _beside(run, CLASSICAL)
        if plain is not None and not any(np.array_equal(plain.hu, hu) for hu in shown):
            shown.append(plain.hu)
            yield _classical(entry, plain, compared, several=len(runs) > 1)


def _bare(name: str, volume: Volume, compared: Compared) -> Entry:
    figures = {} if compared.truth is None else evaluate(volume, compared.truth)
    return Entry(name, volume.as_seen(), figures=figures)


def _entry(run: Run, compared: Compared) -> Entry:
    found, std = run.found, _beside(run, STD)
    quality, quality_gap = _quality(run, compared)
    entry = replace(
        _bare(run.name, run.volume, compared),
        quality=quality,
        std=None if std is None else std.as_seen(),
        provenance={"File": found.path.name, "SHA-256": found.digest},
        gaps=tuple(filter(None, (found.missing, quality_gap))),
    )
    return entry if found.record is None else _with_record(entry, run, found.record, compared)


def _with_record(entry: Entry, run: Run, record: Record, compared: Compared) -> Entry:
    psnr, lost = _psnr(run, record, compared)
    residual = [(s.step, s.residual) for s in record.steps if 0 <= s.step < _LAST_STEP]
    scan = record.scan.get("sha256")
    other_scan = bool(compared.scan_digests) and scan not in compared.scan_digests
    if other_scan:
        log.warning("%s: %s", entry.name, _OTHER_SCAN)
    gaps = (
        _OTHER_SCAN * other_scan,
        "there is only one sample (`samples=1`), so nothing says how much depends on the seed"
        * (record.prior is not None and entry.std is None),
        "no intermediate volumes were saved (`save_steps`), so there are no curves over the steps"
        * (not record.steps),
        lost,
    )
    return replace(
        entry,
        seconds=math.nan if record.seconds is None else record.seconds,
        words=_words(record.method.get("name")),
        psnr=_by_sample(record, psnr),
        residual=_by_sample(record, residual),
        configuration={n: _plain(v) for n, v in record.method.items() if n != "name"},
        provenance=entry.provenance | _provenance(record),
        command=record.again,
        gaps=(*entry.gaps, *filter(None, gaps)),
    )


def _quality(run: Run, compared: Compared) -> "tuple[Quality | None, str]":
    """Return the quality record, and what is to be said about it."""
    record, scan = run.found.record, compared.scan
    if record is not None and record.quality is not None:
        return record.quality, ""
    turned = run.volume if scan is None else run.volume.oriented_like(scan.geometry.grid)
    if scan is not None and turned.grid.close_to(scan.geometry.grid):
        known = None if record is None else methods().get(str(record.method.get("name")))
        fits_data = known is not None and known.fits_data
        quality = assess_volume(scan, turned, fits_data=fits_data)
        return quality, "its quality was assessed now, from the scan given"
    return None, "" if record is None else "its record holds no quality record"


def _words(method: object) -> str:
    """Return what a method does, in words, if it is one of this package."""
    known = methods().get(str(method))
    return "" if known is None else known.words


def _by_sample(record: Record, points: Points) -> tuple[Points, ...]:
    """Return the points of each sample, whose steps are counted on in the record."""
    found: dict[int, list[tuple[int, float | None]]] = {}
    for step, value in points:
        sample, index = record.sample_of(step)
        found.setdefault(sample, []).append((index, value))
    return tuple(map(tuple, found.values()))


def _psnr(run: Run, record: Record, compared: Compared) -> tuple[Points, str]:
    """Return the PSNR of intermediate volumes, and what is to be said about them."""
    steps = [s for s in record.steps if 0 <= s.step < _LAST_STEP]
    if compared.truth is None or not steps:
        return (), ""
    trace, lost = Trace(compared.truth), []
    for index in evenly_spaced(len(steps), MOST_STEPS):
        volume = run.found.step(steps[index])
        if volume is None:
            lost.append(str(steps[index].step))
            continue
        volume = on_grid(Path(steps[index].volume), volume, run.volume.grid, run.found.path)
        trace.look(steps[index].step, volume.hu)
    gap = f"volumes of steps {', '.join(lost)} are not there" if lost else ""
    return tuple(trace.points), gap


def _beside(run: Run, part: str) -> Volume | None:
    volume = run.found.part(part)
    if volume is None:
        return None
    return on_grid(beside(run.found.path, part), volume, run.volume.grid, run.found.path)


def _classical(entry: Entry, volume: Volume, compared: Compared, *, several: bool) -> Entry:
    """Return the classical picture beside a reconstruction."""
    distance = entry.quality.classical if entry.quality else None
    method = "" if distance is None else distance.method[:LONGEST_NAME]
    kind = f"classical, of {entry.name}" if several else "classical"
    name = f"{method} ({kind})" if method else kind
    return replace(_bare(name, volume, compared), words=_words(method))


def _provenance(record: Record) -> dict[str, str]:
    scan = {named("Scan", name): value for name, value in record.scan.items()}
    prior = {named("Prior", name): value for name, value in (record.prior or {}).items()}
    several = f" and the next {record.samples - 1}" if record.samples > 1 else ""
    facts = {
        "Method": record.method.get("name", ""),
        "Seed": "" if record.seed is None else f"{record.seed}{several}",
        **prior,
        **scan,
        "Ended with": "" if record.convergence is None else str(record.convergence),
        "Device": record.device,
        "Processor": record.machine.processor,
        "Threads": "" if record.machine.threads is None else str(record.machine.threads),
        "Finished": record.finished,
        "Versions": ", ".join(f"{name} {text}" for name, text in record.versions.items()),
    }
    return {name: _plain(value) for name, value in facts.items() if value != ""}


def _plain(value: object) -> str:
    """Return what JSON can say as a line of text, cut where it is very long."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_FACT else f"{text[:_LONGEST_FACT]} ..."
