"""What an experiment shows, kept beside its files, and the page that is made of all of them."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from diffusionblend import __version__
from diffusionblend.benchmark import table as tables
from diffusionblend.benchmark.directions import FILE as DIRECTIONS_FILE
from diffusionblend.benchmark.directions import Direction
from diffusionblend.benchmark.recipe import names
from diffusionblend.errors import CorruptInput
from diffusionblend.io.files import atomic, inside
from diffusionblend.report import render_page, write_page
from diffusionblend.report.pictures import file_uri
from diffusionblend.report.tables import Cell, Column, Table

PAGES, REPORT = "pages.json", "report.html"
METHOD = "Method"


@dataclass(frozen=True)
class Image:
    """A picture: what it is, and its place from the folder."""

    title: str
    place: str


@dataclass(frozen=True)
class Page:
    """What an experiment shows.

    Attributes:
        title: What it is.
        command: The line that makes it again.
        tables: Its tables.
        images: Its pictures.
        notes: Sentences below all.
    """

    title: str
    command: str
    tables: tuple[Table, ...]
    images: tuple[Image, ...]
    notes: tuple[str, ...]


def enter_page(folder: Path, name: str, page: Page) -> None:
    """Keep what an experiment shows in `pages.json`, beside the others."""
    pages = read_pages(folder) | {name: page}
    with atomic(folder / PAGES) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(pages, order="sorted")))


def read_pages(folder: Path) -> dict[str, Page]:
    """Return what the experiments in a folder show, in the order of the paper, others last.

    Raises:
        CorruptInput: The file is damaged.
    """
    path = folder / PAGES
    if not path.is_file():
        return {}
    try:
        pages = msgspec.json.decode(path.read_bytes(), type=dict[str, Page])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptInput(f"{path}: is damaged ({error}); remove it") from error
    order = [*names(), *pages]
    return {name: pages[name] for name in sorted(pages, key=order.index)}


def write_report(folder: Path) -> Path:
    """Write the page of all experiments in a folder; return it.

    Raises:
        OutputError: The place cannot be written or is full.
        CorruptInput: What is kept in the folder is damaged.
    """
    pages = read_pages(folder)
    places = {image.place for page in pages.values() for image in page.images}
    page = render_page(
        "benchmark.html",
        title="Results" if len(pages) != 1 else next(iter(pages.values())).title,
        verdict=verdict(pages, _read_directions(folder)),
        pages=pages,
        uris={place: file_uri(inside(folder, place)) for place in places},
        version=__version__,
    )
    write_page(page, folder / REPORT)
    return folder / REPORT


def verdict(pages: dict[str, Page], directions: Sequence[Direction]) -> str:
    """Return which method is best how often, and how many of the paper's directions hold."""
    wins: Counter[str] = Counter()
    compared = 0
    for shown in itertools.chain.from_iterable(page.tables for page in pages.values()):
        best = list(_best(shown))
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


def shown_table(table: tables.Table, *, caption: bool) -> Table:
    """Return a table as a page shows it.

    Args:
        table: The table.
        caption: Whether its title stands above it.
    """
    columns = []
    for heading, entries in zip(table.head, zip(*table.rows, strict=True), strict=False):
        number = any(entry.value is not None for entry in entries)
        columns.append(Column(heading, tuple(map(_cell, entries)), number=number))
    first, *others = columns or [Column(heading, ()) for heading in table.head]
    title = table.title if caption else ""
    lines = tuple(cell.text for cell in first.cells)
    return Table(first.heading, lines, tuple(others), caption=title, notes=table.notes)


def _cell(entry: tables.Entry) -> Cell:
    text, _, spread = str(entry).partition(" ± ")
    known = entry.value is not None and not math.isnan(entry.value)
    return Cell(text, spread, entry.best, entry.value if known else None)


def _best(table: Table) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the places of comparison (condition, column) and the method that is best there."""
    methods = next((c for c in table.columns if c.heading == METHOD), None)
    if methods is None and table.corner != METHOD:
        return
    for index, condition in enumerate(table.names):
        name = condition if methods is None else methods.cells[index].text
        for column in table.columns:
            if column.cells[index].best and column.number:
                yield ("" if methods is None else condition, column.heading), name


def _read_directions(folder: Path) -> tuple[Direction, ...]:
    path = folder / DIRECTIONS_FILE
    if not path.is_file():
        return ()
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Direction, ...])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptInput(f"{path}: is damaged ({error}); remove it") from error
