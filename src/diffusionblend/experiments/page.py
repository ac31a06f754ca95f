"""What experiments show: a page of Markdown each, and one of all, as Markdown and as HTML."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from diffusionblend._version import __version__
from diffusionblend.errors import CorruptInput
from diffusionblend.experiments.directions import Direction, read_directions
from diffusionblend.experiments.figures import draw
from diffusionblend.experiments.recipe import Recipe, Show, Source, names
from diffusionblend.experiments.runs import Experiment, Run
from diffusionblend.experiments.tables import METHOD, TABLES
from diffusionblend.experiments.volumes import credit
from diffusionblend.experiments.writers import latex, markdown
from diffusionblend.io.files import inside, make_folder, write_file
from diffusionblend.methods import find_method
from diffusionblend.pictures.png import file_uri
from diffusionblend.show.report import render_page, write_page
from diffusionblend.show.report.overview import write_png
from diffusionblend.show.report.tables import Table

if TYPE_CHECKING:
    import pandas as pd

PAGES, REPORT, DOCUMENT, PICTURES = "pages.json", "report.html", "results.md", "pictures"
INTRODUCTION = """# Results

Made by `diffusionblend benchmark all -o FOLDER` (version {version}) from nothing but runs of this
code. No number is from anywhere else, except in columns that are headed "paper": those are what the
paper's text states (Song, Hu, Luo, Fessler, Shen, NeurIPS 2024). All diffusion methods share one
network and one operator, so that they differ in the method alone. Below each experiment stand its
command, scale, seeds, hardware and date; `results.json` holds every figure, and a table of runs
(`.csv`) beside each experiment what they cost.
"""


@dataclass(frozen=True)
class Figure:
    """A picture: what it is, and its place from the folder."""

    title: str
    place: str


@dataclass(frozen=True)
class Page:
    """What an experiment shows."""

    title: str
    command: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    def markdown(self, name: str) -> str:
        """Return the page in Markdown."""
        parts = [markdown(table).strip() for table in self.tables]
        parts += [f"![{figure.title}]({figure.place})" for figure in self.figures]
        below = "\n".join(f"- {note}" for note in self.notes)
        return f"## {name}: {self.title}\n\n" + "\n\n".join(parts) + f"\n\n{below}\n"


def make_page(
    experiment: Experiment, frame: "pd.DataFrame", folder: Path, tables: Sequence[Table] = ()
) -> Page:
    """Return the tables and pictures of an experiment, and write the pictures."""
    tables, figures, recipe = [*tables], [], experiment.recipe
    for number, show in enumerate(recipe.show, 1):
        title = recipe.title + (f": {show.caption}" if show.caption else "")
        shown = select(frame, show)
        if show.kind in TABLES:
            tables.append(TABLES[show.kind](shown, show, title))
        image = draw(show, shown, title, experiment, folder)
        if image is not None:
            figure = Figure(title, f"{PICTURES}/{experiment.name}-{number}.png")
            make_folder(folder / PICTURES)
            write_png(image, folder / figure.place)
            figures.append(figure)
    notes = notes_of(experiment, frame)
    return Page(recipe.title, experiment.command, tuple(tables), tuple(figures), notes)


def select(frame: "pd.DataFrame", show: Show) -> "pd.DataFrame":
    """Return the runs that a `show` of a recipe asks for."""
    for name, labels in (("acquisition", show.acquisitions), ("row", show.rows)):
        if labels:
            frame = frame[frame[name].isin(labels)]
    return frame


def write_experiment(folder: Path, name: str, page: Page) -> str:
    """Write NAME.md and NAME.tex, and keep the page beside the others; return its Markdown."""
    text = page.markdown(name)
    write_file(folder / f"{name}.md", text)
    if page.tables:
        tables = [latex(table, page.notes) for table in page.tables]
        write_file(folder / f"{name}.tex", "\n".join(tables))
    pages = read_pages(folder) | {name: page}
    write_file(folder / PAGES, msgspec.json.format(msgspec.json.encode(pages, order="sorted")))
    return text


def read_pages(folder: Path) -> dict[str, Page]:
    """Return what the experiments in a folder show, in the order of the paper, others last."""
    path = folder / PAGES
    if not path.is_file():
        return {}
    try:
        pages = msgspec.json.decode(path.read_bytes(), type=dict[str, Page])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptInput(f"{path}: is damaged ({error}); remove it") from error
    order = [*names(), *pages]
    return {name: pages[name] for name in sorted(pages, key=order.index)}


def write_pages(folder: Path) -> tuple[Path, Path]:
    """Write the pages of all experiments in a folder, as Markdown and as HTML; return both."""
    pages = read_pages(folder)
    places = {figure.place for page in pages.values() for figure in page.figures}
    html = render_page(
        "benchmark.html",
        title="Results" if len(pages) != 1 else next(iter(pages.values())).title,
        verdict=verdict(pages, read_directions(folder)),
        pages={name: _without_repetition(page) for name, page in pages.items()},
        uris={place: file_uri(inside(folder, place)) for place in places},
        version=__version__,
    )
    write_page(html, folder / REPORT)
    parts = [INTRODUCTION.format(version=__version__)]
    parts += [page.markdown(name) for name, page in pages.items()]
    write_file(folder / DOCUMENT, "\n".join(parts))
    return folder / DOCUMENT, folder / REPORT


def verdict(pages: dict[str, Page], directions: Sequence[Direction]) -> str:
    """Return which method is best how often, and how many of the paper's directions hold."""
    wins: Counter[str] = Counter()
    compared = 0
    for table in itertools.chain.from_iterable(page.tables for page in pages.values()):
        best = list(_best(table))
        compared += len({place for place, _ in best})
        wins.update(name for _, name in best)
    each = ", ".join(f"{name} in {count}" for name, count in wins.most_common())
    words = [f"{len(pages)} experiment{'s' * (len(pages) != 1)}."]
    if compared:
        words.append(f"Of {compared} columns in which methods are compared, the best is {each}.")
    if directions:
        held = sum(direction.holds for direction in directions)
        words.append(f"{held} of {len(directions)} directions of the paper hold.")
    return " ".join(words)


def _without_repetition(page: Page) -> Page:
    """Return a page whose tables say nothing that its title does."""
    tables = [replace(t, caption="" if t.caption == page.title else t.caption) for t in page.tables]
    return replace(page, tables=tuple(tables))


def _best(table: Table) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the places of comparison (scan, column) and the method that is best there."""
    methods = next((c for c in table.columns if c.heading == METHOD), None)
    if methods is None and table.corner != METHOD:
        return
    for index, scan in enumerate(table.names):
        name = scan if methods is None else methods.cells[index].text
        for column in table.columns:
            if column.cells[index].best and column.number:
                yield ("" if methods is None else scan, column.heading), name


# What stands below every table: the command, the machine, the sources, the date


PROTOCOLS = {
    "paper": "the paper's protocol: projected on the grid of the reconstruction with its own "
    "operator, an inverse crime",
    "independent": "projected on the finest grid there is with the area-weighted projector",
}
FIGURES = (
    "PSNR and SSIM of each slice of a plane, mean ± standard deviation over the slices, HU "
    "clipped to [-1000, 1000], data range 2000"
)


def notes_of(experiment: Experiment, frame: "pd.DataFrame") -> tuple[str, ...]:
    """Return the sentences that go with the tables of an experiment."""
    recipe, seeds = experiment.recipe, ", ".join(map(str, experiment.recipe.seeds))
    days = sorted(frame["finished"].unique())
    return (
        *recipe.notes,
        f"Command: `{experiment.command}`",
        f"Scale: {scale_mark(experiment)}",
        f"Seeds: {seeds}" + ("; figures are means over them" if len(recipe.seeds) > 1 else ""),
        f"Scan: {'; '.join(_protocols(recipe))}",
        f"Figures: {FIGURES}",
        f"Volumes: {'; '.join(f'{s.name}: {credit(s.path, s.credit)}' for s in recipe.volumes)}",
        f"Prior: {_network(experiment)}",
        f"Hardware: {'; '.join(sorted(frame['hardware'].unique()))}",
        f"Date: {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else ""),
    )


def scale_mark(experiment: Experiment) -> str:
    """Say of what size the runs of an experiment are: goes with every table."""
    parts = [f"slices {_part(source, experiment.runs)}" for source in experiment.recipe.volumes]
    if experiment.scale == "full":
        return f"full: {', '.join(parts)}; the methods' own numbers of steps where none is given"
    fewer: dict[str, list[str]] = {}
    for run in experiment.runs:
        steps = run.inputs.options.get("steps")
        swept = run.row.sweep is not None and run.row.sweep.option == "steps"
        if steps != run.default_steps and not swept:
            labels = fewer.setdefault(f"{steps} of {run.default_steps} steps", [])
            labels += [] if run.row.label in labels else [run.row.label]
    parts += [f"{text} ({', '.join(labels)})" for text, labels in fewer.items()]
    return f"quick: {'; '.join(parts)}"


def _part(source: Source, runs: tuple[Run, ...]) -> str:
    first, last = next(run.inputs.slices for run in runs if run.source == source)
    return f"{first}:{last} of {source.name} ({last - first})"


def _protocols(recipe: Recipe) -> list[str]:
    used = {a.protocol: None for a in recipe.acquisitions}
    photons = sorted({a.photons for a in recipe.acquisitions if a.photons}, reverse=True)
    noise = ["no noise"] * any(a.photons is None for a in recipe.acquisitions)
    noise += [f"Poisson noise of {n:g} photons per bin" for n in photons]
    return [*(PROTOCOLS[p] for p in used), " or ".join(noise)]


def _network(experiment: Experiment) -> str:
    name = Path(experiment.recipe.prior).name
    for run in experiment.runs:
        if find_method(run.row.method).needs_prior:
            return f"{name}, weights SHA-256 {(run.inputs.weights or '')[:16]}"
    return "none"
