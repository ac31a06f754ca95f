"""One page of all results: `results.md`, made of what each experiment wrote."""

from pathlib import Path

from diffusionblend import __version__
from diffusionblend.benchmark.recipe import names
from diffusionblend.io.files import atomic

DOCUMENT = "results.md"
INTRODUCTION = """# Results

Made by `diffusionblend benchmark all -o FOLDER` (version {version}) from nothing but runs of this
code. No number is from anywhere else, except in columns that are headed "paper": those are what the
paper's text states (Song, Hu, Luo, Fessler, Shen, NeurIPS 2024). All diffusion methods share one
network and one operator, so that they differ in the method alone. Below each experiment stand its
command, scale, seeds, hardware and date; `results.json` holds every figure, `times.json` what it
cost.
"""


def write_document(folder: Path) -> Path:
    """Write `results.md` for the experiments that are in a folder; return it."""
    parts = [INTRODUCTION.format(version=__version__)]
    for name in names():
        page = folder / f"{name}.md"
        if page.is_file():
            parts.append(page.read_text(encoding="utf-8"))
    path = folder / DOCUMENT
    with atomic(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    return path
