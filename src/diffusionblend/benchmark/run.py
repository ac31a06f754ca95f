"""The command: one experiment, or all."""

import logging
from typing import Any

from diffusionblend.benchmark import directions as paper
from diffusionblend.benchmark.captions import captions
from diffusionblend.benchmark.document import write_document
from diffusionblend.benchmark.experiment import (
    Settings,
    command,
    prepare,
    present,
    run_plan,
    write_tables,
)
from diffusionblend.benchmark.pages import write_report
from diffusionblend.benchmark.plan import Plan
from diffusionblend.benchmark.recipe import DIRECTIONS, names

log = logging.getLogger(__name__)
ALL = "all"


def run_benchmark(name: str, settings: Settings) -> dict[str, Any]:
    """Run one experiment, or all, and write their files.

    All are checked before the first is run.

    Returns:
        The files that were written, and the Markdown of the tables.

    Raises:
        DirectionsFailed: Directions alone were asked for, and one does not hold.
    """
    texts = []
    for plan in prepare_all(name, settings):
        log.info("%s: %d runs", plan.name, len(plan.points))
        texts.append(_run(plan, settings, strict=name != ALL))
    return {
        "folder": str(settings.folder),
        "document": str(write_document(settings.folder)),
        "report": str(write_report(settings.folder)),
        "text": "\n".join(texts),
    }


def prepare_all(name: str, settings: Settings) -> list[Plan]:
    """List the runs of one experiment, or of all; nothing is computed or written.

    Raises:
        DiffusionBlendError: Something of it cannot be done, and what.
    """
    return [prepare(each, settings) for each in (names() if name == ALL else [name])]


def _run(plan: Plan, settings: Settings, strict: bool) -> str:
    runs = run_plan(plan, settings)
    if plan.name != DIRECTIONS:
        return present(plan, runs, settings)
    found = paper.directions(runs)
    paper.write_directions(settings.folder, found)
    line = command(plan.name, settings)
    notes = captions(plan, runs, line)
    title, tables = plan.recipe.title, [paper.table(found)]
    text = write_tables(settings.folder, plan.name, title, tables, (), notes, line)
    if strict:
        write_document(settings.folder)
        write_report(settings.folder)
        paper.check(found)
    return text
