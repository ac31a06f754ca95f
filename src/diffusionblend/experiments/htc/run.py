"""The benchmark: each arc of each disc by each method, scores beside the published ones, a picture.

All numbers here were chosen on discs that are drawn, and on scans of them that are simulated
(`studies/htc_tune.py`). What was chosen after the challenge's discs were seen, the kind of the
curve and nets of cells among the drawn discs, is described in docs/helsinki.md.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusionblend._version import __version__
from diffusionblend.data.scan import Scan
from diffusionblend.experiments.htc.acrylic import straightened
from diffusionblend.experiments.htc.discs import Disc, find_discs
from diffusionblend.experiments.htc.score import matthews, segmented
from diffusionblend.experiments.writers import markdown
from diffusionblend.io.files import PathLike, atomic, make_folder, write_file
from diffusionblend.machine.device import find_device
from diffusionblend.methods import Method
from diffusionblend.methods.diffusion_blend_fast import DiffusionBlendFast
from diffusionblend.methods.ladder import STEPS
from diffusionblend.methods.tv import TV, tuned_weight
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.prior.store import CONFIG, facts_of
from diffusionblend.progress import counted
from diffusionblend.projectors.accuracy import operator_variance
from diffusionblend.reconstruction.draw import DEFAULT_PRIOR
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.show.report.overview import write_png
from diffusionblend.show.report.tables import Cell, Column, Table

log = logging.getLogger(__name__)

NAME, RUNS = "htc", "runs"
DEGREES = (30, 60, 90)
RECIPE, PRIOR = "recipes/htc.toml", Path("runs/htc/prior")
TV_WEIGHT = 3.0
"""Weight of total variation, in parts of the one that `tv` takes by itself."""
TV_ITERATIONS = 400
DISC_STEPS, DISC_SAMPLES = 70, 1
PUBLISHED = {
    "CIL's entry": {
        ("ta", 90): 0.973, ("ta", 60): 0.953, ("ta", 30): 0.891,
        ("tb", 90): 0.932, ("tb", 60): 0.884, ("tb", 30): 0.759,
    },
    "learned primal-dual, tuned on such discs": {("tb", 90): 0.994, ("tb", 30): 0.989},
}  # fmt: skip
"""Scores of the challenge's discs in the literature."""


@dataclass(frozen=True, eq=False)
class Way:
    """A way to reconstruct.

    Attributes:
        prior: Its prior; None for total variation.
        steps: Sweeps of the default method.
        samples: How many volumes it is the mean of.
    """

    label: str
    prior: Prior | None = None
    steps: int = STEPS
    samples: int = 1

    def method(self, scan: Scan) -> Method:
        """Return the method for a scan."""
        if self.prior is not None:
            return DiffusionBlendFast(steps=self.steps)
        variance = operator_variance(torch.from_numpy(scan.y / scan.scale))
        of_noise = scan.noise.variance(scan.y)
        if of_noise is not None:
            variance = variance + torch.from_numpy(of_noise / scan.scale**2)
        weight = TV_WEIGHT * tuned_weight(scan.geometry, variance)
        return TV(weight=weight, most=1.0, iterations=TV_ITERATIONS)


@dataclass(frozen=True, eq=False)
class Made:
    """A reconstruction and its score.

    Attributes:
        hu: The slice (rows, columns).
        acrylic: Its segmentation, on the pixels of the truth.
        score: Matthews' correlation with the truth.
    """

    disc: Disc
    label: str
    hu: np.ndarray
    acrylic: np.ndarray
    score: float


def benchmark_htc(
    data: PathLike,
    folder: PathLike = "out/results",
    *,
    degrees: Sequence[int] = DEGREES,
    prior: PathLike | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Reconstruct the measured discs of the Helsinki Tomography Challenge 2022.

    Args:
        data: Folder of the challenge's files, htc2022_DISC_DEGREES.mat and htc2022_DISC_truth.png.
        folder: Where htc.json, htc.md, htc.png and the slices (runs) go; slices there are taken.
        degrees: Arcs to reconstruct from.
        prior: Prior of discs; None for that of `recipes/htc.toml`, runs/htc/prior. Where there is
            none, its column is left out, with a warning.
        device: `cpu`, `cuda`, ..., or `auto`.

    Returns:
        The files that were written, and the Markdown of the table as `text`.
    """
    discs, output = find_discs(Path(data), degrees), Path(folder)
    ways = _ways(prior, device)
    made = [
        make(disc, way, output, device)
        for disc, way in counted("reconstruct", [(d, w) for d in discs for w in ways])
    ]
    make_folder(output)
    places = {kind: output / f"{NAME}.{kind}" for kind in ("json", "md", "png")}
    text = markdown(_table(made))
    facts = [_facts(one) for one in made]
    write_file(places["json"], json.dumps(facts, indent=1) + "\n")
    write_file(places["md"], text)
    _draw(made, places["png"])
    return {kind: str(place) for kind, place in places.items()} | {"text": text}


def list_htc(data: PathLike, degrees: Sequence[int] = DEGREES) -> list[str]:
    """List the arcs that `benchmark_htc` would reconstruct."""
    return [_arc(disc) for disc in find_discs(Path(data), degrees)]


def make(disc: Disc, way: Way, folder: Path, device: str = "auto") -> Made:
    """Reconstruct a disc, segment it, and score that; nothing but the score sees the truth.

    Args:
        disc: Its scan and its truth.
        way: How it is reconstructed.
        folder: Where the slice is kept, and taken from where it is there already.
        device: `cpu`, `cuda`, ..., or `auto`.
    """
    scan = straightened(disc.scan)
    method = way.method(scan)
    prior = {} if way.prior is None else facts_of(way.prior)
    known = (scan.digest, method, way.samples, prior, __version__)
    kept = folder / RUNS / f"htc-{hashlib.sha256(repr(known).encode()).hexdigest()[:24]}.npy"
    if not kept.is_file():
        found = reconstruct(
            scan,
            method,
            prior=DEFAULT_PRIOR if way.prior is None else way.prior,
            samples=way.samples,
            classical=False,
            device=device,
        )
        make_folder(kept.parent)
        with atomic(kept) as temporary, open(temporary, "wb") as file:
            np.save(file, found.volume.hu[0])
    hu = np.load(kept)
    acrylic = segmented(hu, disc.truth.shape)
    score = matthews(acrylic, disc.truth)
    log.info("%s, %s: %.3f", _arc(disc), way.label, score)
    return Made(disc, way.label, hu, acrylic, score)


def _ways(prior: PathLike | None, device: str) -> tuple[Way, ...]:
    place = find_device(device)
    ways = (
        Way("tv"),
        Way(f"default, prior {DEFAULT_PRIOR}", from_pretrained(DEFAULT_PRIOR, place)),
    )
    if prior is None and not (PRIOR / CONFIG).is_file():
        log.warning(
            "%s: no prior of discs, so its column is left out; run `python studies/htc_discs.py "
            "data/htc` and `diffusionblend train %s`, or name one with `prior`",
            PRIOR,
            RECIPE,
        )
        return ways
    of_discs = from_pretrained(str(PRIOR if prior is None else prior), place)
    return (*ways, Way("default, prior of discs", of_discs, DISC_STEPS, DISC_SAMPLES))


def _facts(one: Made) -> dict[str, Any]:
    return {
        "disc": one.disc.name,
        "file": one.disc.file,
        "degrees": one.disc.degrees,
        "method": one.label,
        "mcc": round(one.score, 4),
    }


def _arc(disc: Disc) -> str:
    return f"{disc.name}, {disc.degrees} degrees of {disc.file}"


# The table


def _table(made: Sequence[Made]) -> Table:
    """Return the scores: a row for each arc, a column for each way, and for what is published."""
    discs = {_arc(one.disc): one.disc for one in made}
    scores = {(_arc(one.disc), one.label): one.score for one in made}
    ours = {
        label: [scores[arc, label] for arc in discs]
        for label in dict.fromkeys(m.label for m in made)
    }
    theirs = {
        label: [known.get((disc.name, disc.degrees)) for disc in discs.values()]
        for label, known in PUBLISHED.items()
    }
    return Table(
        corner="disc, arc",
        names=tuple(discs),
        columns=tuple(
            Column(n, tuple(Cell("") if s is None else Cell(f"{s:.3f}", value=s) for s in scores))
            for n, scores in (ours | theirs).items()
        ),
        caption="Matthews' correlation with the challenge's segmentation",
        notes=("Published scores are of arcs of the same length, which may start elsewhere.",),
    )


# The picture

_SHOWN = (-1200.0, 400.0)
_WRONG = {"missed": (230, 80, 60), "too much": (60, 140, 240)}


def _draw(made: Sequence[Made], path: Path) -> None:
    """Draw each arc: the truth, and each reconstruction with its errors in colours."""
    from diffusionblend.pictures.sheet import sheet

    labels = list(dict.fromkeys(one.label for one in made))
    rows = []
    for arc in dict.fromkeys(_arc(one.disc) for one in made):
        of_arc = [one for one in made if _arc(one.disc) == arc]
        disc = of_arc[0].disc
        truth = _grey(255.0 * disc.truth[::2, ::2])
        rows.append([
            (f"{disc.name}, {disc.degrees} degrees", truth[::-1]),
            *((f"{one.score:.3f}", _picture(one)[::-1]) for one in of_arc),
        ])  # fmt: skip
    footer = "Grey: the reconstruction. Red: acrylic that is missed. Blue: acrylic where none is."
    write_png(sheet(["truth", *labels], rows, footer).quantize(64), path)


def _picture(one: Made) -> np.ndarray:
    """Return a reconstruction (rows, columns, 3), with what is segmented wrongly in colours."""
    low, high = _SHOWN
    pixels = _grey(255 * ((one.hu - low) / (high - low)).clip(0, 1))
    found, truth = (mask[::2, ::2] for mask in (one.acrylic, one.disc.truth))
    pixels[truth & ~found] = _WRONG["missed"]
    pixels[found & ~truth] = _WRONG["too much"]
    return pixels


def _grey(brightness: np.ndarray) -> np.ndarray:
    return np.repeat(brightness.astype(np.uint8)[..., None], 3, axis=2)
