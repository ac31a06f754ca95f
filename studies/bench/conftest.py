"""What the benchmarks share, and the tables of ratios at the end of a run.

The tables are printed, and written beside the file of `--benchmark-json` as Markdown.
"""

import os

import pytest
import torch
from tables import report

from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.projectors import Projector, projector

SLICES, SIZE, VIEWS = 64, 256, (8, 20, 60)
LOAD_BEFORE = os.getloadavg()[0]
RUN = pytest.StashKey[dict]()


@pytest.fixture(scope="session", params=VIEWS)
def geometry(request) -> Geometry:
    """A grid, and a beam of so many views."""
    grid = Grid.from_spacing((SLICES, SIZE, SIZE))
    return Geometry(grid, parallel_beam(grid, sparse_view(request.param)))


@pytest.fixture(scope="session")
def A(geometry) -> Projector:  # noqa: N802 - the field's name
    return projector(*geometry)


@pytest.fixture(scope="session")
def x() -> torch.Tensor:
    """A smooth object, the same in all slices, off the centre and without symmetry."""
    row, column = torch.meshgrid(*2 * [torch.linspace(-1, 1, SIZE)], indexing="ij")
    bump = torch.exp(-8 * (row - 0.2) ** 2 - 20 * (column + 0.1 + 0.3 * row) ** 2)
    return bump.expand(SLICES, -1, -1).contiguous()


def pytest_benchmark_update_machine_info(machine_info):
    machine_info |= {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_before": LOAD_BEFORE,
    }


def pytest_benchmark_update_json(config, output_json):
    config.stash[RUN] = output_json


def pytest_terminal_summary(terminalreporter, config):
    if RUN not in config.stash:
        return
    skipped = {
        skip.longrepr[2].removeprefix("Skipped: ")
        for skip in terminalreporter.stats.get("skipped", [])
    }
    text = report(config.stash[RUN], sorted(skipped))
    config.getoption("benchmark_json").with_suffix(".md").write_text(text, encoding="utf-8")
    terminalreporter.write("\n" + text)
