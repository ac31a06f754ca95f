"""Whole reconstructions: how long they take, how much of it in the network, how much memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffusionblend.errors import UsageError
from diffusionblend.experiments.demo import SIZE, SLICES, demonstration_volume
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.io.volumes import read_volume
from diffusionblend.methods import find_method
from diffusionblend.methods.options import make_method, option_defaults
from diffusionblend.prior import from_pretrained
from diffusionblend.reconstruction.draw import reconstruct_volume
from diffusionblend.simulation.simulate import simulate

METHODS = ("diffusionblend++", "diffusionblend-fast")
STEPS = {"diffusionblend++": 20}  # its steps all cost the same
STEPS_FOR_MEMORY = 20  # the same for all: the peak still rises a little from step to step


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    """The scan of the demonstration: 48 slices of 256 x 256, 8 views."""
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    volume = read_volume(demonstration_volume()).slices(*SLICES)
    write_scan(simulate(volume, sparse_view(8), size=SIZE), path)
    return path


@pytest.mark.parametrize("name", METHODS)
def test_whole(benchmark, monkeypatch, scan_file, name):
    method = method_or_skip(name)
    scan, prior, ends = read_scan(scan_file), from_pretrained("chest"), []
    network = Timed(prior.denoise)
    monkeypatch.setattr(prior, "denoise", network)
    options = {"steps": STEPS[name]} if name in STEPS else {}
    benchmark.group = "whole"
    benchmark.pedantic(
        reconstruct_volume,
        (scan, make_method(name, **options)),
        {
            "prior": prior,
            "device": "cpu",
            "callback": lambda _: ends.append(time.perf_counter()),
        },
    )
    left_out = option_defaults(method)["steps"] - STEPS[name] if name in STEPS else 0
    benchmark.extra_info |= {
        "method": name,
        "steps": len(ends) + left_out,
        "measured_steps": len(ends),
        "seconds_left_out": left_out * (ends[-1] - ends[0]) / (len(ends) - 1),
        "network_share": network.seconds / benchmark.stats.stats.min,
        "peak_mib": peak_memory(scan_file, name),
    }


class Timed:
    """A function, and the seconds that its calls have taken."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args, **kwargs):
        began = time.perf_counter()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - began


def method_or_skip(name):
    try:
        return find_method(name)
    except UsageError as error:
        pytest.skip(str(error))


def peak_memory(scan_file, name):
    """Return the most memory in MiB that a process of its own held."""
    script = Path(__file__).with_name("peak_memory.py")
    ended = subprocess.run(
        [sys.executable, script, scan_file, name, f"steps={STEPS_FOR_MEMORY}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(ended.stdout)
