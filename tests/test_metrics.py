"""PSNR and SSIM against scikit-image, and the grids that volumes share."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.metrics import common_grid, evaluate, left_out
from diffusionblend.runs.trace import Trace

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


def test_what_the_truth_does_not_cover_is_told(caplog):
    volume, truth = random_volume(), random_volume(seed=1)
    figures = evaluate(volume.slices(3, 6), truth)
    assert not caplog.records
    np.testing.assert_equal(evaluate(volume, truth.slices(3, 6)), figures)
    assert [record.getMessage() for record in caplog.records] == [
        "3 x 10 x 11 of the volume's 9 x 10 x 11 voxels are compared: the truth covers only these"
    ]


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


def phantom(shape=(9, 40, 40)):
    """A body in exact air, which reaches neither the first rows nor the first columns."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    hu = np.where((x / 0.7) ** 2 + (y / 0.6) ** 2 < 1, 40 + 20 * z, -1000)
    return Volume(hu.astype(np.float32), Grid.from_spacing(shape, (2.5, 1.5, 1.5)))


def with_error(truth, scale=20.0, air=0.0):
    """A reconstruction: errors in the body, and smaller ones in the air, upwards."""
    noise = np.random.default_rng(0).normal(0, 1, truth.hu.shape)
    hu = truth.hu + np.where(truth.hu > -1000, scale * noise, air * np.abs(noise))
    return Volume(hu.astype(np.float32), truth.grid)


@pytest.mark.parametrize("air", [0.0, 0.001, 0.5])
def test_slices_of_exact_air_do_not_count(air):
    """Whether they are met exactly, or nearly, which the mean of a plane would be of."""
    truth = phantom()
    figures = evaluate(with_error(truth, air=air), truth)
    whole = evaluate(with_error(truth), truth)
    for plane, axis in PLANES.items():
        body = int((truth.hu > -1000).any(axis=tuple({0, 1, 2} - {axis})).sum())
        left = figures[plane].get("left_out", 0)
        assert left == truth.hu.shape[axis] - body
        assert np.isfinite(list(figures[plane].values())).all()
        assert figures[plane]["psnr"] == pytest.approx(whole[plane]["psnr"], abs=0.01)
    assert "left_out" not in figures["axial"]
    assert left_out(figures).startswith("Slices left out")
    assert "axial" not in left_out(figures)


def test_narrow_slices_have_no_ssim_and_it_is_said():
    one = Volume(random_volume().hu[:1], Grid.from_spacing((1, *random_volume().hu.shape[1:])))
    figures = evaluate(Volume(one.hu + 20, one.grid), one)
    assert np.isfinite(figures["axial"]["ssim"])
    assert np.isnan([figures[plane]["ssim"] for plane in ("coronal", "sagittal")]).all()
    assert left_out(figures) == "Without SSIM, whose window is 7 voxels wide: coronal, sagittal."
    assert left_out(evaluate(random_volume(), random_volume(), ("psnr",))) == ""


def test_slices_without_any_difference_do_not_count():
    truth = random_volume()
    part = truth.hu.copy()
    part[3:5] += 20
    figures = evaluate(Volume(part, truth.grid), truth)["axial"]
    expected = evaluate(Volume(part, truth.grid).slices(3, 5), truth.slices(3, 5))["axial"]
    assert figures == {**expected, "left_out": 7}


def test_slices_of_metal_alone_do_not_count():
    truth = phantom()
    truth.hu[2] = 3000
    figures = evaluate(with_error(truth), truth)["axial"]
    assert figures["left_out"] == 1
    assert np.isfinite(figures["psnr"])


def test_a_truth_of_one_value_is_compared_where_there_is_a_difference():
    truth = Volume(np.full((8, 8, 8), -1000, np.float32), Grid.from_spacing((8, 8, 8)))
    streaks = truth.hu.copy()
    streaks[2] += 20
    figures = evaluate(Volume(streaks, truth.grid), truth)
    assert figures["axial"]["psnr"] == pytest.approx(40)
    assert figures["axial"]["left_out"] == 7
    assert left_out(evaluate(truth, truth)) == ""


def test_what_is_drawn_on_the_way_is_finite_too():
    truth = phantom()
    truth.hu[0] = -1000
    trace = Trace(truth)
    trace.look(1, with_error(truth).hu)
    assert trace.points[0][1] == pytest.approx(evaluate(with_error(truth), truth)["axial"]["psnr"])
