"""Where to compute, and by how many threads."""

import contextlib
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from diffusionblend.errors import UsageError

log = logging.getLogger(__name__)


def find_device(device: str | torch.device = "auto") -> torch.device:
    """Return a device by its name; `auto` is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place).cpu()  # of `meta` there is nothing to bring back
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"`device={str(device)!r}`: not on this machine; expected cpu or auto"
        ) from error
    return place


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system says
        return os.cpu_count() or 1


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[int]:
    """Share the sums among this many threads, whatever the number of cores; None changes nothing.

    Sums of floats depend on their order, which is another for another number of threads: the last
    digits are those of the number.

    Yields:
        The number that torch has now.
    """
    before = torch.get_num_threads()
    if number is not None and number != before:
        torch.set_num_threads(number)
    here = torch.get_num_threads()
    if number not in (None, here):
        log.warning(
            "%s threads are not available, only %d: the last digits may differ", number, here
        )
    try:
        yield here
    finally:
        if here != before:
            torch.set_num_threads(before)


def processor() -> str:
    """Return the name of the processor, as far as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
