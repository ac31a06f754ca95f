"""The method that docs/how-to/add-a-method.md shows, as a package of its own."""

import os
import signal

import pytest
import torch

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.methods import Problem, find_method
from diffusionblend.projectors import projector
from support.commands import contents, user_command
from support.documents import blocks
from support.packages import install

STOP = """
import os, signal
from diffusionblend.runs.checkpoint import Checkpoint
save = Checkpoint.__call__
def save_and_end(run, step):
    save(run, step)
    if step.index == 7:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoint.__call__ = save_and_end
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of `sys.path`, here and in processes, where the page's package is installed."""
    place = tmp_path / "site"
    place.mkdir()
    for block in blocks("docs/how-to/add-a-method.md"):
        if block.title:
            path = tmp_path / block.title
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    install(tmp_path / "ct-landweber", place)
    monkeypatch.syspath_prepend(place)
    paths = [str(place), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return place


def reconstruct(data, output, *more, **kwargs):
    return user_command("reconstruct", data.scan, "-o", output, "--method", "landweber",
                        "--set", "iterations=12", "--save-state", 0, *more, **kwargs)  # fmt: skip


@pytest.mark.usefixtures("installed")
def test_it_agrees_with_its_definition():
    """u = max(u + A^T (y - A u) / |A^T A|, 0), on a dense matrix in float64."""
    grid = Grid.from_spacing((1, 8, 8))
    A = projector(grid, parallel_beam(grid, sparse_view(5)))
    u = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.2
    y = A(u)
    dense = A(torch.eye(64).view(-1, 8, 8)).flatten(1).T.double()
    norm = float(torch.linalg.matrix_norm(dense, 2)) ** 2
    expected = torch.zeros(64, dtype=torch.float64)
    for _ in range(30):
        expected = (expected + dense.T @ (y.flatten().double() - dense @ expected) / norm).clamp(0)
    found = 1 + find_method("landweber")(iterations=30)(Problem(y, A))
    torch.testing.assert_close(found.flatten().double(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.usefixtures("installed")
def test_it_is_stopped_and_gone_on_with_as_any_other(data, place):
    whole, stopped = place / "whole.nii.gz", place / "stopped.nii.gz"
    ended = reconstruct(data, whole)
    assert ended.code == 0, ended.err
    assert reconstruct(data, stopped, before_main=STOP).code == -signal.SIGKILL
    assert set(map(str, contents(place))) == {
        "whole.nii.gz", "whole.nii.gz.json", "stopped.nii.gz.state",
        ".lock-d081e4e8-stopped.nii.gz",  # empty; the next run removes it
    }  # fmt: skip
    ended = reconstruct(data, stopped, "--resume")
    assert ended.code == 0, ended.err
    assert "continues after step 7" in ended.err
    assert stopped.read_bytes() == whole.read_bytes()
    assert not [name for name in contents(place) if name.name.startswith(".")]


@pytest.mark.usefixtures("installed")
def test_what_its_class_says_is_what_the_command_does(data, place):
    told = user_command("info", "landweber")
    assert told.code == 0, told.err
    assert "u += A^T (y - A u) / |A^T A|" in told.out
    planned = reconstruct(data, place / "o.nii.gz", "--dry-run")
    assert planned.code == 0, planned.err
    assert "classical" not in planned.out  # it is one itself
    refused = reconstruct(data, place / "o.nii.gz", "--samples", 2)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "Landweber does not sample" in refused.err
