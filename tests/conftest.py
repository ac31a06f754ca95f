"""What several tests share: real data, made small once, and ways to run a command."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from diffusionblend.cli.main import main
from diffusionblend.data.volume import Volume
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.prior import PriorConfig, UNetPrior, save_pretrained

SLICES, FINE = (60, 72), 128


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


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


def command(*arguments):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code
    finally:
        signal.signal(signal.SIGTERM, before)
    return Ended(code, out.getvalue(), err.getvalue())


def user_command(*arguments, before_main="", threads=1):
    """Run a command as a user does, in a process of its own with so many threads."""
    program = (
        f"import sys; {before_main}\nfrom diffusionblend.cli.main import main; sys.exit(main())"
    )
    start = ["-c", program] if before_main else ["-m", "diffusionblend"]
    ended = subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def contents(folder):
    """Return every file under a folder, hidden ones too, and what is in it."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(tmp_path):
    """An empty folder for a command's output; its files are compared before and after."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder
