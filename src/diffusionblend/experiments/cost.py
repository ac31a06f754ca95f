"""What a reconstruction costs: time, memory, and on what machine."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from diffusionblend.data.volume import Volume
from diffusionblend.machine.device import cores, processor
from diffusionblend.machine.memory import fields_of


class Times(msgspec.Struct, frozen=True):
    """What a run cost, and where: the part of a result that is not the same twice.

    Attributes:
        seconds: Wall-clock time of the reconstruction, without evaluation.
        peak_mib: Peak memory of the process in MiB, if the system reports it.
        gpu_peak_mib: Peak memory on the GPU in MiB, if there is one.
        finished: Day, UTC.
        hardware: CPU, cores and threads, GPU.
    """

    seconds: float
    peak_mib: float | None
    gpu_peak_mib: float | None
    finished: str
    hardware: str


def timed(
    work: Callable[[], Volume],
    device: torch.device,
    watched: Callable[[], float] = lambda: 0.0,
) -> tuple[Volume, Times]:
    """Call a function and measure what it takes, without the seconds spent on watching."""
    cuda = device.type == "cuda"
    with contextlib.suppress(OSError):  # the peak of this process's memory, where there is Linux
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    found = work()  # ends on the CPU: nothing is left to wait for
    seconds = time.perf_counter() - began - watched()
    peak = fields_of(Path("/proc/self/status")).get("VmHWM")
    return found, Times(
        seconds=round(seconds, 2),
        peak_mib=None if peak is None else float(peak // 2**20),
        gpu_peak_mib=torch.cuda.max_memory_allocated(device) // 2**20 * 1.0 if cuda else None,
        finished=time.strftime("%Y-%m-%d", time.gmtime()),
        hardware=hardware(device),
    )


def hardware(device: torch.device) -> str:
    """Return the hardware in words."""
    text = f"{processor()}, {cores()} cores, {torch.get_num_threads()} threads"
    return f"{text}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else text
