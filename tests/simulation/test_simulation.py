"""Simulated scans of every beam: both protocols, on the volume's grid and on finer ones."""

import dataclasses
import re
import warnings
from functools import partial

import nibabel
import numpy as np
import pytest
import torch

from diffusionblend.data.units import MU_WATER
from diffusionblend.data.volume import Volume
from diffusionblend.errors import DiffusionBlendWarning, UnsupportedInput
from diffusionblend.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.methods import FBP, Problem
from diffusionblend.projectors import projector
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.simulation.simulate import simulate, truth_on_grid
from support.phantoms import Ellipsoid, placed, relative

FINE = Grid.from_spacing((10, 96, 96), (2.0, 0.7, 0.7))
BODY = Ellipsoid((3.0, -4.0, 0.5), (24.0, 17.0, 7.5), turn=0.3)
PLACE = {"sod_mm": 200.0, "sdd_mm": 320.0}
BEAMS = {
    "parallel": (parallel_beam, ParallelBeam),
    "fan": (partial(fan_beam, **PLACE), FanBeam),
    "curved fan": (partial(fan_beam, detector="curved", **PLACE), FanBeam),
    "cone": (partial(cone_beam, **PLACE), ConeBeam),
}


@pytest.fixture(scope="module")
def water():
    """An ellipsoid of water in air."""
    return Volume(1000 * BODY.image(FINE, oversampling=3) - 1000, FINE)


@pytest.mark.parametrize("protocol", ["independent", "paper"])
@pytest.mark.parametrize("beam", ["fan", "curved fan", "cone"])
def test_scans_of_water_hold_its_chords(water, beam, protocol):
    make, kind = BEAMS[beam]
    scan = simulate(water, sparse_view(5, 360), size=48, beam=make, protocol=protocol)
    assert isinstance(scan.geometry.beam, kind)
    assert scan.geometry.grid.pixel_mm == pytest.approx(1.4)
    assert scan.y.dtype == np.float32
    if beam == "cone":
        assert relative(scan.y / MU_WATER, BODY.mean_chords(scan.geometry)) < 0.05
    else:  # each slice alone: those of the ellipses that it cuts out
        middle = scan.y[len(scan.y) // 2] / MU_WATER
        z = 1.0 - BODY.centre[2]
        cut = np.sqrt(1 - (z / BODY.axes[2]) ** 2)
        ellipse = Ellipsoid(BODY.centre, (24 * cut, 17 * cut, np.inf), BODY.turn)
        assert relative(middle, ellipse.mean_chords(scan.geometry)[0]) < 0.04


@pytest.mark.parametrize("beam", BEAMS)
def test_the_protocols_differ_but_not_by_much(water, beam):
    one, other = (
        simulate(water, (10.0, 200.0), size=48, beam=BEAMS[beam][0], protocol=p).y
        for p in ("independent", "paper")
    )
    assert 1e-3 < relative(one, other) < 0.06


@pytest.mark.parametrize("beam", BEAMS)
def test_scans_are_reconstructed_with_their_geometry_from_a_file(water, beam, tmp_path):
    path = tmp_path / "scan.h5"
    scan = simulate(water, sparse_view(40, 360), size=48, beam=BEAMS[beam][0], photons=1e6)
    write_scan(scan, path)
    read = read_scan(path)
    assert read.geometry == scan.geometry
    A, y = projector(*read.geometry), read.y / read.scale
    found = FBP()(Problem(torch.from_numpy(y), A)).numpy()
    truth = truth_on_grid(water, 48).hu / 1000
    assert np.sqrt(((found - truth)[2:-2] ** 2).mean()) < 0.15
    inside = BODY.image(read.geometry.grid) > 0.999
    assert found[inside].mean() == pytest.approx(0, abs=0.03)


def test_the_parallel_beam_is_the_default(water):
    angles = (0.0, 33.0)
    default = simulate(water, angles, size=48)
    np.testing.assert_array_equal(simulate(water, angles, size=48, beam=parallel_beam).y, default.y)
    assert default.geometry == placed(parallel_beam, FINE.binned(2), angles)


@pytest.mark.parametrize("make", [fan_beam, cone_beam])
def test_a_source_inside_the_slices_is_refused_in_one_line(water, make):
    with pytest.raises(UnsupportedInput) as refused:
        simulate(water, (0.0,), size=48, beam=partial(make, sod_mm=30.0, sdd_mm=60.0))
    assert str(refused.value) == (
        "cannot be scanned: sod_mm is 30 and sdd_mm 60; expected 47.5176 (the corners of the "
        "slices) < sod_mm <= sdd_mm; change the beam"
    )


def grey(kind):
    """Return a disc as volumes hold it that are not in HU."""
    y, x = np.mgrid[:48, :48] - 23.5
    disc = np.repeat((np.hypot(x, y) < 17)[None] * 1.0, 4, axis=0)
    noise = np.random.default_rng(0).standard_normal(disc.shape)
    return {
        "attenuation": 0.02 * disc,
        "attenuation, with noise": 0.02 * disc + 0.001 * noise,
        "attenuation in 1/cm": 0.2 * disc,
        "0 to 1": disc - 0.3 * (np.hypot(x, y) < 8),  # two values alone are those of a mask
        "8 bits": 180 * disc + 20,
        "16 bits": 42000 * disc + 3000 + 500 * noise,
        "signed 16 bits": 40000 * disc - 26000 + 900 * noise,
        "HU without the intercept": 1040 * disc,
        "integers of a DICOM file": 1040 * disc + 8,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        ("attenuation", "1000 (mu / mu_water - 1)"),
        ("attenuation, with noise", "1000 (mu / mu_water - 1)"),
        ("attenuation in 1/cm", "attenuation"),
        ("0 to 1", "attenuation"),
        ("8 bits", "grey values"),
        ("16 bits", "grey values"),
        ("signed 16 bits", "grey values"),
        ("HU without the intercept", "intercept"),
        ("integers of a DICOM file", "intercept"),
    ],
)
def test_a_volume_that_is_not_in_hu_is_refused_however_it_is_given(tmp_path, kind, cure):
    values = grey(kind).astype(np.float32)
    grid = Grid.from_spacing(values.shape)
    nibabel.save(nibabel.Nifti1Image(values.T, np.diag([1.0, 1, 1, 1])), tmp_path / "v.nii.gz")
    for given in (Volume(values, grid), tmp_path / "v.nii.gz", values):
        size = {"spacing_mm": (1, 1, 1)} if given is values else {}
        with pytest.raises(UnsupportedInput, match="are not Hounsfield units") as refused:
            simulate(given, sparse_view(2), size=48, **size)
        assert cure in str(refused.value)


