"""One experiment from its recipe to its files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from diffusionblend.benchmark import table as tables
from diffusionblend.benchmark.captions import captions
from diffusionblend.benchmark.execute import execute, need_ray
from diffusionblend.benchmark.layouts import TABLES
from diffusionblend.benchmark.pages import Image, Page, enter_page, shown_table
from diffusionblend.benchmark.plan import Plan, make_plan
from diffusionblend.benchmark.recipe import Recipe, Scale, Source, find_recipe, read_recipe
from diffusionblend.benchmark.results import Run, runs_of, write_results
from diffusionblend.benchmark.shown import Shown, select
from diffusionblend.io.files import atomic, make_folder

PICTURES = "pictures"
DRAWN = {"sweep", "trace", "minutes"}  # with matplotlib


@dataclass(frozen=True)
class Settings:
    """How experiments are run.

    Attributes:
        folder: Where cells, tables and pictures go.
        scale: `quick` or `full`.
        workers: Cells at a time.
        device: Device.
        volume: File of a volume in place of the recipe's.
        slices: Its slices; none takes all.
        prior: Prior in place of the recipe's.
    """

    folder: Path
    scale: Scale = "quick"
    workers: int = 1
    device: str = "auto"
    volume: Path | None = None
    slices: tuple[int, int] | None = None
    prior: str | None = None


def prepare(name: str, settings: Settings) -> Plan:
    """Read a recipe and list its runs; nothing is computed or written.

    Raises:
        DiffusionBlendError: Something of it cannot be done, and what.
    """
    path = find_recipe(name)
    recipe = _with(read_recipe(path), settings)
    if settings.workers > 1:
        need_ray()
    if any(show.kind in DRAWN for show in recipe.show):
        from diffusionblend.benchmark.curves import need_matplotlib

        need_matplotlib()
    return make_plan(path.stem, recipe, path, settings.scale, settings.device)


def run_plan(plan: Plan, settings: Settings) -> tuple[Run, ...]:
    """Run what is missing, and write the results; return all runs."""
    make_folder(settings.folder)
    jobs = [point.job for point in plan.points]
    runs = runs_of(plan, execute(jobs, settings.folder, settings.workers))
    write_results(settings.folder, plan.name, plan, runs)
    return runs


def present(plan: Plan, runs: Sequence[Run], settings: Settings) -> str:
    """Write tables and pictures of an experiment; return its Markdown."""
    line = command(plan.name, settings)
    notes, found, images = captions(plan, runs, line), [], []
    for number, show in enumerate(plan.recipe.show, 1):
        # The long caption stands once, below all.
        shown = select(plan, show, runs, ())
        if show.kind in TABLES:
            found.append(TABLES[show.kind](shown))
        image = _draw(shown, settings.folder, f"{plan.name}-{number}")
        images += [Image(shown.title, image)] if image else []
    return write_tables(settings.folder, plan.name, plan.recipe.title, found, images, notes, line)


def write_tables(
    folder: Path,
    name: str,
    title: str,
    found: Sequence[tables.Table],
    images: Sequence[Image],
    notes: tuple[str, ...],
    line: str,
) -> str:
    """Write NAME.md, NAME.tex and NAME.csv, and keep what they show; return the first.

    Args:
        folder: Where they go.
        name: Name of the experiment.
        title: Heading.
        found: Tables.
        images: Pictures.
        notes: Sentences below all.
        line: The command.
    """
    parts = [tables.markdown(table) for table in found]
    parts += [f"![{image.title}]({image.place})" for image in images]
    below = "\n".join(f"- {note}" for note in notes)
    text = f"## {name}: {title}\n\n" + "\n\n".join(part.strip() for part in parts)
    text += f"\n\n{below}\n"
    _write(folder / f"{name}.md", text)
    if found:
        whole = [replace(table, notes=(*table.notes, *notes)) for table in found]
        _write(folder / f"{name}.tex", "\n".join(tables.latex(table) for table in whole))
        _write(folder / f"{name}.csv", "\n".join(tables.csv(table) for table in found))
    shown = tuple(shown_table(table, caption=table.title != title) for table in found)
    enter_page(folder, name, Page(title, line, shown, tuple(images), notes))
    return text


def command(name: str, settings: Settings) -> str:
    """Return the command that makes an experiment again."""
    text = f"diffusionblend benchmark {name} -o FOLDER --scale {settings.scale}"
    if settings.volume is not None:
        text += f" --volume {settings.volume.name}"
    if settings.slices is not None:
        text += " --slices {}:{}".format(*settings.slices)
    return text if settings.prior is None else f"{text} --prior {Path(settings.prior).name}"


def _with(recipe: Recipe, settings: Settings) -> Recipe:
    """Return the recipe with what the command line puts in its place."""
    if settings.volume is not None:
        path = str(settings.volume.absolute())
        name = settings.volume.name.split(".")[0]
        source = Source(name, path, settings.slices, size=recipe.volumes[0].size)
        recipe = msgspec.structs.replace(recipe, volumes=(source,))
    if settings.prior is not None:
        prior = settings.prior
        prior = str(Path(prior).absolute()) if Path(prior).is_dir() else prior
        recipe = msgspec.structs.replace(recipe, prior=prior)
    return recipe


def _draw(shown: Shown, folder: Path, name: str) -> str | None:
    """Draw the picture of a `show`, if it is one; return its place from the folder."""
    kind = shown.show.kind
    if kind not in DRAWN and kind != "pictures":
        return None
    make_folder(folder / PICTURES)
    if kind == "pictures":
        from diffusionblend.benchmark.grids import draw_grid

        image = draw_grid(shown, folder)
    else:
        from diffusionblend.benchmark.curves import draw_curves

        image = draw_curves(shown)
    place = f"{PICTURES}/{name}.png"
    with atomic(folder / place) as temporary:
        image.save(temporary, "PNG", optimize=True)
    return place


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
