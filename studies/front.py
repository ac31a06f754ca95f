"""The picture and the table that README.md begins with: 8, 20 and 60 views of the same chest.

    python studies/front.py run      # writes docs/demo.json and docs/demo.png, then `pages`
    python studies/front.py pages    # puts the numbers of docs/demo.json into the pages

The scans are the demonstration's, which nothing was trained or tuned on. Pages hold what comes from
docs/demo.json between `<!-- demo: NAME -->` and `<!-- /demo -->`.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import diffusionblend as db
from diffusionblend.experiments.demo import SIZE, SLICES, demonstration_volume
from diffusionblend.prior import from_pretrained
from diffusionblend.prior.store import find_prior, read_config
from diffusionblend.runs.provenance import machine
from diffusionblend.simulation.simulate import truth_on_grid

ROOT = Path(__file__).parents[1]
FIGURES, PICTURE, PAGES = ROOT / "docs/demo.json", ROOT / "docs/demo.png", ("README.md",)
VIEWS = (8, 20, 60)
METHODS = {
    "fbp": "filtered back-projection",
    "tv": "total variation",
    "diffusionblend-fast": "the default method",
}
SHOWN = ("tv", "diffusionblend-fast")
WINDOW_HU = (-250, 450)
SLICE = 24
"""Of the 48 slices: vertebra with canal, aorta, chambers of the heart, ribs."""

Figures = dict[str, Any]


def run() -> None:
    """Reconstruct, write the figures and the picture."""
    volume = db.read_volume(demonstration_volume()).slices(*SLICES)
    truth, prior = truth_on_grid(volume, SIZE), from_pretrained("chest")
    pictures = {("truth", views): truth.as_seen()[SLICE] for views in VIEWS}
    figures: Figures = {}
    for views in VIEWS:
        scan = db.simulate(volume, db.sparse_view(views), size=SIZE)
        for method in METHODS:
            made = db.reconstruct(scan, method, prior=prior, classical=False)
            seconds = round(made.seconds, 1)
            pictures[method, views] = made.volume.as_seen()[SLICE]
            figures.setdefault(method, {})[str(views)] = {
                "seconds": seconds,
                **db.evaluate(made, truth),
            }
            print(views, method, figures[method][str(views)]["volume"], seconds)
    weights = read_config(find_prior("chest")).weights_sha256
    facts = {"prior": weights, "machine": msgspec.to_builtins(machine()), "methods": figures}
    FIGURES.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    draw(pictures, figures)
    pages()


def draw(pictures: dict[tuple[str, int], np.ndarray], figures: Figures) -> None:
    """Draw the same slice: a row for each method, a column for each number of views, the truth."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(SHOWN), len(VIEWS) + 1, figsize=(12, 6.3), facecolor="black")
    for row, method in enumerate(SHOWN):
        for column, views in enumerate(VIEWS):
            psnr = figures[method][str(views)]["volume"]["psnr"]
            title = f"{views} views, {METHODS[method]}: {psnr:.1f} dB"
            _show(axes[row, column], pictures[method, views], title)
        _show(axes[row, -1], pictures["truth", VIEWS[0]], "truth")
    low, high = WINDOW_HU
    note = f"One axial slice, window {low} to {high} HU. PSNR is of the whole volume."
    figure.text(0.5, 0.01, note, color="white", ha="center", fontsize=9)
    figure.subplots_adjust(0.005, 0.04, 0.995, 0.96, wspace=0.02, hspace=0.1)
    figure.savefig(PICTURE, dpi=110, pil_kwargs={"optimize": True})


def _show(axis: Any, hu: np.ndarray, title: str) -> None:
    axis.imshow(hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
    axis.set_title(title, color="white", fontsize=9)
    axis.axis("off")


def table(figures: Figures) -> str:
    """Return the table of README.md."""
    heads = " | ".join(f"{views} views" for views in VIEWS)
    lines = [f"| method | {heads} | seconds, 20 views |", "|---" * (len(VIEWS) + 2) + "|"]
    for method, words in METHODS.items():
        each = [figures[method][str(views)] for views in VIEWS]
        cells = [f"{f['volume']['psnr']:.2f} (axial {f['axial']['psnr']:.2f})" for f in each]
        seconds = f"{figures[method]['20']['seconds']:.2g}"
        lines.append(f"| `{method}`, {words} | {' | '.join(cells)} | {seconds} |")
    return "\n".join(lines)


PARTS = {"table": table}


def with_figures(text: str) -> str:
    """Return the text of a page with the numbers of docs/demo.json in their places."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))["methods"]

    def part(found: re.Match[str]) -> str:
        return f"<!-- demo: {found[1]} -->\n{PARTS[found[1]](figures)}\n<!-- /demo -->"

    return re.sub(r"(?s)<!-- demo: (\w+) -->\n.*?<!-- /demo -->", part, text)


def pages() -> None:
    """Write the numbers into the pages."""
    for page in PAGES:
        path = ROOT / page
        path.write_text(with_figures(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    steps = {"run": run, "pages": pages}
    if sys.argv[1:2] and sys.argv[1] in steps:
        steps[sys.argv[1]]()
    else:
        sys.exit(__doc__)
