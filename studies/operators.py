"""Time and memory of the operator of slices, with a matrix and without: the table of docs/speed.md.

`python studies/operators.py [--sizes N ...] [--views N ...] [--slices 9] [--astra]`. Each case runs
in a process of its own, in one thread. Seconds are those of the processor, so that what else runs
counts little; memory is the most that the process held beyond the slices. Where the matrix would
take more than `--most-gb` there is none. `--astra` measures ASTRA's projector on the processor
beside them (`linear`, Joseph's method too); `against_astra.py` says how it is installed.
"""

import argparse
import itertools
import multiprocessing
import time
from pathlib import Path

import torch

from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.projectors.matrix import MatrixProjector, matrix_bytes
from diffusionblend.projectors.rays import RayProjector


class Astra:
    """ASTRA's operator, called as ours are."""

    def __init__(self, geometry):
        from against_astra import Astra as Theirs  # ASTRA is no dependency

        self.theirs = Theirs(geometry)

    def __call__(self, x):
        return self.theirs.project(x.numpy())

    @property
    def T(self):  # noqa: N802
        return self.theirs.back_project


MAKERS = {"matrix": MatrixProjector, "rays": RayProjector, "ASTRA": Astra}


def geometry_of(size, views):
    grid = Grid.from_spacing((1, size, size))
    return Geometry(grid, parallel_beam(grid, sparse_view(views)))


def timed(work):
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def held(name):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


def case(how, size, views, slices):
    """Measure one operator, in this process."""
    geometry = geometry_of(size, views)
    x = torch.rand(slices, size, size)
    if how != "ASTRA":  # each has the slices as it likes them: ours beside one another
        x = x.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    before = held("VmRSS")
    making, A = timed(lambda: MAKERS[how](geometry))
    forward, y = timed(lambda: A(x))
    adjoint, _ = timed(lambda: A.T(y))
    return making, forward, adjoint, held("VmHWM") - before


def measured(how, size, views, slices):
    """Measure one operator in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(case, (how, size, views, slices))


def warmed(hows):
    """Compile, and import what is imported late."""
    for how in hows:
        A = MAKERS[how](geometry_of(16, 2))
        A.T(A(torch.ones(1, 16, 16)))


def cells(found):
    if found is None:
        return ["-"] * 4
    *times, size = found
    return [*(f"{t:.2f}" for t in times), f"{size / 1e9:.2f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--views", type=int, nargs="+", default=[8, 20, 60, 180, 720])
    parser.add_argument("--slices", type=int, default=9)
    parser.add_argument("--most-gb", type=float, default=4.5)
    parser.add_argument("--astra", action="store_true")
    options = parser.parse_args()
    hows = [how for how in MAKERS if options.astra or how != "ASTRA"]
    torch.set_num_threads(1)
    warmed(hows)
    names = ["making / s", "A / s", "A^T / s", "GB"]
    titles = ["pixels", "views", *(f"{how}: {n}" for how in hows for n in names)]
    print("|", " | ".join(titles), "|")
    print("|" + "---|" * len(titles), flush=True)
    for size, views in itertools.product(options.sizes, options.views):
        line = [f"{size} x {size}", str(views)]
        stored = matrix_bytes(geometry_of(size, views)) <= options.most_gb * 1e9
        for how in hows:
            done = how != "matrix" or stored
            line += cells(measured(how, size, views, options.slices) if done else None)
        print("|", " | ".join(line), "|", flush=True)


if __name__ == "__main__":
    main()
