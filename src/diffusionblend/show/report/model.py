"""What a report says, as values. Most of it may be missing: the page then has no such part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import InvalidValue

if TYPE_CHECKING:
    from diffusionblend.quality.record import Quality

Points = Sequence[tuple[int, float | None]]
Voxel = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Entry:
    """A reconstruction.

    Attributes:
        name: What it is called, such as "fbp".
        hu: Volume (slices, rows, columns), float32, in HU.
        seconds: How long it took; NaN if that is not known.
        figures: For each plane, "psnr" in dB, "ssim", and the standard deviations of both over
            slices as "psnr_std" and "ssim_std"; for "volume" the PSNR of the whole volume. What
            is missing is shown as a dash.
        std: Standard deviation of its samples in HU, as `hu`.
        words: What its method does; empty if that is not known.
        psnr: Of each sample steps, and the axial PSNR in dB of the volume there.
        residual: Of each sample steps, and |A u - y| / |y| there.
        gaps: What is missing of it, and what else is to be said: sentences without their ends.
    """

    name: str
    hu: np.ndarray
    seconds: float = math.nan
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    quality: "Quality | None" = None
    std: np.ndarray | None = None
    words: str = ""
    psnr: Sequence[Points] = ()
    residual: Sequence[Points] = ()
    configuration: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    command: str = ""
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """All of it.

    Attributes:
        truth: Volume (slices, rows, columns) in HU, or None if it is not known.
        spacing_mm: Size of a voxel (z, y, x).
        facts: Scan, noise, versions, credits: shown as a table.
        scan: Picture of the scan (height, width, 3), uint8.
        gaps: What is missing of all of them, and why: sentences.
        at: The voxel (slice, row, column) that the three planes run through, counted as in the
            files; None is the middle one.
        turned_axes: Axes (z, y, x) that the files count from the other end than the volumes here.
    """

    title: str
    verdict: str
    entries: tuple[Entry, ...]
    truth: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    facts: dict[str, str]
    command: str
    scan: np.ndarray | None = None
    gaps: tuple[str, ...] = ()
    at: Voxel | None = None
    turned_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse volumes that cannot be laid over each other."""
        volumes = [v for e in self.entries for v in (e.hu, e.std) if v is not None]
        volumes += [] if self.truth is None else [self.truth]
        if not self.entries or len({v.shape for v in volumes}) != 1 or volumes[0].ndim != 3:
            raise InvalidValue(f"volumes are {[v.shape for v in volumes]}; expected one shape")
        if not all(math.isfinite(mm) and mm > 0 for mm in self.spacing_mm):
            raise InvalidValue(f"spacing_mm is {self.spacing_mm}; expected positive numbers")

        if self.at is not None and not all(
            0 <= i < n for i, n in zip(self.at, volumes[0].shape, strict=True)
        ):
            raise InvalidValue(f"at is {self.at}; expected a voxel of {volumes[0].shape}")

    @property
    def point(self) -> Voxel:
        """The voxel (slice, row, column) of the volumes here that the planes run through."""
        if self.at is not None:
            return self.counted(self.at)
        slices, rows, columns = self.entries[0].hu.shape
        return slices // 2, rows // 2, columns // 2

    @property
    def voxel(self) -> Voxel:
        """The same voxel, counted as in the files."""
        return self.counted(self.point)

    def counted(self, voxel: Voxel) -> Voxel:
        """Count a voxel of the volumes here as the files do, or one of the files as here."""
        sizes = enumerate(zip(voxel, self.entries[0].hu.shape, strict=True))
        z, y, x = (n - 1 - i if axis in self.turned_axes else i for axis, (i, n) in sizes)
        return z, y, x
