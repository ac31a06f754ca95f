"""PSNR of the steps of a run, for tables and curves; the method never sees it."""

import time

import numpy as np

from diffusionblend.data.units import hu_from_x
from diffusionblend.data.volume import Volume
from diffusionblend.methods import Step
from diffusionblend.metrics import RANGE_HU, mean_psnr

TRACED = 20


class Trace:
    """Axial PSNR of the estimate at about `TRACED` steps, and the time that computing it took.

    It is a callback.

    Attributes:
        points: Steps and their PSNR in dB; None where it is not finite.
        seconds: How long computing them took.
    """

    def __init__(self, truth: Volume) -> None:
        self._truth = truth.hu.clip(*RANGE_HU).astype(np.float64)
        self.points: list[tuple[int, float | None]] = []
        self.seconds = 0.0

    def __call__(self, step: Step) -> None:
        """Enter a step, if it is one of those that are shown."""
        began = time.perf_counter()
        # Whole multiples of steps / TRACED, and the last.
        if step.index * TRACED // step.steps > (step.index - 1) * TRACED // step.steps:
            self.look(step.index, hu_from_x(step.x0[:]).cpu().numpy())
        self.seconds += time.perf_counter() - began

    def look(self, index: int, hu: np.ndarray) -> None:
        """Enter the estimate (slices, rows, columns) of a step, in HU."""
        value = mean_psnr(hu.clip(*RANGE_HU).astype(np.float64), self._truth)
        self.points.append((index, value if np.isfinite(value) else None))
