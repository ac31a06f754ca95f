"""What every format has in common: headers that are checked, and axes that are put in order."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.io.files import inside, naming

log = logging.getLogger(__name__)

MAX_VOXELS = 2**31
MAX_DEFLATE = 1032
"""Bytes that one byte of a compressed file can become at most: deflate's limit."""
SPACING_MM = (0.001, 100.0)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the coordinates of DICOM and ITK to those of NIfTI; its own inverse."""


def volume_in_order(name: object, voxels: np.ndarray, affine: np.ndarray) -> Volume:
    """Make a volume of voxels as a file holds them: put the axes in the order x, y, z.

    Their directions stay as they are.

    Args:
        name: What to call the input in messages.
        voxels: Values in HU, in the order of the file's axes, the fastest first.
        affine: 4 x 4, from indices of `voxels` to millimetres, RAS+, on straight axes.
    """
    order = np.argsort(np.abs(affine[:3, :3]).argmax(axis=0))
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        hu = np.ascontiguousarray(voxels.transpose(order).T, dtype=np.float32)
    with naming(name):
        return Volume(hu, Grid.from_affine(hu.shape, affine[:, [*order, 3]]))


def check_header(name: object, shape: Sequence[int], affine: np.ndarray) -> None:
    """Refuse a grid before memory is taken for it: its shape, its spacing, its directions.

    Args:
        name: What to call the input in messages.
        shape: Numbers of voxels, in the order of the file's axes.
        affine: 4 x 4, from indices in that order to millimetres, RAS+.
    """
    if len(shape) > 3 and min(shape[:3]) > 1:
        raise UnsupportedInput(
            f"{name}: has the shape {tuple(shape)}, expected the three dimensions of one volume; "
            "extract one volume from it"
        )
    if len(shape) != 3 or min(shape) < 1 or sorted(shape)[1] < 2:
        raise UnsupportedInput(
            f"{name}: has the shape {tuple(shape)}, expected three dimensions, with at least 2 x "
            "2 voxels in a slice; stack the slices into one volume"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise UnsupportedInput(f"{name}: has {math.prod(shape)} voxels; at most {MAX_VOXELS}")
    if not np.isfinite(affine).all():
        raise CorruptInput(f"{name}: its affine holds NaN or infinity; repair the header")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(name, spacing)
    # A tilted grid would need slices that are no planes of the file.
    along = np.abs(affine[:3, :3] / spacing) > 0.02
    if (along.sum(axis=0) != 1).any() or (along.sum(axis=1) != 1).any():
        raise UnsupportedInput(f"{name}: its axes are oblique; resample it to straight axes first")


def tell_no_directions(name: object) -> None:
    """Warn of a header that leaves it to a convention which side of the patient is which."""
    log.warning("%s: does not say which way its axes point; left and right may be swapped", name)


def check_spacing(name: object, spacing: np.ndarray) -> None:
    """Raise CorruptInput if voxels have a size (three numbers, in mm) that no scanner has."""
    size = np.abs(spacing)
    if not (size.min() >= SPACING_MM[0] and size.max() <= SPACING_MM[1]):  # NaN is neither
        raise CorruptInput(
            f"{name}: voxels of {' x '.join(f'{s:g}' for s in size)} mm; expected "
            f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm in each direction; repair the header"
        )


def held_in(path: Path, name: str) -> Path:
    """Return the file that holds the voxels of a header, of a name that the header gives.

    It lies beside the header, or below.
    """
    with naming(path):
        place = inside(path.parent, name)
    if not place.is_file():
        raise CorruptInput(
            f"{path}: its voxels are in {name!r:.80}, which is not there; copy it beside the "
            "header, too"
        )
    return place


def check_kind(name: object, kind: np.dtype) -> None:
    """Raise UnsupportedInput if voxels of a type are not one real number each."""
    if kind.kind not in "iuf":
        what = "colours" if kind.fields else kind
        raise UnsupportedInput(
            f"{name}: its voxels are {what}; expected one number per voxel, in HU; give the "
            "volume that it was made from"
        )


def check_claim(name: object, needed: int, held: int, compressed: bool) -> None:
    """Refuse a header that claims more voxels than the file can hold.

    Asked before memory is taken: a damaged header may claim more than any machine has.

    Args:
        name: What to call the input in messages.
        needed: Bytes of voxels that the header claims.
        held: Bytes of the file.
        compressed: Whether the voxels are.
    """
    held *= MAX_DEFLATE if compressed else 1
    if needed > held:
        raise CorruptInput(
            f"{name}: its header says {needed} bytes of voxels, but the file has at most {held}; "
            "copy it again"
        )
