"""What calls take for scans and volumes: the thing, its file, an array, a tensor."""

import dataclasses
import os
import warnings

import msgspec
import numpy as np
import pytest
import torch

import diffusionblend as db
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.io.files import sha256
from diffusionblend.io.inputs import as_pair, as_scan, as_volume
from diffusionblend.methods.registry import name_of

SPACING = (2.5, 5.625, 5.625)


@pytest.fixture(scope="module")
def scan(data):
    return db.read_scan(data.scan)


@pytest.fixture(scope="module")
def volume(data):
    return db.read_volume(data.volume)


def same(a, b):
    return np.array_equal(a.hu, b.hu) and a.volume.grid == b.volume.grid


def test_a_scan_and_its_file_reconstruct_to_the_same_bytes(data, scan):
    expected = db.reconstruct(scan, "fbp")
    for given in (data.scan, str(data.scan), PathOnly(data.scan)):
        assert same(db.reconstruct(given, "fbp"), expected)


class PathOnly(os.PathLike):
    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return str(self._path)


@pytest.mark.parametrize(
    "make",
    [
        lambda y: y,
        lambda y: y.astype(np.float64),
        lambda y: y[::-1, ::-1][::-1, ::-1],
        torch.from_numpy,
        lambda y: torch.from_numpy(y).double().requires_grad_(),
    ],
    ids=["numpy", "float64", "strided", "torch", "gradient"],
)
def test_line_integrals_of_any_kind_reconstruct_as_their_scan(scan, make):
    given, before = make(scan.y.copy()), scan.y.copy()
    made = db.reconstruct(given, "fbp", geometry=scan.geometry, mu_water=scan.mu_water)
    assert same(made, db.reconstruct(scan, "fbp"))
    assert np.array_equal(np.asarray(torch.as_tensor(given).detach()), before)


def test_half_floats_are_taken_for_what_they_are(scan):
    y = torch.from_numpy(scan.y).bfloat16()
    assert np.array_equal(as_scan(y, scan.geometry).y, y.float().numpy())


def test_nobody_knows_water_in_an_array_so_it_is_estimated_with_a_warning(scan):
    with pytest.warns(db.DiffusionBlendWarning, match="was estimated") as warned:
        made = db.reconstruct(scan.y, "fbp", geometry=scan.geometry)
    (warning,) = warned
    assert warning.filename == __file__  # the line of the caller
    assert str(warning.message) == made.quality.calibration.words
    with warnings.catch_warnings(action="error"):
        db.reconstruct(scan, "fbp")
        db.reconstruct(scan.y, "fbp", geometry=scan.geometry, mu_water=0.02)


def test_line_integrals_without_a_geometry_are_refused_with_the_cure(scan):
    with pytest.raises(UsageError, match=r"\(12, 8, 91\).*give geometry=.*parallel_beam"):
        db.reconstruct(scan.y, "fbp")
    with pytest.raises(UsageError, match="a scan has its own"):
        db.reconstruct(scan, "fbp", geometry=scan.geometry)


def test_a_wrong_shape_is_said_with_the_right_one(scan):
    with pytest.raises(UnsupportedInput, match=r"\(8, 12, 91\).*needs \(12, 8, 91\)"):
        db.reconstruct(scan.y.swapaxes(0, 1), "fbp", geometry=scan.geometry)


def test_line_integrals_that_are_not_finite_are_refused(scan):
    y = scan.y.copy()
    y[3, 2, 1] = np.nan
    with pytest.raises(CorruptInput, match="NaN"):
        db.reconstruct(y, "fbp", geometry=scan.geometry)


def test_a_volume_its_file_and_its_array_are_evaluated_alike(data, volume):
    other = db.reconstruct(data.scan, "fbp")
    expected = db.evaluate(other, volume)
    assert db.evaluate(other.volume, volume) == expected
    assert db.evaluate(other, str(data.volume)) == expected
    assert db.evaluate(other.hu, data.volume) == expected
    assert db.evaluate(torch.from_numpy(other.hu), volume) == expected
    assert db.evaluate(other, volume.hu) == expected
    assert db.evaluate(other.hu, volume.hu) == expected
    assert db.evaluate(np.asarray(other), torch.from_numpy(volume.hu)) == expected


def test_arrays_are_never_cropped_to_fit(volume):
    with pytest.raises(UnsupportedInput, match=r"\(12, 64, 64\), expected \(6, 64, 64\)"):
        db.evaluate(volume.hu[:6], volume.hu)
    with pytest.raises(UnsupportedInput, match=r"\(6, 64, 64\), expected \(12, 64, 64\)"):
        db.evaluate(volume, volume.hu[:6])
    with pytest.raises(UnsupportedInput, match=r"\(64, 64\), expected \(slices, rows, columns\)"):
        db.evaluate(volume.hu[0], volume.hu[0])
    with pytest.raises(CorruptInput, match="NaN"):
        db.evaluate(np.full((3, 8, 8), np.nan), np.zeros((3, 8, 8)))


def test_an_array_is_scanned_as_its_volume(data, volume):
    angles = np.linspace(0, 180, 8, endpoint=False)
    expected = db.simulate(volume, tuple(angles.tolist()), photons=1e4)
    assert np.array_equal(db.simulate(data.volume, angles, photons=1e4).y, expected.y)
    for array in (volume.hu, torch.from_numpy(volume.hu)):
        spacing = volume.grid.spacing_mm
        scan = db.simulate(array, angles, spacing_mm=spacing, photons=1e4)
        # Voxels are as large; only where the volume lies in space is not known of an array.
        assert np.allclose(scan.y, expected.y, atol=1e-5)
        assert scan.geometry.grid.spacing_mm == pytest.approx(spacing)
    made = db.reconstruct(scan, "fbp")
    assert made.volume.grid == scan.geometry.grid


def test_voxels_are_never_guessed(volume):
    with pytest.raises(UsageError, match=r"\(12, 64, 64\).*give spacing_mm=\(z, y, x\)"):
        db.simulate(volume.hu, (0.0, 90.0))
    with pytest.raises(UsageError, match="a volume has its own"):
        db.simulate(volume, (0.0, 90.0), spacing_mm=SPACING)
    for wrong in ((1, 1), (1, 0, 1), (1, float("nan"), 1)):
        with pytest.raises(UsageError, match="three positive numbers"):
            as_volume(volume.hu, wrong)


def test_values_that_are_no_hu_are_refused(volume):
    with pytest.raises(UnsupportedInput, match="are not Hounsfield units"):
        as_volume(volume.hu / 1000, SPACING)


@pytest.mark.parametrize("take", [as_scan, as_volume, lambda v: as_pair(v, v)])
@pytest.mark.parametrize("given", [None, 3, [[1.0]], {}])
def test_anything_else_is_refused_by_its_name(take, given):
    with pytest.raises(UsageError, match=rf"got a {type(given).__name__}; expected"):
        take(given)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(CorruptInput, match=r"nowhere\.h5: no such file"):
        db.reconstruct("nowhere.h5")
    with pytest.raises(CorruptInput, match=r"nowhere\.nii\.gz"):
        db.evaluate("nowhere.nii.gz", "nowhere.nii.gz")


def test_arrays_come_out(volume, tmp_path):
    assert np.shares_memory(np.asarray(volume), volume.hu)
    assert np.asarray(volume, dtype=np.float64).dtype == np.float64
    assert torch.from_numpy(volume.hu).data_ptr() == volume.hu.ctypes.data
    assert float(np.mean(volume)) == pytest.approx(float(volume.hu.mean()), rel=1e-4)
    made = db.Volume(torch.zeros(2, 4, 4), db.Grid.from_spacing((2, 4, 4)))
    assert made.hu.dtype == np.float32
    db.write_volume(volume, str(tmp_path / "a.nii.gz"))
    assert np.array_equal(db.read_volume(str(tmp_path / "a.nii.gz")).hu, volume.hu)


def test_scans_and_priors_are_named_as_text_or_path(data, scan, tmp_path):
    db.write_scan(scan, str(tmp_path / "a.h5"))
    assert np.array_equal(db.read_scan(str(tmp_path / "a.h5")).y, scan.y)
    made = [db.reconstruct(scan, prior=prior, steps=2) for prior in (data.prior, str(data.prior))]
    assert same(*made)


def test_a_reconstruction_is_taken_for_its_volume(data, scan, tmp_path):
    made, steps = db.reconstruct(scan, "fbp"), []
    assert made.hu is made.volume.hu
    assert np.shares_memory(np.asarray(made), made.hu)
    assert np.asarray(made, dtype=np.float64).dtype == np.float64
    for volume in (made, made.volume):
        db.write_volume(volume, tmp_path / f"{type(volume).__name__}.nii.gz")
    one, other = (tmp_path / f"{name}.nii.gz" for name in ("Reconstruction", "Volume"))
    assert one.read_bytes() == other.read_bytes()
    angles = db.sparse_view(2)
    assert np.array_equal(db.simulate(made, angles).y, db.simulate(made.volume, angles).y)
    db.reconstruct(scan, "sirt", iterations=1, callback=steps.append)
    assert db.evaluate(steps[0], data.volume) == db.evaluate(steps[0].volume, data.volume)


def test_what_made_a_volume_is_known_whichever_way_it_was_asked_for(data, scan):
    file = {"name": "chest.h5", "sha256": sha256(data.scan), **scan.provenance}
    prior = db.from_pretrained(data.prior)
    named = {"name": "prior", "weights_sha256": prior.config.weights_sha256}
    asked = {"steps": 1, "seed": 5, "samples": 2, "classical": False}
    for given, known in ((data.scan, str(data.prior)), (scan, prior)):
        made = db.reconstruct(given, prior=known, **asked)
        assert made.method == db.make_method("diffusionblend-fast", steps=1)
        assert name_of(made.method) == "diffusionblend-fast"
        assert (made.prior, made.seeds, made.scan) == (named, (5, 6), file)
    made = db.reconstruct(scan.y, "fbp", geometry=scan.geometry, mu_water=scan.mu_water)
    assert made.prior is None
    assert made.scan == {"sha256": db.Scan(scan.y, scan.geometry, mu_water=None).digest}


def test_the_digest_of_a_scan_that_was_changed_is_no_longer_that_of_its_file(scan):
    y = scan.y.copy()
    y[0, 0, 0] += 1
    changed = dataclasses.replace(scan, y=y)
    assert "name" not in changed.facts
    assert changed.facts["sha256"] == changed.digest != scan.digest
    assert dataclasses.replace(changed, y=scan.y).facts == scan.facts
    assert dataclasses.replace(scan, mu_water=0.02).digest != scan.digest
    angles = tuple(map(np.float64, scan.geometry.beam.angles_deg))
    beam = msgspec.structs.replace(scan.geometry.beam, angles_deg=angles)
    same = dataclasses.replace(scan, geometry=db.Geometry(scan.geometry.grid, beam))
    assert same.digest == scan.digest


def test_options_of_a_method_that_has_its_own_are_not_left_out_silently(scan):
    with pytest.raises(UsageError, match=r"steps: .*give the method by its name"):
        db.reconstruct(scan, db.make_method("fbp"), steps=3)
