"""Where the voxels of NIfTI lie: `pixdim`, the qform and the sform, which say it up to three times.

The sform counts where it is set, then the qform (nifti1.h, methods 3 and 2); but where they
disagree it is unknown which of them is wrong, and the file is refused.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.io.formats.headers import tell_no_directions

if TYPE_CHECKING:
    import nibabel

NEAR = 0.5
"""Voxels by which sform and qform may put a corner of the volume in different places."""
UNSET = (1.0, 1.0, 1.0)
"""Sizes in `pixdim` where a program that writes an sform alone left them."""
ROUNDED = 1e-3
"""By how much the square of a quaternion may be above 1; it is scaled to 1, and turns the same."""
NO_TURN = 1.5e-3
"""Up to where the fourth number of a quaternion may be rounding: its square is 2e-6 off."""


def with_rounding(kind: type["nibabel.Nifti1Image"]) -> type["nibabel.Nifti1Image"]:
    """Return a class of images that reads rounded quaternions, as other readers do.

    nibabel has room for a rounding of its own, and none for those of other writers.
    """
    header = type("Header", (kind.header_class,), {"get_qform_quaternion": _quaternion})
    return type(kind.__name__, (kind,), {"header_class": header})


def _quaternion(header: "nibabel.Nifti1Header") -> np.ndarray:
    """Return the quaternion of the qform, of length 1; what is rounding is 0, as in nibabel."""
    rest = _stored(header)
    first = 1 - float(rest @ rest)
    if first <= abs(header.quaternion_threshold):
        return np.array([0, *rest / np.linalg.norm(rest)])
    return np.array([math.sqrt(first), *rest])


def check_forms(path: Path, header: "nibabel.Nifti1Header") -> None:
    """Refuse forms that are none: an sform of zeros, a quaternion that turns nothing.

    And sizes below 0 where they count: not all readers mirror them.
    """
    sizes = header["pixdim"][1:4]
    if header["sform_code"] and not header.get_sform()[:3].any():
        raise CorruptInput(
            f"{path}: its sform is all zeros, but its sform_code is {header['sform_code']}; set "
            "that to 0 to use the qform, or fill in the sform"
        )
    if sizes.min() < 0 and not header["sform_code"]:
        raise CorruptInput(
            f"{path}: its pixdim are {_mm(sizes)} mm; expected positive numbers; make them "
            "positive, and put the directions of the axes into the qform"
        )
    length = float(np.linalg.norm(_stored(header)))
    if header["qform_code"] and not length**2 <= 1 + ROUNDED:  # NaN is not
        raise CorruptInput(
            f"{path}: the quaternion of its qform has the length {length:.4g}; expected at most "
            "1; write it again, or set qform_code to 0 if its sform is correct"
        )


def check_places(path: Path, header: "nibabel.Nifti1Header", shape: tuple[int, ...]) -> None:
    """Refuse a header whose sform contradicts its qform, or its `pixdim`."""
    qform_code = int(header["qform_code"])
    if not header["sform_code"]:
        if not qform_code:
            tell_no_directions(path)
        return
    sform = header.get_sform()
    sizes, stated = np.linalg.norm(sform[:3, :3], axis=0), header["pixdim"][1:4].astype(float)
    if not np.allclose(sizes, stated, rtol=0.01) and (qform_code or tuple(stated) != UNSET):
        raise CorruptInput(
            f"{path}: its sform has voxels of {_mm(sizes)} mm, its pixdim of {_mm(stated)} mm; "
            "keep the correct one, and write the file again"
        )
    if qform_code:
        _check_same_place(path, sform, _qform(header, sform), shape)


def _qform(header: "nibabel.Nifti1Header", sform: np.ndarray) -> np.ndarray:
    """Return the qform, with the directions of the sform if these are the same but for rounding.

    Three numbers of its quaternion are stored. Near half a turn, as in most CT, the fourth is the
    root of what their rounding leaves, and that alone may turn a volume by more than a voxel.
    """
    qform = header.get_qform()
    sizes, theirs = (np.linalg.norm(form[:3, :3], axis=0) for form in (qform, sform))
    turned = np.abs(qform[:3, :3] / sizes - sform[:3, :3] / theirs).max()
    if _quaternion(header)[0] <= NO_TURN and turned <= 2 * NO_TURN:
        qform[:3, :3] = sform[:3, :3] * (sizes / theirs)
    return qform


def _stored(header: "nibabel.Nifti1Header") -> np.ndarray:
    """Return the three numbers of the quaternion that are stored."""
    return np.array([header[f"quatern_{name}"] for name in "bcd"], dtype=float)


def _check_same_place(
    path: Path, sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...]
) -> None:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1])).reshape(4, -1)
    apart = np.linalg.norm((np.linalg.solve(sform, qform @ corners) - corners)[:3], axis=0).max()
    if apart > NEAR:
        raise CorruptInput(
            f"{path}: its sform is {_rows(sform)}, its qform {_rows(qform)}, which puts voxels "
            f"up to {apart:.3g} voxels apart; set the code of the wrong one to 0"
        )


def _rows(affine: np.ndarray) -> str:
    return "(" + "; ".join(_mm(row) for row in affine[:3]) + ")"


def _mm(numbers: np.ndarray) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)
