"""The projector against the one of the DDS and DiffusionBlend releases: ratios in one run.

Theirs pads the slices, turns them with `grid_sample` for each view and sums along the rows; for
the adjoint they interpolate each view back. Both are written here from their description. Times
are the best of some repeats for 64 slices of 256 x 256. What goes in has its slices first in
memory; what comes out has them last, as the next product wants it. "copy" is what it costs to
bring the result of A^T back to slices first, for those who need that.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from diffusionblend.geometry import Grid, parallel_beam, sparse_view
from diffusionblend.methods.fbp import back_project
from diffusionblend.projector import Projector

SLICES, SIZE = 64, 256
VIEWS = (8, 20, 60)


def rotate_and_sum(x: Tensor, angles: tuple[float, ...], bins: int) -> Tensor:
    """Project (slices, rows, columns) by turning the slices."""
    before = (bins - SIZE) // 2
    pad = (before, bins - SIZE - before) * 2
    padded = functional.pad(x, pad)[:, None]
    views = []
    for angle in angles:
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, sin, 0], [-sin, cos, 0]]).expand(len(x), 2, 3)
        grid = functional.affine_grid(turn, list(padded.shape), align_corners=True)
        views.append(functional.grid_sample(padded, grid, align_corners=True).sum(2))
    return torch.cat(views, dim=1)


def best_ms(function: Callable[[], object], repeats: int) -> float:
    """Return the shortest time of some calls, in ms."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times[1:])


def main() -> None:
    x = torch.rand(SLICES, SIZE, SIZE)
    print(f"{SLICES} slices of {SIZE} x {SIZE}, {torch.get_num_threads()} threads, times in ms")
    print(
        f"{'views':>6}{'A':>9}{'theirs':>9}{'ratio':>7}{'A^T':>9}{'theirs':>9}{'ratio':>7}{'build':>9}"
    )
    for views in VIEWS:
        geometry = parallel_beam(Grid.from_spacing(x.shape), sparse_view(views))
        began = time.perf_counter()
        A = Projector(geometry)
        build = 1e3 * (time.perf_counter() - began)
        y = A(x).contiguous()
        ours = best_ms(lambda: A(x), 7)  # noqa: B023
        theirs = best_ms(lambda: rotate_and_sum(x, geometry.angles, geometry.bins), 2)  # noqa: B023
        back = best_ms(lambda: A.T(y), 7)  # noqa: B023
        copy = best_ms(A.T(y).contiguous, 7)
        their_back = best_ms(lambda: back_project(y, geometry), 2)  # noqa: B023
        print(
            f"{views:6}{ours:9.1f}{theirs:9.0f}{theirs / ours:7.0f}"
            f"{back:9.1f}{their_back:9.0f}{their_back / back:7.0f}{copy:7.1f}{build:8.0f}"
        )


if __name__ == "__main__":
    main()
