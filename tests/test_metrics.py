"""PSNR and SSIM against scikit-image, and the grids that volumes share."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.metrics import common_grid, evaluate

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}


def random_volume(shape=(9, 10, 11), seed=0, grid=None):
    hu = np.random.default_rng(seed).normal(0, 700, shape).astype(np.float32)
    return Volume(hu, grid or Grid.from_spacing(shape, (2.5, 1.5, 1.5)))


@pytest.mark.parametrize("plane", PLANES)
def test_figures_are_those_of_scikit_image(plane):
    a, b = random_volume(), random_volume(seed=1)
    found = evaluate(a, b)[plane]
    pairs = [
        [np.take(v.hu.clip(-1000, 1000).astype(float), i, PLANES[plane]) for v in (a, b)]
        for i in range(a.hu.shape[PLANES[plane]])
    ]
    psnr = [peak_signal_noise_ratio(t, r, data_range=2000) for r, t in pairs]
    ssim = [structural_similarity(t, r, data_range=2000) for r, t in pairs]
    assert found["psnr"] == pytest.approx(np.mean(psnr))
    assert found["psnr_std"] == pytest.approx(np.std(psnr))
    assert found["ssim"] == pytest.approx(np.mean(ssim))
    assert found["ssim_std"] == pytest.approx(np.std(ssim))


def test_values_beyond_the_range_do_not_count():
    a = random_volume()
    brighter = Volume(np.where(a.hu > 1000, 3000, a.hu).astype(np.float32), a.grid)
    assert evaluate(brighter, a)["axial"]["psnr"] == np.inf
    assert evaluate(a, a)["coronal"]["ssim"] == pytest.approx(1)
    assert evaluate(a, a)["axial"]["psnr_std"] == 0


def test_a_known_error_has_its_known_psnr():
    truth = Volume(np.zeros((8, 8, 8), np.float32), Grid.from_spacing((8, 8, 8)))
    off = Volume(truth.hu + 20, truth.grid)  # 20 HU of 2000: 40 dB
    assert [f["psnr"] for f in evaluate(off, truth).values()] == pytest.approx([40, 40, 40, 40])


def test_the_figure_of_the_whole_volume_is_of_all_voxels_together():
    a, b = random_volume(), random_volume(seed=1)
    clipped = (v.hu.clip(-1000, 1000).astype(float) for v in (b, a))
    whole = peak_signal_noise_ratio(*clipped, data_range=2000)
    assert evaluate(a, b)["volume"] == {"psnr": pytest.approx(whole)}
    assert "volume" not in evaluate(a, b, metrics=["ssim"])


def test_empty_slices_raise_the_mean_over_slices_and_not_the_figure_of_the_volume():
    truth = Volume(np.zeros((8, 8, 8), np.float32), Grid.from_spacing((8, 8, 8)))
    off = Volume(truth.hu.copy(), truth.grid)
    off.hu[:4] = 20  # 40 dB in these, and 80 dB in the others
    off.hu[4:] = 0.2
    found = evaluate(off, truth)
    assert found["axial"]["psnr"] == pytest.approx(60)
    assert found["volume"]["psnr"] == pytest.approx(43.01, abs=0.01)


def test_volumes_are_cropped_to_what_both_have():
    whole = random_volume((12, 16, 16))
    part = Volume(whole.hu[3:9, 2:], whole.grid.part((3, 2, 0), (6, 14, 16)))
    a, b = common_grid(part, whole)
    assert np.array_equal(a.hu, b.hu)
    assert a.grid == b.grid
    assert a.hu.shape == (6, 14, 16)
    c, d = common_grid(whole, part)
    assert np.array_equal(c.hu, d.hu)


@pytest.mark.parametrize("axes", [[], [0], [1], [2], [0, 2], [0, 1, 2]])
def test_a_truth_stored_from_the_other_end_is_turned(axes):
    volume = random_volume((4, 5, 6))
    turned = Volume(np.flip(volume.hu, axes), volume.grid.reversed(axes))
    # Each voxel is where it was.
    first = np.array([0 if axis not in axes else n - 1 for axis, n in enumerate((4, 5, 6))])
    place = np.array(turned.grid.affine) @ [*first[::-1], 1]
    np.testing.assert_allclose(place, np.array(volume.grid.affine)[:, 3], atol=1e-9)
    a, b = common_grid(volume, turned)
    assert np.array_equal(a.hu, b.hu)
    assert b.grid.close_to(volume.grid)
    assert turned.oriented_like(volume.grid).grid.close_to(volume.grid)
    part = turned.slices(1, 3)
    a, b = common_grid(volume, part)
    assert np.array_equal(a.hu, b.hu)
    assert len(a.hu) == 2


def test_a_finer_truth_is_averaged():
    fine = random_volume((4, 16, 16))
    fine.hu[:, 8:10, 8:10] = -2048  # padding beyond the field of view counts as air
    part = Volume(fine.hu.clip(-1000), fine.grid).binned(2).slices(1, 3)
    a, b = common_grid(part, fine)
    np.testing.assert_allclose(a.hu, b.hu, atol=1e-3)
    assert (b.hu[:, 4, 4] == -1000).all()
    assert a.grid == b.grid


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.5, 1.5, 2.6, 1]),
        np.array([[1.5, 0, 0, 0.75], [0, 1.5, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]]),
        np.array([[1.5, 0, 0, 1500], [0, 1.5, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]]),
    ],
    ids=["other spacing", "half a voxel", "no overlap"],
)
def test_volumes_without_a_common_grid_are_refused(affine):
    other = random_volume(grid=Grid.from_affine((9, 10, 11), affine))
    with pytest.raises(UnsupportedInput):
        evaluate(random_volume(), other)
