"""How long a large scan takes, from a trial on larger pixels and from fewer views.

Where even a few steps on a few slices would take minutes, the scan is tried on 256 pixels across or
fewer, from 20 views or fewer. What that takes is counted separately. Everything except the products
with the operator scales with the pixels, as the network and sums over a volume do. The number of
products is the same on pixels of any size; their time scales with the pixels and, except for a
part, with the views. The time of one is measured separately, with the kind of operator that the
scan has.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from diffusionblend.data.arrays import block_means
from diffusionblend.data.scan import Scan
from diffusionblend.geometry import Geometry
from diffusionblend.methods import FBP, Method
from diffusionblend.projectors import Projector, projector
from diffusionblend.projectors.base import Around
from diffusionblend.projectors.slices import is_stored

MOST_CROSSINGS, MOST_WITH_PRIOR = 4e6, 1.4e6
"""Pixels times views of a slice that is tried as it is: 256 x 256 pixels and 60 views, which take 6
to 8 s, or 20 views with a prior, whose classical reconstruction is tried as well."""
PIXELS, VIEWS = 256, 20
"""Pixels across and views of a smaller trial."""
FBP_PIXELS, FBP_VIEWS = 1024, 8
"""The same of filtered back-projection alone: it is fast, and a picture that fits into the cache
takes less for each of its pixels."""
OF_RAYS, OF_MATRIX = (1024, 1.3e7), (512, 4e6)
"""Pixels across, and pixels times views, with which a product is measured, some of the time being
that of the matrix. Without one 1024 pixels take as long for each as 2048, and 256 a sixth less."""
FEWER_VIEWS = 4
"""Without a matrix a product is measured with a share of these views as well: some of it is done
once for all views, with 12 of 1024 pixels a half."""
_MATRIX_SLICES = 9
_CPU = torch.device("cpu")
_clock = time.monotonic
_Made = TypeVar("_Made")


def crossings(geometry: Geometry) -> int:
    """Return the pixels of a slice times the views."""
    return math.prod(geometry.grid.shape[1:]) * len(geometry.beam.angles_deg)


def takes_long(geometry: Geometry, method: Method, device: torch.device) -> bool:
    """Return whether a trial of a method on slices as they are would take more than seconds.

    Those of beams whose rays cross slices have fewer slices instead, and of a method whose steps
    nobody can count there is no law.

    Args:
        geometry: Of the scan.
        method: The method.
        device: Where it works; a GPU is fast enough.
    """
    counted = method.counted_by is not None or isinstance(method, FBP)
    most = MOST_WITH_PRIOR if method.needs_prior else MOST_CROSSINGS
    plain = geometry.beam.slicewise and device.type == "cpu"
    return plain and counted and crossings(geometry) > most


def smaller(scan: Scan, pixels: int, views: int) -> Scan:
    """Return a scan on larger pixels and with wider bins, from fewer views, evenly spread.

    Args:
        scan: Of a beam that sees slices by themselves.
        pixels: Most pixels across.
        views: Most views.
    """
    geometry, chosen, factor = _smaller(scan.geometry, pixels, views)
    bins = min(factor, scan.y.shape[2])
    return dataclasses.replace(
        scan, y=block_means(scan.y[:, list(chosen)], 1, 1, bins), geometry=geometry
    )


def _smaller(geometry: Geometry, pixels: int, views: int) -> tuple[Geometry, range, int]:
    """Return the geometry, the views that it has left, and how many times larger its pixels are."""
    grid, beam = geometry
    times = max(1.0, max(grid.shape[1:]) / pixels)
    factor = 2 ** math.ceil(math.log2(times))  # a power of two, as the ladder of grids has
    factor = min(factor, *grid.shape[1:])
    count = len(beam.angles_deg)
    chosen = range(0, count, math.ceil(count / views))
    fewer = beam.views(chosen).binned(min(factor, beam.bins))
    return Geometry(grid.binned(factor), fewer), chosen, factor


class Timed(Around):
    """A projector that notes its products.

    Args:
        A: The projector.

    Attributes:
        products: Of each product whether it was with A^T, of how many slices, and its seconds.
    """

    def __init__(self, A: Projector) -> None:
        super().__init__(A)
        self.products: list[tuple[bool, int, float]] = []

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A, or A^T."""
        took, made = timed(lambda: self._A.product(x, transpose))
        self.products.append((transpose, len(x), took))
        return made


