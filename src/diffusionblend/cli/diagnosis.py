"""Whether all is well on this machine, how fast it is here, and what volumes would take."""

import bisect
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

from diffusionblend.data.scan import Scan
from diffusionblend.errors import DiffusionBlendError
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.io.files import writable
from diffusionblend.machine.device import find_device
from diffusionblend.machine.memory import free_bytes
from diffusionblend.methods.options import make_method
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.projectors import projector
from diffusionblend.projectors.slices import is_stored
from diffusionblend.reconstruction.draw import DEFAULT_METHOD, DEFAULT_PRIOR
from diffusionblend.reconstruction.estimate import estimate
from diffusionblend.reconstruction.footprint import peak_memory
from diffusionblend.reconstruction.request import Request
from diffusionblend.sampling.partition import BLOCK

VIEWS = 8
SIZES, SLICES = (256, 512), (48, 133, 300)
SPACING_MM, FIELD_MM = 2.5, 360.0
ACROSS, MOST_VIEWS = (256, 512, 1024, 2048), 10_000


@dataclass(frozen=True)
class Extra:
    """A group of optional packages."""

    name: str
    installed: dict[str, str]
    missing: tuple[str, ...]

    @property
    def cure(self) -> str:
        """The line that installs it."""
        return " ".join(["pip install", *self.missing])


def extras() -> tuple[Extra, ...]:
    """Return the groups of optional packages, by name."""
    groups: dict[str, dict[str, str | None]] = {}
    for requirement in requires("diffusionblend") or []:
        group = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        package = re.match(r"[\w.-]+", requirement)
        if group and package:
            groups.setdefault(group[1], {})[package[0]] = _version(package[0])
    return tuple(
        Extra(
            name,
            {package: found for package, found in packages.items() if found is not None},
            tuple(package for package, found in packages.items() if found is None),
        )
        for name, packages in sorted(groups.items())
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def devices() -> dict[str, dict[str, Any]]:
    """Return each device: its cores and threads, or its name, and its memory in bytes."""
    found: dict[str, dict[str, Any]] = {
        "cpu": {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "free_bytes": free_bytes(),
        }
    }
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        found[f"cuda:{index}"] = {"name": name, "free_bytes": free, "bytes": total}
    return found


def problems() -> Iterator[DiffusionBlendError]:
    """Yield what is broken: the prior in the package, the folder for temporary files."""
    temporary = Path(tempfile.gettempdir()) / "any.file"
    for attempt in (partial(from_pretrained, DEFAULT_PRIOR), partial(writable, temporary)):
        try:
            attempt()
        except DiffusionBlendError as error:
            yield error


def example(slices: int, size: int) -> Scan:
    """Return the scan of a cylinder of water in slices of size x size pixels."""
    geometry = scanned(slices, size, VIEWS)
    across = torch.linspace(-1, 1, size)
    disc = (across[:, None] ** 2 + across**2 < 0.5).float().expand(slices, -1, -1)
    scan = Scan(torch.zeros(geometry.sinogram_shape).numpy(), geometry)
    return Scan((projector(*geometry)(disc) * scan.scale).numpy(), geometry)


def scanned(slices: int, size: int, views: int) -> Geometry:
    """Return a parallel beam of this many views of slices of size x size pixels."""
    pixel_mm = FIELD_MM / size
    grid = Grid.from_spacing((slices, size, size), (SPACING_MM, pixel_mm, pixel_mm))
    return Geometry(grid, parallel_beam(grid, sparse_view(views)))


def most_views_stored() -> dict[int, int]:
    """Return up to how many views the operator of slices of some sizes is a matrix here."""
    place, views = find_device(), range(1, MOST_VIEWS + 1)

    def most(size: int) -> int:
        return bisect.bisect(views, False, key=lambda n: not is_stored(scanned(1, size, n), place))

    return {size: most(size) for size in ACROSS}


def volumes(prior: Prior) -> list[dict[str, Any]]:
    """Return what volumes of some sizes would take by the default method, measured here.

    Returns:
        For each the shape, seconds in all and of the method, of one sweep of it over a slice, and
        bytes of memory; none on a GPU, where that is not known.
    """
    device, method = find_device(), make_method(DEFAULT_METHOD)
    steps: int = method.steps  # type: ignore[attr-defined]
    found = []
    for size in SIZES:
        scan = example(2 * BLOCK, size)
        took = estimate(scan, Request(scan.geometry, method), prior=prior, device=device)
        for slices in SLICES:
            share = method.length(slices) / (2 * BLOCK)
            seconds = {name: share * (s or 0.0) for name, s in took.seconds.items()}
            shape = (slices, size, size)
            data = (slices, *scan.y.shape[1:])
            matrix = took.operator == "matrix"
            memory = peak_memory(shape, data, method, matrix=matrix)
            sweep = seconds[DEFAULT_METHOD] / steps / method.length(slices)
            found.append(
                {
                    "shape": shape,
                    "seconds": sum(seconds.values()),
                    "seconds_of": seconds,
                    "seconds_a_sweep_of_a_slice": sweep,
                    "memory_bytes": memory if device.type == "cpu" else None,
                    "operator": took.operator,
                }
            )
    return found
