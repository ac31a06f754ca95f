"""From volumes on disk to a report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusionblend._version import __version__
from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.files import PathLike, expect_suffix, naming, sha256
from diffusionblend.io.inputs import Paths, as_paths
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import digest, read_compared
from diffusionblend.metrics import common_grid
from diffusionblend.pictures.scanner import draw_scan
from diffusionblend.show.report.entries import Compared, make_entries
from diffusionblend.show.report.model import Report, Voxel
from diffusionblend.show.report.numbers import named
from diffusionblend.show.report.page import write_report
from diffusionblend.show.report.runs import Run, find_runs, in_words, read_runs
from diffusionblend.show.report.words import verdict

FIGURES = (
    "PSNR and SSIM of each slice, mean and standard deviation over the slices of a plane, HU "
    "clipped to [-1000, 1000], data range 2000"
)


SUFFIXES = (".html", ".htm")


def report(
    volumes: Paths,
    path: PathLike = "report.html",
    *,
    truth: PathLike | None = None,
    scan: PathLike | None = None,
    at: Voxel | None = None,
    command: str = "",
) -> Report:
    """Show reconstructions, and all that is known of them, on one page.

    The page is one file that needs no network. It shows what is beside each volume: its record,
    the classical reconstruction, the deviation of the samples, the intermediate volumes.

    Args:
        volumes: One volume or several on one grid, as `save` writes them, or folders of them.
        path: Where the page goes (.html).
        truth: The truth, for errors, PSNR and SSIM: on the grid of the volumes, or around it.
        scan: The scan, to draw; volumes without a quality record are assessed against it.
        at: The voxel (slice, row, column) that the three planes run through, counted from 0 as
            stored; None takes the middle.
        command: The line that makes the report again, to show.

    Returns:
        What is on the page: the `verdict` in words, and an entry with its figures for each volume.

    Raises:
        CorruptInput: A file is missing or damaged.
        OutputError: The place cannot be written or is full.
        UnsupportedInput: The volumes lie on several grids.
        UsageError: There are no volumes, or too many, the voxel is in none of them, or the page
            has another suffix.
    """
    page = Path(path)
    expect_suffix(page, SUFFIXES, "a report")
    named = (None if place is None else Path(place) for place in (truth, scan))
    made = make_report(as_paths(volumes), *named, at=at, command=command)
    write_report(made, page)
    return made


def make_report(
    paths: Sequence[Path],
    truth: Path | None = None,
    scan: Path | None = None,
    *,
    at: Voxel | None = None,
    command: str = "",
) -> Report:
    """Read volumes and what is beside them, and put a report together; see `report`."""
    runs = read_runs(find_runs(paths, truth))
    _check_voxel(at, runs[0].volume.grid)
    measured = None if scan is None else read_scan(scan)
    compared = Compared(
        truth=None if truth is None else read_truth(truth, runs[0].volume),
        scan=measured,
        scan_digests=() if scan is None or measured is None else (sha256(scan), measured.digest),
    )
    entries = tuple(make_entries(runs, compared))
    grid = runs[0].volume.grid
    gap = "No truth was given, so there are no errors, no PSNR and no SSIM."
    return Report(
        title=_title(runs),
        verdict=verdict(entries, truth=truth is not None),
        entries=entries,
        truth=None if compared.truth is None else compared.truth.as_seen(),
        spacing_mm=grid.spacing_mm,
        facts=_facts(grid, truth, scan, measured),
        command=command,
        scan=None if measured is None else np.asarray(draw_scan(measured.geometry, measured.y)),
        gaps=(gap,) if truth is None else (),
        at=at,
        turned_axes=runs[0].volume.turned_axes,
    )


def read_truth(path: Path, volume: Volume) -> Volume:
    """Read a truth, and cut it to the grid of a volume."""
    truth = read_compared(path)
    with naming(path):
        within, truth = common_grid(volume, truth)
        if within.grid != volume.grid:
            raise UnsupportedInput(
                f"covers {in_words(within.grid)} of {in_words(volume.grid)}; give the whole truth"
            )
    return Volume(truth.hu, volume.grid)


def _check_voxel(at: Voxel | None, grid: Grid) -> None:
    if at is not None and not all(0 <= i < n for i, n in zip(at, grid.shape, strict=True)):
        ranges = ", ".join(f"0 to {n - 1}" for n in grid.shape)
        raise UsageError(
            f"voxel {','.join(map(str, at))} (`at`): not in the volume; expected slice, row and "
            f"column within {ranges}"
        )


def _title(runs: Sequence[Run]) -> str:
    if len(runs) > 3:
        return f"{len(runs)} reconstructions"
    return "Reconstruction: " + ", ".join(run.name for run in runs)


def _facts(grid: Grid, truth: Path | None, path: Path | None, scan: Scan | None) -> dict[str, str]:
    facts = {"Grid": in_words(grid)}
    if truth is not None:
        facts |= {"Truth": f"{truth.name}, SHA-256 {digest(truth)}", "Figures": FIGURES}
    if scan is not None and path is not None:
        photons = scan.noise.photons
        noise = "none known" if photons is None else f"Poisson, {photons:g} photons per bin"
        facts |= {
            "Scan": f"{path.name}, SHA-256 {sha256(path)}",
            "Noise": noise,
            **{named("Scan", name): value for name, value in scan.provenance.items()},
        }
    return facts | {"Version of the report": __version__}
