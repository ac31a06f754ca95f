"""What pages say that the code knows better: help, public names, schemas."""

import contextlib
import importlib
import inspect
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable

import msgspec

import diffusionblend
from diffusionblend.cli import main as cli

WIDTH = "80"  # columns of the help


def commands() -> str:
    """Return the help of every command."""
    parts = [("diffusionblend", ["--help"]), *((verb, [verb, "--help"]) for verb in cli.COMMANDS)]
    return "\n\n".join(f"## {name}\n\n```text\n{_help(words)}\n```" for name, words in parts)


def public_names() -> str:
    """Return what mkdocstrings turns into the docstrings of all public names, module by module."""
    modules = defaultdict(list)
    for name in diffusionblend.__all__:
        if not name.startswith("_"):
            modules[getattr(diffusionblend, name).__module__].append(name)
    parts = []
    for module, names in sorted(modules.items()):
        parts.append(f"## {module.removeprefix('diffusionblend.')}")
        parts.append(_docstring(importlib.import_module(module)))
        parts += [f"::: diffusionblend.{name}" for name in names]
    return "\n\n".join(parts)


def schemas() -> str:
    """Return the JSON schemas of what is read and written."""
    from diffusionblend.experiments.recipe import Recipe as Experiment
    from diffusionblend.geometry import Geometry
    from diffusionblend.io.projections.formats.geometry_file import AnyFacts
    from diffusionblend.prior import PriorConfig
    from diffusionblend.quality.record import Quality
    from diffusionblend.training.recipe import FBPUNetRecipe, Recipe

    kinds = {
        "quality record": Quality,
        "geometry in a scan": Geometry,
        "geometry.json": AnyFacts,
        "config.json of a prior": PriorConfig,
        "recipe of a prior": Recipe,
        "recipe of fbp-unet": FBPUNetRecipe,
        "recipe of an experiment": Experiment,
    }
    return "\n\n".join(_folded(title, _schema(kind)) for title, kind in kinds.items())


def _help(words: list[str]) -> str:
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), WIDTH
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            cli.main(words)
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return told.getvalue().strip()


def _schema(kind: object) -> str:
    schema = msgspec.json.schema(kind)
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()


def _folded(title: str, code: str) -> str:
    lines = ["```json", *code.splitlines(), "```"]
    return f'??? note "{title}"\n\n' + "\n".join(f"    {line}" for line in lines)


def _docstring(about: object) -> str:
    first = (inspect.getdoc(about) or "").partition("\n\n")[0]
    return re.sub(r"\s+", " ", first)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "public names": public_names,
    "schemas": schemas,
}
