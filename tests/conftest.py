"""What several tests share: real data, made small once, and ways to run a command."""

import os

import pytest

from diffusionblend.machine.engine import TORCH, VARIABLE
from support.small_data import make_data

os.environ[VARIABLE] = TORCH  # whatever is installed, here and in the commands that are started


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(tmp_path):
    """An empty folder for a command's output; its files are compared before and after."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder
