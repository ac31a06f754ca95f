"""What of an experiment a table or a picture shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffusionblend.benchmark.plan import Plan
from diffusionblend.benchmark.recipe import Acquisition, Row, Show, Source, Value
from diffusionblend.benchmark.results import Run


@dataclass(frozen=True)
class Scans:
    """A volume in one acquisition: what methods are compared on."""

    source: Source
    acquisition: Acquisition


@dataclass(frozen=True)
class Shown:
    """What of an experiment a table or picture shows.

    Attributes:
        show: What is asked for.
        title: What it is.
        scans: Conditions.
        rows: Methods.
        runs: Runs of these.
        notes: Sentences below.
    """

    show: Show
    title: str
    scans: tuple[Scans, ...]
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    notes: tuple[str, ...]

    def pick(self, scans: Scans, row: Row, value: Value | None = None) -> list[Run]:
        """Return the runs of one place of the table, that differ in their seeds."""
        return [
            run
            for run in self.runs
            if run.point.source == scans.source
            and run.point.acquisition == scans.acquisition
            and run.point.row == row
            and (value is None or run.point.value == value)
        ]

    def name(self, scans: Scans) -> str:
        """Return what a condition is called: its acquisition, and its volume if there are more."""
        several = len({s.source.name for s in self.scans}) > 1
        return (
            f"{scans.source.name}, {scans.acquisition.label}"
            if several
            else (scans.acquisition.label)
        )


def select(plan: Plan, show: Show, runs: Sequence[Run], notes: tuple[str, ...]) -> Shown:
    """Return what a `show` of a recipe asks for."""
    recipe = plan.recipe
    acquisitions = [
        a for a in recipe.acquisitions if not show.acquisitions or a.label in show.acquisitions
    ]
    rows = tuple(r for r in recipe.rows if not show.rows or r.label in show.rows)
    kept = tuple(r for r in runs if r.point.row in rows and r.point.acquisition in acquisitions)
    scans = tuple(Scans(source, a) for source in recipe.volumes for a in acquisitions)
    title = recipe.title + (f": {show.caption}" if show.caption else "")
    return Shown(show, title, scans, rows, kept, notes)