@pytest.mark.parametrize(("noise", "padding"), [(0, -1000), (200, -1000), (50, -3024), (0, -32768)])
def test_noise_and_padding_below_air_are_no_reason_to_refuse_a_volume(noise, padding):
    """Padding is air, and of noise a ray of 48 pixels sums some."""
    clean = 1000 * grey("0 to 1") - 1000
    hu = clean + noise * np.random.default_rng(0).standard_normal(clean.shape)
    hu[:, 0], hu[:, :, 0] = padding, padding
    grid = Grid.from_spacing(hu.shape)
    found, right = (
        simulate(Volume(values.astype(np.float32), grid), sparse_view(2), size=48)
        for values in (hu, clean)
    )
    most = 5 * noise / 1000 * np.sqrt(48) * found.scale
    np.testing.assert_allclose(found.y, right.y, atol=max(most, 1e-6))


@pytest.mark.parametrize(
    ("shape", "size", "sizes"),
    [
        ((40, 48), 16, [48, 24, 12, 6]),
        ((48, 48), 20, [48, 24, 16, 12, 8]),
        ((80, 95), 48, [95, 19]),
        ((31, 30), 16, [31]),
    ],
)
def test_sizes_that_a_refusal_names_are_taken(shape, size, sizes):
    hu = np.full((1, *shape), -1000, np.float32)
    hu[:, 5:20, 5:20] = 40
    volume = Volume(hu, Grid.from_spacing(hu.shape))
    with pytest.raises(UnsupportedInput) as caught:
        truth_on_grid(volume, size)
    words = str(caught.value).partition("`size=")[2]
    assert [int(word) for word in re.findall(r"\d+", words)] == sizes
    for named in sizes:
        assert max(truth_on_grid(volume, named).hu.shape[1:]) == named


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        (1, ""),
        (0.1, ""),
        (0.001, "0.02 x 0.0672 x 0.0672 mm and absorbs at most 0.071 % of"),
        (60, "and absorbs all of the photons"),
    ],
)
def test_lengths_in_metres_called_mm_are_told(water, caplog, unit, told):
    """Hardly a photon is lost in a body of a twentieth of a millimetre, and none gets through."""
    scaled = Volume(water.hu, Grid.from_spacing(FINE.shape, (2.0 * unit, 0.7 * unit, 0.7 * unit)))
    scan = simulate(scaled, (0.0, 50.0), size=48)
    plain = simulate(water, (0.0, 50.0), size=48)
    assert scan.y.max() == pytest.approx(unit * plain.y.max(), rel=0.01)
    assert len(caplog.messages) == bool(told)
    assert told in "".join(caplog.messages)


def test_air_alone_is_no_matter_of_units(caplog):
    simulate(Volume(np.full((2, 8, 8), -1000, np.float32), Grid.from_spacing((2, 8, 8))), (0.0,))
    assert not caplog.messages


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5, 8])
def test_a_cone_of_few_slices_looks_through_the_middle_of_each(slices):
    """Rows between slices see sums of neighbours: one slice of 40 HU came out at -330, three at
    -150, 230 and -150, without a warning."""
    grid = Grid.from_spacing((slices, 40, 40), (3.0, 3.0, 3.0))
    y, x = np.mgrid[:40, :40] - 19.5
    hu = np.where(np.hypot(y / 16, x / 14) < 1, 40.0, -1000.0)
    volume = Volume(np.tile(hu, (slices, 1, 1)).astype(np.float32), grid)
    beam = partial(cone_beam, sod_mm=595, sdd_mm=1085.6)
    scan = simulate(volume, sparse_view(60, 360), size=40, beam=beam)
    assert (scan.geometry.beam.rows - slices) % 2 == 0
    found = np.median(reconstruct(scan, "tv", classical=False).hu[:, 10:30, 12:22], axis=(1, 2))
    assert np.abs(found - 40).max() < 25


def test_line_integrals_of_the_wrong_sign_are_told(water):
    scan = simulate(water, sparse_view(12), size=96, photons=2e4)
    with pytest.warns(DiffusionBlendWarning, match="below zero, down to .*is their sign wrong"):
        reconstruct(dataclasses.replace(scan, y=-scan.y), "fbp", classical=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DiffusionBlendWarning)
        reconstruct(scan, "fbp", classical=False)
        air = dataclasses.replace(scan, y=scan.y * 0 + np.float32(0.01) - 0.02 * (scan.y > 1))
        reconstruct(air, "fbp", classical=False)
