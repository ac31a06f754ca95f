"""Times of every beam: A, A^T, filtered back-projection and simulation, for 48 slices of 256 x 256.

Prints a table in Markdown. A time is the shortest of its rounds, in ms; behind it the shortest
CPU time, which other work on the machine disturbs less.

    python studies/beams.py --threads 1 2 --views 8 60
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.methods import FBP, Problem
from diffusionblend.projectors import projector
from diffusionblend.simulation.strip import strip_project

GRID = Grid.from_spacing((48, 256, 256), (2.5, 1.4, 1.4))
FINE = Grid.from_spacing((48, 512, 512), (2.5, 0.7, 0.7))
PLACE = {"sod_mm": 600.0, "sdd_mm": 1000.0}
BEAMS = {
    "parallel": parallel_beam,
    "fan, flat": partial(fan_beam, **PLACE),
    "fan, curved": partial(fan_beam, detector="curved", **PLACE),
    "cone": partial(cone_beam, **PLACE),
}


def shortest(work: Callable[[], object], rounds: int) -> str:
    """Time some work after a first call, which compiles what is to be compiled."""
    work()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return f"{1e3 * min(walls):.0f} ({1e3 * min(cpus):.0f})"


def row(beam: str, views: int, threads: int, rounds: int) -> list[str]:
    torch.set_num_threads(threads)
    A = projector(GRID, BEAMS[beam](GRID, sparse_view(views, 360)))
    x = torch.randn(A.volume_shape, generator=torch.Generator().manual_seed(0))
    y, fine = A(x), torch.rand(FINE.shape).numpy()
    one = BEAMS[beam](GRID, (33.0,))
    return [
        beam,
        str(views),
        " x ".join(map(str, A.sinogram_shape[::2])),
        str(threads),
        shortest(lambda: A(x), rounds),
        shortest(lambda: A.T(y), rounds),
        shortest(lambda: FBP()(Problem(y, A)), 1),
        shortest(lambda: strip_project(fine, FINE, one), 1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--views", type=int, nargs="+", default=[8, 60])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = ("beam", "views", "detector", "threads", "A", "A^T", "FBP", "simulation of one view")
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for beam in BEAMS:
        for views in options.views:
            for threads in options.threads:
                cells = row(beam, views, threads, options.rounds)
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
