"""Every beam by every method: PSNR, processor time and memory on 48 slices of a chest.

`python studies/geometries.py [VOLUME FIRST:LAST] [--views 20]`. Each case runs in a process of
its own, so that its memory is its own. Scans are simulated on the finer grid by the area-weighted
projector, without noise. Without a volume it is the demonstration scan. Prints Markdown for
docs/geometries.md.
"""

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path

import diffusionblend as db
from diffusionblend.experiments.cost import timed
from diffusionblend.experiments.demo import SLICES, demonstration_volume
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam
from diffusionblend.machine.device import find_device
from diffusionblend.reconstruction.draw import reconstruct_volume
from diffusionblend.simulation.simulate import truth_on_grid

PLACE = {"sod_mm": 595.0, "sdd_mm": 1085.6}
BEAMS = {
    "parallel, 180 degrees": (parallel_beam, 180.0),
    "fan, flat, 360 degrees": (partial(fan_beam, **PLACE), 360.0),
    "fan, curved, 240 degrees": (partial(fan_beam, detector="curved", **PLACE), 240.0),
    "cone, 360 degrees": (partial(cone_beam, **PLACE), 360.0),
    "cone, 240 degrees": (partial(cone_beam, **PLACE), 240.0),
}
METHODS = ("fbp", "tv", "diffusionblend-fast")
PLANES = ("axial", "coronal", "sagittal")


def main() -> None:
    options = parsed()
    print("| beam | method | axial / dB | coronal / dB | sagittal / dB | CPU s | MiB |")
    print("|---" * 7 + "|")
    own = multiprocessing.get_context("spawn")
    for beam in BEAMS:
        for method in METHODS:
            with own.Pool(1) as pool:
                print(pool.apply(row, (options, beam, method)), flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("volume", nargs="?", type=Path, default=demonstration_volume())
    parser.add_argument("slices", nargs="?", default="{}:{}".format(*SLICES))
    parser.add_argument("--views", type=int, default=20)
    return parser.parse_args()


def row(options: argparse.Namespace, beam: str, method: str) -> str:
    """Simulate, reconstruct and compare; time and memory are those of the reconstruction.

    The time is that of the processor, in all threads: it is the same beside other programs.
    """
    make, arc = BEAMS[beam]
    volume = db.read_volume(options.volume).slices(*map(int, options.slices.split(":")))
    truth = truth_on_grid(volume, 256)
    scan = db.simulate(volume, db.sparse_view(options.views, arc), beam=make)
    del volume
    began = time.process_time()
    found, times = timed(lambda: reconstruct_volume(scan, db.make_method(method)), find_device())
    seconds = time.process_time() - began
    figures = db.evaluate(found, truth)
    psnr = " | ".join(f"{figures[plane]['psnr']:.2f}" for plane in PLANES)
    return f"| {beam} | `{method}` | {psnr} | {seconds:.0f} | {times.peak_mib:.0f} |"


if __name__ == "__main__":
    main()
