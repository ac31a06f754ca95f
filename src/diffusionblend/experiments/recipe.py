"""The structure of an experiment's recipe (TOML)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from diffusionblend.errors import UsageError, did_you_mean
from diffusionblend.geometry.planes import PLANES, WHOLE
from diffusionblend.io.toml import read_toml
from diffusionblend.ranges import Seed

Struct = msgspec.Struct
Value = bool | int | float | str
Count = Annotated[int, Meta(ge=1, le=10_000)]
Text = Annotated[str, Meta(min_length=1)]
Plane = Literal["axial", "coronal", "sagittal", "volume"]
Scale = Literal["quick", "full"]

_OF_ONE_SCAN = ("gain", "total-variation", "cost", "minutes")
_OF_ONE_VOLUME = (*_OF_ONE_SCAN, "sweep")

RECIPES = Path(__file__).parent / "recipes"
DIRECTIONS = "directions"
MEASURED = ("psnr", "ssim")
"""Metrics that every run keeps; others are taken of the volumes that are kept."""


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """A volume to scan.

    Attributes:
        name: What tables call it.
        path: `demonstration`, `microct-NAME` of the package qim3d, or a file or DICOM folder, from
            the recipe's own place.
        slices: First slice and the one after the last; None for all.
        quick_slices: Those of the quick scale; None for `slices`.
        size: Pixels a side to reconstruct, at most; the volume may be finer by a whole factor.
        credit: Whose it is; known for those of packages.
    """

    name: Text
    path: Text
    slices: tuple[int, int] | None = None
    quick_slices: tuple[int, int] | None = None
    size: Annotated[int, Meta(ge=2, le=4096)] = 256
    credit: str = ""


class Acquisition(Struct, frozen=True, forbid_unknown_fields=True):
    """How it is scanned.

    Attributes:
        label: What tables call it.
        views: Views, spread evenly over 180 degrees.
        limited_angle: Instead: views at 0, 1, ... degrees.
        photons: Photons per bin in air; None means no noise.
        protocol: See `simulate`.
    """

    label: Text
    views: Count | None = None
    limited_angle: Annotated[int, Meta(ge=1, le=180)] | None = None
    photons: Annotated[float, Meta(ge=1, le=1e15)] | None = None
    protocol: Literal["paper", "independent"] = "paper"


class Sweep(Struct, frozen=True, forbid_unknown_fields=True):
    """An option that takes one value after another."""

    option: Text
    values: Annotated[tuple[Value, ...], Meta(min_length=1)]


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A method with its options.

    Attributes:
        label: What tables call it.
        method: Name of the method.
        options: Options that are not the method's own defaults.
        quick: Options in their place at the quick scale.
        sweep: One option of many values.
        only: Labels of the acquisitions it is for; all if empty.
        quick_only: Those that it is for at the quick scale.
        paper: What the paper's text states of it.
        remark: Is put behind its label.
    """

    label: Text
    method: Text
    options: dict[str, Value] = msgspec.field(default_factory=dict)
    quick: dict[str, Value] = msgspec.field(default_factory=dict)
    sweep: Sweep | None = None
    only: tuple[str, ...] = ()
    quick_only: tuple[str, ...] = ()
    paper: str = ""
    remark: str = ""


class Show(Struct, frozen=True, forbid_unknown_fields=True):
    """A table or a picture.

    Attributes:
        kind: `quality`: figures of each plane. `gain`: and what a row gains over the row above.
            `total-variation`: along z, beside the truth's. `cost`: minutes, evaluations, memory.
            `sweep`: one figure over `x`, as a table and curves. `pictures`: planes with insets.
            `trace`: PSNR over the steps. `minutes`: PSNR over wall-clock time.
        planes: Planes of the figures, means over their slices; `volume` is the figure of all voxels
            together, which PSNR has. `sweep`, `trace` and `minutes` take the first.
        metrics: Names of metrics, other packages' too; `sweep` takes the first.
        x: What a sweep is over: `views`, `photons`, `evaluations`, or the option that rows sweep.
        rows: Labels of the rows shown; all if empty.
        acquisitions: Labels of the acquisitions shown; all if empty.
        paper: Heading of a column with what the paper's text states of each row.
        spread: Whether a sweep has a column with its highest less its lowest value.
        caption: What it is.
    """

    kind: Literal[
        "quality", "gain", "total-variation", "cost", "sweep", "pictures", "trace", "minutes"
    ]
    planes: Annotated[tuple[Plane, ...], Meta(min_length=1)] = ("axial", "coronal", "sagittal")
    metrics: Annotated[tuple[Text, ...], Meta(min_length=1)] = MEASURED
    x: str = ""
    rows: tuple[str, ...] = ()
    acquisitions: tuple[str, ...] = ()
    paper: str = ""
    spread: bool = False
    caption: str = ""


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """An experiment.

    Attributes:
        title: A line.
        like: Another experiment, from which what is not given here is taken: volumes,
            acquisitions, rows, seeds, prior.
        volumes: What is scanned.
        acquisitions: How.
        rows: By what it is reconstructed.
        show: What is made of the results.
        seeds: Seeds of noise and sampling; figures are means over them.
        prior: Name of the prior, or its folder, from the recipe's own place.
        quick_steps: Most steps of a method at the quick scale, where its options give none.
        notes: Sentences below the tables.
    """

    title: Text
    like: str = ""
    volumes: tuple[Source, ...] = ()
    acquisitions: tuple[Acquisition, ...] = ()
    rows: tuple[Row, ...] = ()
    show: tuple[Show, ...] = ()
    seeds: tuple[Seed, ...] = ()
    prior: str = ""
    quick_steps: Count = 50
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are shown, beside those that every run keeps."""
        shown = dict.fromkeys(name for show in self.show for name in show.metrics)
        return tuple(name for name in shown if name not in MEASURED)


CHEST = Source("chest", "demonstration", quick_slices=(54, 78))
_DEFAULTS: dict[str, object] = {"volumes": (CHEST,), "seeds": (0,), "prior": "chest"}
_INHERITED = ("volumes", "acquisitions", "rows", "seeds", "prior")


def names() -> list[str]:
    """Return the names of all experiments: the paper's in its order, then our own."""
    return sorted((path.stem for path in RECIPES.glob("*.toml")), key=_order)


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: one of `names()`, or a file of one's own."""
    if name in names():
        return RECIPES / f"{name}.toml"
    if name.lower().endswith(".toml"):
        return Path(name)
    expected = f"expected one of {', '.join(names())}, or all{did_you_mean(name, names())}"
    raise UsageError(f"{name}: no such experiment; {expected}")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe, with what it takes from another."""
    recipe = read_toml(path, Recipe)
    if recipe.like:
        if recipe.like not in names():
            raise UsageError(f"{path}: like {recipe.like!r}; expected one of {', '.join(names())}")
        other = read_recipe(RECIPES / f"{recipe.like}.toml")
        recipe = _completed(recipe, {key: getattr(other, key) for key in _INHERITED})
    recipe = _completed(recipe, _DEFAULTS)
    for problem in _problems(recipe):
        raise UsageError(f"{path}: {problem}")
    return recipe


def _completed(recipe: Recipe, values: dict[str, object]) -> Recipe:
    """Return a recipe with values for what it does not say."""
    missing = {key: value for key, value in values.items() if not getattr(recipe, key)}
    return msgspec.structs.replace(recipe, **missing)


def _order(name: str) -> tuple[int, int, str]:
    """Order table2 before table10, tables before figures, our own last."""
    kind, number = name.rstrip("0123456789"), name.lstrip("abcdefghijklmnopqrstuvwxyz")
    known = ["table", "figure"]
    return (known.index(kind), int(number), "") if kind in known else (len(known), 0, name)


def _problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with a recipe beyond the types of its parts."""
    if not (recipe.acquisitions and recipe.rows):
        yield "`acquisitions` and `rows` each need at least one entry"
    for kind in ("volumes", "acquisitions", "rows"):
        labels = [getattr(e, "label", None) or e.name for e in getattr(recipe, kind)]
        twice = (label for label in labels if labels.count(label) > 1)
        yield from (f"{kind}: {label!r} is there twice; name each once" for label in twice)
    for a in recipe.acquisitions:
        if (a.views is None) == (a.limited_angle is None):
            label = f"acquisitions: {a.label!r}"
            yield f"{label} needs `views` or `limited_angle`, but not both"
    yield from _too_many(recipe)
    for key, label, known in _named(recipe):
        if label not in known:
            yield f"{key}: {label!r}; expected one of {', '.join(known)}"


def _too_many(recipe: Recipe) -> Iterator[str]:
    for show in recipe.show:
        scans = len(show.acquisitions) or len(recipe.acquisitions)
        one_scan, one_volume = show.kind in _OF_ONE_SCAN, show.kind in _OF_ONE_VOLUME
        if (one_scan and scans > 1) or (one_volume and len(recipe.volumes) > 1):
            said = " and one acquisition; name it" if one_scan else ""
            yield f"show: {show.kind!r} is of one volume{said}"
        if show.kind == "pictures" and WHOLE in show.planes:
            yield f"show: 'pictures' are of planes; expected some of {', '.join(PLANES)}"


def _named(recipe: Recipe) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the labels that a recipe names: where, and which there are."""
    rows = [row.label for row in recipe.rows]
    acquisitions = [acquisition.label for acquisition in recipe.acquisitions]
    for row in recipe.rows:
        yield from (("only", label, acquisitions) for label in row.only)
        if not recipe.like:  # rows of another experiment may know its acquisitions
            yield from (("quick_only", label, acquisitions) for label in row.quick_only)
    for show in recipe.show:
        yield from (("show.rows", label, rows) for label in show.rows)
        yield from (("show.acquisitions", label, acquisitions) for label in show.acquisitions)
        if show.kind == "sweep":
            swept = [row.sweep.option for row in recipe.rows if row.sweep]
            yield "show.x", show.x, ["views", "photons", "evaluations", *swept]
