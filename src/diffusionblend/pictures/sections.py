"""Planes of a volume as pictures, true to size: their pixels are square in millimetres."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffusionblend.geometry.planes import PLANES

LIMIT_PX = (512, 256)  # height, width


def section(
    hu: np.ndarray, spacing_mm: Sequence[float], plane: str, index: int | None = None
) -> np.ndarray:
    """Return a slice of `plane`, resampled to pixels that are square in mm; `SIDES` faces it.

    Args:
        hu: Volume (slices, rows, columns) in HU.
        spacing_mm: Size of a voxel (z, y, x).
        plane: One of `PLANES`.
        index: Which; None is the middle one.

    Returns:
        Values (height, width), float32, in HU, at most `LIMIT_PX`.
    """
    axis = PLANES.index(plane)
    index = hu.shape[axis] // 2 if index is None else index
    values = np.take(hu, index, axis=axis).astype(np.float32)
    if plane != "axial":
        values = np.ascontiguousarray(values[::-1])  # the head is up
    size_mm = np.array(values.shape) * np.delete(spacing_mm, axis)
    height, width = np.maximum(1, np.rint(size_mm * np.min(LIMIT_PX / size_mm))).astype(int)
    # A box keeps voxels visible: smoothing along z would hide slices that do not fit together.
    image = Image.fromarray(values).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image)
