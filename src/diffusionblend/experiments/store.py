"""Runs that are kept: figures and a volume each, in the folder `runs`, under the run's key."""

from pathlib import Path

import msgspec
import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.experiments.cost import Times
from diffusionblend.experiments.key import Inputs
from diffusionblend.io.files import DAMAGE, atomic, make_folder, write_file

FOLDER, EARLIER = "runs", "cells"


class Result(msgspec.Struct, frozen=True):
    """What came out of a run.

    Attributes:
        figures: PSNR and SSIM as from `metrics.evaluate`; null where a figure is not finite.
        total_variation, total_variation_truth: Along z, in x.
        groups: Evaluations of the network, counted in groups of three slices.
        calls: Calls of the network, of a batch of groups each.
        trace: Steps done, and the axial PSNR of the estimate then.
    """

    inputs: Inputs
    figures: dict[str, dict[str, float | None]]
    total_variation: float
    total_variation_truth: float
    groups: int
    calls: int
    trace: tuple[tuple[int, float | None], ...]
    times: Times


def check_folder(folder: Path) -> None:
    """Refuse a folder that an earlier version filled."""
    if (folder / EARLIER).is_dir():
        raise UnsupportedInput(
            f"{folder / EARLIER}: runs of an earlier version, which do not state their version of "
            "torch; name another folder for the results, or remove this one to make them again"
        )


def places_of(folder: Path, key: str) -> tuple[Path, Path]:
    """Return where the figures and the volume of a run are kept."""
    return folder / FOLDER / f"{key}.json", folder / FOLDER / f"{key}.npz"


def load_result(folder: Path, key: str) -> Result | None:
    """Return what is kept of a run; None if it must be made (again)."""
    figures, volume = places_of(folder, key)
    try:
        result = msgspec.json.decode(figures.read_bytes(), type=Result)
    except (OSError, ValueError):
        return None
    return result if volume.is_file() else None


def load_hu(folder: Path, key: str) -> np.ndarray:
    """Return the volume (slices, rows, columns) of a run, float32, in whole HU."""
    path = places_of(folder, key)[1]
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["hu"].astype(np.float32)
    except DAMAGE as error:
        raise CorruptInput(
            f"{path}: is damaged ({error}); remove it, and it is made again"
        ) from error


def save(folder: Path, result: Result, hu: np.ndarray) -> None:
    """Keep a result: the volume first, so that where there are figures there is a volume."""
    make_folder(folder / FOLDER)
    figures, volume = places_of(folder, result.inputs.key)
    with atomic(volume) as temporary:
        np.savez_compressed(temporary, hu=np.rint(hu).clip(-32768, 32767).astype(np.int16))
    write_file(figures, msgspec.json.format(msgspec.json.encode(result)) + b"\n")
