"""Every format, to SimpleITK and from it: each voxel lies where ITK takes it to lie."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its documentation calls it

from diffusionblend.data.volume import Volume
from diffusionblend.geometry import Grid
from diffusionblend.io.volumes import read_volume, write_volume
from support.small_volumes import ORIGIN, PLANES, SPACING, lps, ras, stored_values

FILES = ("v.nii", "v.nii.gz", "v.nrrd", "v.mha")
WRITTEN = ("v.nii", "v.nii.gz", "v.nrrd", "series")
DIRECTIONS = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]


def by_itk(path):
    """An image as SimpleITK reads it."""
    if path.is_dir():
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return sitk.ReadImage(str(path))


def assert_in_place(volume, image, atol=0.0):
    """Each voxel of an image has its value in the volume, at the same place of the patient."""
    voxels = sitk.GetArrayFromImage(image)
    assert voxels.size == volume.hu.size
    indices = np.argwhere(np.ones(voxels.shape, bool))[:, ::-1]
    points = [image.TransformIndexToPhysicalPoint(index.tolist()) for index in indices]
    to_voxel = np.linalg.inv(ras(np.array(volume.grid.affine)))
    at = np.column_stack([points, np.ones(len(points))]) @ to_voxel.T
    near = np.rint(at[:, :3]).astype(int)
    np.testing.assert_allclose(at[:, :3], near, atol=1e-3)
    x, y, z = near.T
    np.testing.assert_allclose(volume.hu[z, y, x], voxels.ravel(), rtol=0, atol=atol)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("plane", PLANES)
def test_what_itk_writes_lies_where_itk_says(place, plane, name):
    affine = lps(PLANES[plane])
    image = sitk.GetImageFromArray(np.ascontiguousarray(2 * stored_values().T - 1024))
    image.SetSpacing(SPACING)
    image.SetDirection((affine[:3, :3] / SPACING).ravel().tolist())
    image.SetOrigin(ORIGIN)
    sitk.WriteImage(image, str(place / name))
    assert_in_place(read_volume(place / name), image)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_what_is_written_lies_where_itk_reads_it(place, directions, name):
    hu = np.random.default_rng(1).uniform(-1000, 2000, (5, 7, 8)).astype(np.float32)
    affine = np.diag([*np.array(directions) * SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    volume = Volume(hu, Grid.from_affine(hu.shape, affine))
    write_volume(volume, place / name)
    assert_in_place(volume, by_itk(place / name), atol=0.5 if name == "series" else 0.0)
