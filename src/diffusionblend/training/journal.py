"""What a run reports: `stats.jsonl` always, TensorBoard if it is installed."""

import errno
import importlib.util
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from diffusionblend.io.files import Dispensable, write_file, writing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

STATS, EVENTS = "stats.jsonl", "tensorboard"


class Journal:
    """Lines of numbers, one for each report; what a resumed run repeats is not there twice."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / STATS
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in lines if _step(line) <= step]
        if kept != lines:
            write_file(self._path, "".join(f"{line}\n" for line in kept))
        self._events = _events(folder / EVENTS, step)
        self._dispensable = Dispensable("what could not be written there")

    def write(self, numbers: Mapping[str, float], pictures: Mapping[str, Tensor]) -> None:
        """Add a line, and pictures (rows, columns) with values in [0, 1], for TensorBoard."""
        with self._dispensable, writing(self._path):
            _add(self._path, json.dumps(numbers) + "\n")
            self._show(numbers, pictures)

    def _show(self, numbers: Mapping[str, float], pictures: Mapping[str, Tensor]) -> None:
        if self._events is None:
            return
        step = int(numbers["step"])
        for name, value in numbers.items():
            self._events.add_scalar(name, value, step)
        for name, picture in pictures.items():
            self._events.add_image(name, picture, step, dataformats="HW")
        self._events.flush()


def _add(path: Path, line: str) -> None:
    """Add a line to a file: a whole one, or none."""
    with open(path, "ab", buffering=0) as file:
        before = file.tell()
        if file.write(line.encode()) < len(line):
            file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _events(folder: Path, step: int) -> "SummaryWriter | None":
    """Open TensorBoard's file of events, where TensorBoard is installed."""
    if not importlib.util.find_spec("tensorboard"):
        log.info("TensorBoard is not installed (pip install tensorboard); %s alone", STATS)
        return None
    from torch.utils.tensorboard import SummaryWriter

    with writing(folder):
        return SummaryWriter(str(folder), purge_step=step + 1)


def _step(line: str) -> float:
    """Return the step of a line; a line that was cut off by a crash comes after all others."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")
