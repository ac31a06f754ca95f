"""Real data, made small: a volume, its scan, a prior."""

from dataclasses import dataclass
from pathlib import Path

import torch

from diffusionblend.data.volume import Volume
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.prior import PriorConfig, UNetPrior, save_pretrained
from support.commands import command

SLICES, FINE = (60, 72), 128


@dataclass(frozen=True)
class Data:
    """Files made from the demonstration scan: 12 slices of 64 x 64 pixels, and their scan.

    Attributes:
        folder: Where they all are.
        volume: 12 x 64 x 64, pixels of 5.6 mm.
        fine: The same with 128 x 128 pixels.
        scan: 8 views of `volume`, as the command `simulate` makes it.
        prior: A folder with a small network of random weights.
    """

    folder: Path
    volume: Path
    fine: Path
    scan: Path
    prior: Path


def with_gains(prior):
    """Let a network of random weights do something: its gains are 0 before it is trained."""
    for name, parameter in prior.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(1.0)
    return prior


def save_tiny_prior(folder, **changes):
    """Save a small network of random weights; return its folder."""
    torch.manual_seed(0)
    config = PriorConfig(widths=(8, 16), blocks=(1, 1), data_mean=-0.5, data_std=0.5)
    prior = with_gains(UNetPrior(config))
    for name, value in changes.items():
        prior.get_parameter(name).data.fill_(value)
    save_pretrained(prior, folder, card="# Random weights, for tests\n")
    return folder


def make_data(folder):
    """Make files of the demonstration scan in a folder."""
    whole = read_volume(demonstration_volume()).slices(*SLICES)
    whole = Volume(whole.hu.clip(-1000), whole.grid)
    fine = whole.binned(whole.hu.shape[-1] // FINE)
    files = Data(
        folder=folder,
        volume=folder / "chest.nii.gz",
        fine=folder / "fine.nii.gz",
        scan=folder / "chest.h5",
        prior=save_tiny_prior(folder / "prior"),
    )
    write_volume(fine, files.fine)
    write_volume(fine.binned(2), files.volume)
    ended = command("simulate", files.volume, "-o", files.scan)
    assert ended.code == 0, ended.err
    return files
