"""MetaImage, written by hand."""

import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its documentation calls it

from support.small_volumes import (
    lps,
)


def write_mha(path, voxels, affine=None, packed=False):
    """Write voxels (column, row, slice) by SimpleITK."""
    affine = lps() if affine is None else affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path
