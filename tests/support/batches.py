"""Small batches: scans, options they are reconstructed with, and the same by single commands."""

import numpy as np
import pytest
import torch

import diffusionblend as db
from diffusionblend.batch.claims import Claims
from diffusionblend.errors import OutputError
from support.commands import command
from support.phantoms import blob, placed

GRID = db.Grid.from_spacing((3, 32, 32), (2.0, 2.0, 2.0))
OPTIONS = ("--method", "sbtv", "--set", "iterations=5", "--no-classical", "--threads", 1)


def write_scans(folder, number):
    """Write small scans of a body that is another in each."""
    folder.mkdir(parents=True, exist_ok=True)
    geometry = placed(db.parallel_beam, GRID, db.sparse_view(12))
    A = db.projector(*geometry)
    for index in range(number):
        body = 0.01 * torch.from_numpy(blob(GRID, (index - 4, 3.0, 0.0), sigma=8)).float()
        y = 2.0 * A(body).numpy().astype(np.float32)
        db.write_scan(db.Scan(y, geometry, mu_water=0.02), folder / f"s{index}.h5")
    return folder


def reconstruct_each(scans, folder):
    """Make of each scan what the command `reconstruct` makes."""
    for scan in sorted(scans.glob("*.h5")):
        ended = command("reconstruct", scan, "-o", folder / f"{scan.stem}.nii.gz", *OPTIONS)
        assert ended.code == 0, ended.err
    return folder


def batch(scans, folder, *options):
    """Run the command `batch` with these options."""
    return command("batch", scans, "-o", folder, *OPTIONS, *options)


def check_claims(folder):
    """Check that batches of the same options share a folder, and that another is refused."""
    with Claims(folder, "one") as first:
        assert first.take("a.nii.gz")
        with Claims(folder, "one") as second:
            assert not second.take("a.nii.gz")
            assert second.take("b.nii.gz")
        with (
            pytest.raises(OutputError, match="another batch is working there with other options"),
            Claims(folder, "other"),
        ):
            pass
        first.give_back("a.nii.gz")
        with Claims(folder, "one") as third:
            assert third.take("a.nii.gz")
            assert third.take("b.nii.gz")