@dataclass(frozen=True)
class Law:
    """What a trial's time becomes on the pixels and views of a scan; it stays, if nothing is said.

    Attributes:
        pixels: Pixels of the scan's slices, for each of the trial's.
        tried, slices: Slices of the trial and of the scan.
        product: Seconds of A, or of A^T if it is True, on the scan's pixels and views, for this
            many slices.
        whole: Whether some slices take as long as a few more.
        how: What kind of operator the scan has; empty if it is the trial's.
        projectors: The trial's operators.
    """

    pixels: float = 1.0
    tried: int = 1
    slices: int = 1
    product: Callable[[bool, int], float] = lambda _transpose, _count: 0.0
    whole: bool = False
    how: str = ""
    projectors: tuple[Timed, ...] = field(default=(), repr=False)

    def timed(self, work: Callable[[], _Made]) -> tuple[float, _Made]:
        """Do some work of the trial, and return its seconds on the scan's pixels and views.

        They are of the trial's slices: times the scan's for each of these they are the scan's.
        """
        for A in self.projectors:
            A.products.clear()
        took, made = timed(work)
        done = [product for A in self.projectors for product in A.products]
        rest = took - sum(seconds for *_, seconds in done)
        of_products = sum(self.of_product(transpose, count) for transpose, count, _ in done)
        return self.pixels * rest + of_products, made

    def of_product(self, transpose: bool, count: int) -> float:
        """Return the seconds of a product on the scan's pixels and views.

        Args:
            transpose: Whether it is with A^T.
            count: Slices in the trial: all of them, or some that a longer scan has as well.
        """
        every = count >= self.tried
        many = math.ceil(self.slices * count / self.tried) if every else count
        share = self.tried / self.slices if every or self.whole else 1.0
        return self.product(transpose, many) * share


def law_of(full: Geometry, tried: Geometry, *projectors: Projector) -> Law:
    """Return the law from a smaller trial to a scan, for which a product is measured.

    Args:
        full: Geometry of the scan.
        tried: Geometry of the trial.
        projectors: The trial's operators, whose products are counted separately.
    """
    stored = is_stored(full, _CPU)
    A, product = _of_matrix(full) if stored else _of_rays(full)
    return Law(
        pixels=_pixels(full) / _pixels(tried),
        tried=tried.grid.shape[0],
        slices=full.grid.shape[0],
        product=product,
        whole=not stored,
        how=A.how,
        projectors=tuple(A for A in projectors if isinstance(A, Timed)),
    )


_Seconds = Callable[[bool, int], float]


def _of_matrix(full: Geometry) -> tuple[Projector, _Seconds]:
    """Return the operator, and what its products take: for each slice the same."""
    few, *_ = _smaller(full, *_measured_with(full, stored=True))
    A, times = projector(*few), crossings(full) / crossings(few)
    count = min(few.grid.shape[0], _MATRIX_SLICES)
    took = _products(A, count)
    return A, lambda transpose, many: times * took[transpose] * many / count


def _of_rays(full: Geometry) -> tuple[Projector, _Seconds]:
    """Return the operator, and what its products take: the same for one slice and for its lanes."""
    from diffusionblend.projectors.lanes import FEW, MANY, lanes_of
    from diffusionblend.projectors.rays import RayProjector

    across, most = _measured_with(full, stored=False)
    A, other = (RayProjector(_smaller(full, across, n)[0]) for n in (most, most // FEWER_VIEWS))
    views, fewer, many = (len(g.beam.angles_deg) for g in (A.geometry, other.geometry, full))
    more = (many - views) / max(1, views - fewer)
    pixels = _pixels(full) / _pixels(A.geometry)
    took = {}
    for lanes in (FEW, MANY):
        here, less = (_products(p, len(lanes)) for p in (A, other))
        took[len(lanes)] = [
            pixels * (a + more * max(0.0, a - b)) for a, b in zip(here, less, strict=True)
        ]
    return A, lambda transpose, count: sum(took[len(n)][transpose] for n in lanes_of(count))


def _products(A: Projector, count: int) -> tuple[float, float]:
    """Return the seconds of A and of A^T for some slices."""
    u = torch.ones(count, *A.volume_shape[1:])
    y = A(u)
    A.T(y)  # now loops are compiled
    return timed(lambda: A(u))[0], timed(lambda: A.T(y))[0]


def _measured_with(full: Geometry, stored: bool) -> tuple[int, int]:
    """Return the pixels across and the views with which a product is measured."""
    across, most = OF_MATRIX if stored else OF_RAYS
    pixels = min(_pixels(full), across**2)
    return across, max(1, int(most / pixels))


def _pixels(geometry: Geometry) -> int:
    return math.prod(geometry.grid.shape[1:])


def timed(work: Callable[[], _Made]) -> tuple[float, _Made]:
    """Do some work, and return its seconds and what it made."""
    began = _clock()
    made = work()
    if isinstance(made, Tensor):
        made.sum().item()  # a GPU is still at it
    return _clock() - began, made
