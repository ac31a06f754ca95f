"""Where projections were measured: units of angles and lengths; whether the rays bear it out."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import fan_beam, sparse_view
from diffusionblend.io.projections.formats.geometry_file import ParallelFacts, in_mm
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume
from support import cases
from support.commands import command
from support.imported import assert_is, stated
from support.measured import GRID, PARALLEL, VIEWS, lines, write_exchange, write_geometry
from support.phantoms import changed, placed

# Angles


@pytest.mark.parametrize(
    "degrees",
    [
        np.linspace(-180, 180, VIEWS, endpoint=False),
        np.arange(VIEWS) * 15.0,
        np.linspace(0, 360, VIEWS),
        np.array(PARALLEL.beam.angles_deg)[::-1],
    ],
)
@pytest.mark.parametrize("units", [None, "deg"])
def test_radians_are_asked_for(tmp_path, degrees, units):
    """Few or many, from 0 or -pi, stated as degrees or not stated."""
    path = write_exchange(tmp_path / "a.h5", theta=np.radians(degrees), units=units)
    np.save(tmp_path / "a.npy", lines())
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": 1, "row_mm": 1.5}
    facts["angles_deg"] = np.radians(degrees).tolist()
    facts["data"] = {"file": "a.npy", "quantity": "line-integrals", "order": ["view", "row", "bin"]}
    (tmp_path / "a.json").write_text(json.dumps(facts))
    for source, wish in ((path, stated()), (tmp_path / "a.json", Options(centre="none"))):
        with pytest.raises(UnsupportedInput, match="give `angles='radians'` or `angles="):
            import_scan(source, wish)
        for unit in ("radians", "degrees"):
            known = Options(**(vars(wish) | {"angles": unit}))
            expected = degrees if unit == "radians" else np.radians(degrees)
            found = import_scan(source, known).geometry.beam.angles_deg
            assert found == pytest.approx(tuple(expected))


@pytest.mark.parametrize("turns", [2, 3])
def test_several_turns_in_radians(tmp_path, turns):
    theta = np.linspace(0, turns * 2 * np.pi, 60 * turns, endpoint=False)
    y = np.repeat(lines()[:1], len(theta), axis=0)
    path = write_exchange(tmp_path / "a.h5", y, theta=theta)
    with pytest.raises(UnsupportedInput, match="but one in radians"):
        import_scan(path, stated())


def test_degrees_that_are_stated_to_be_radians(tmp_path):
    path = write_exchange(tmp_path / "a.h5", units="radians")
    with pytest.raises(
        UnsupportedInput, match="not an arc of a scan in radians, as is stated, but"
    ):
        import_scan(path, stated())
    assert_is(import_scan(path, stated(angles="degrees")))


# Lengths


@pytest.mark.parametrize(("unit", "mm"), [("um", 1e-3), ("m", 1e3), ("cm", 10.0), ("nm", 1e-6)])
def test_lengths_in_another_unit_are_the_same_scan(tmp_path, unit, mm):
    fan = placed(fan_beam, GRID, sparse_view(VIEWS, 360), sod_mm=150.0, sdd_mm=260.0)
    fan = changed(fan, offset_mm=1.3, axis_mm=0.4)
    np.save(tmp_path / "a.npy", lines(fan))
    source = write_geometry(
        tmp_path, fan, file="a.npy", quantity="line-integrals", order=["view", "row", "bin"]
    )
    expected = import_scan(source).geometry
    facts = json.loads(source.read_text())
    scaled = {k: v / mm if k.endswith("_mm") else v for k, v in facts.items()}
    source.write_text(json.dumps(scaled))
    found = import_scan(source, Options(lengths=unit)).geometry
    for name in ("sod_mm", "sdd_mm", "axis_mm", "offset_mm", "bin_mm"):
        assert getattr(found.beam, name) == pytest.approx(getattr(expected.beam, name))
    assert found.grid.spacing_mm == pytest.approx(expected.grid.spacing_mm)
    if unit in ("um", "m"):
        scan = import_scan(source)
        assert f"`lengths='{unit}'`" in scan.provenance["warnings"]


def test_a_grid_and_an_attenuation_in_micrometres():
    affine = np.diag([1000.0, 1000.0, 1500.0, 1.0])
    affine[0, 3] = -1500
    facts = ParallelFacts(
        schema="diffusionblend-geometry/1",
        mu_water_per_mm=2e-5,
        grid=Grid.from_affine((2, 4, 4), affine),
    )
    found = in_mm(facts, "um")
    assert found.mu_water_per_mm == pytest.approx(0.02)
    assert found.grid.spacing_mm == pytest.approx((1.5, 1.0, 1.0))
    assert found.grid.affine[0][3] == pytest.approx(-1.5)


# What opposite rays say of the beam that is stated

WIDTH_WORDS = ("in a fan", "with pixels of")


def said(folder, geometry, *options, **changes):
    """Import line integrals of a right beam with a geometry that was changed; return the facts."""
    y = cases.project(cases.phantom(), geometry)
    stated = changed(geometry, **changes)
    source = cases.write_case(folder, y, stated, quantity="line-integrals")
    ended = command("import", source, "-o", folder / "s.h5", "--json", *options)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


@pytest.mark.parametrize("kind", ["fan", "cone"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: {}, None),
        (lambda g: {"angles_deg": tuple(-a for a in g.beam.angles_deg)}, "try `clockwise=True`"),
        (lambda g: {"offset_mm": g.beam.offset_mm + 4 * g.beam.bin_mm}, "give `centre='auto'`"),
        (lambda g: {"bin_mm": g.beam.bin_mm / 1.5}, "agree better with pixels of 1.5"),
    ],
)
@pytest.mark.parametrize("views", [72, 48])
def test_a_turn_bears_the_beam_out_or_not(tmp_path, kind, change, words, views):
    """Or a short scan, whose views go around by 240 degrees."""
    right = cases.beam(kind, slices=3, angles=tuple(5.0 * v for v in range(views)))
    facts = said(tmp_path, right, **change(right))
    warnings = " ".join(facts.get("warnings", ()))
    assert words in warnings if words else not warnings
    if words and "clockwise" in words:
        turned = said(tmp_path, right, "--clockwise", **change(right))
        assert "warnings" not in turned
        found = read_scan(tmp_path / "s.h5").geometry.beam.angles_deg
        assert found == pytest.approx(right.beam.angles_deg)


@pytest.mark.parametrize("kind", ["fan", "cone"])
def test_the_detector_s_distance_from_the_axis_is_not_that_from_the_source(tmp_path, kind):
    right = cases.beam(kind, 72, slices=3)
    from_axis = {"sod_mm": 130.0, "sdd_mm": right.beam.sdd_mm - 130.0}
    (warning,) = said(tmp_path, right, "--size", "64", **from_axis)["warnings"]
    assert "with the detector 300 mm from the source; sdd_mm is that distance" in warning


@pytest.mark.parametrize("bins", [0.5, -0.5])
@pytest.mark.parametrize("kind", ["fan", "cone", "parallel"])
def test_half_a_bin_beside_the_axis_is_told_and_nothing_else(tmp_path, kind, bins):
    """As where the middle of n bins is taken for n / 2; it was told as pixels of another size."""
    right = cases.beam(kind, slices=3, angles=tuple(5.0 * v for v in range(72)))
    beside = right.beam.offset_mm + bins * right.beam.bin_mm
    (warning,) = said(tmp_path, right, offset_mm=beside)["warnings"]
    assert f"with the axis on bin {right.beam.bins / 2 - 0.5:.2f}" in warning


@pytest.mark.parametrize("times", [0.5, 2.0, 0.1])
def test_a_fan_of_another_width_is_told_with_its_pixels(tmp_path, times):
    """As with the pixels of a detector before they were joined, or lengths in different units."""
    right = cases.beam("fan", 72, slices=3)
    wrong = right.beam.bin_mm * times
    (warning,) = said(tmp_path, right, "--size", "32", bin_mm=wrong)["warnings"]
    wide, mm = (float(re.search(rf"{words} ([0-9.]+)", warning)[1]) for words in WIDTH_WORDS)
    assert wide == pytest.approx(1 / times, rel=0.02)
    assert mm == pytest.approx(right.beam.bin_mm, rel=0.02)


@pytest.mark.parametrize(
    ("mm", "refused", "words"),
    [(1500.0, True, "m wide; .* if that of a pixel alone is, state bin_mm 1.5"),
     (0.0015, False, "bin_mm is the pixel size on the detector, in mm, not at the axis")],
)  # fmt: skip
def test_a_pixel_in_another_unit_than_the_distances_is_thought_of(tmp_path, mm, refused, words):
    right = cases.beam("fan", 72, size=64, slices=1)
    source = cases.write_case(
        tmp_path, cases.project(cases.phantom(), right), right, quantity="line-integrals"
    )
    stated = json.loads(source.read_text())
    source.write_text(json.dumps(stated | {"bin_mm": mm}))
    if refused:
        with pytest.raises(UnsupportedInput, match=f"cannot be placed: .*{words}"):
            import_scan(source, centre="31.5")
    else:
        assert re.search(words, import_scan(source, centre="31.5").provenance["warnings"])


@pytest.mark.parametrize("kind", ["fan", "cone"])
@pytest.mark.parametrize("times", [1.0, 1.1, 0.9, 1.2])
def test_a_distance_that_is_a_tenth_off_is_told(tmp_path, kind, times):
    """Its rays agree well all the same, and water was 90 HU too dense without a word."""
    right = cases.beam(kind, 90, slices=3)
    y = cases.scan_of(right).y.transpose(1, 0, 2)
    wrong = changed(right, sdd_mm=right.beam.sdd_mm * times)
    source = cases.write_case(tmp_path, y, wrong, quantity="line-integrals")
    warnings = import_scan(source).provenance.get("warnings", "")
    if times == 1:
        assert not warnings
        return
    found = re.fullmatch(r".* in a fan (.*) times as wide: .* detector (.*) mm from.*", warnings)
    assert float(found[1]) == pytest.approx(times, rel=0.01)
    assert float(found[2]) == pytest.approx(right.beam.sdd_mm, rel=0.01)


@pytest.mark.parametrize("sense", [1, -1])
def test_a_fan_that_is_called_parallel(tmp_path, sense):
    """Of a beam that nobody states, parallel is taken."""
    angles = tuple(4.0 * v for v in range(90))
    fan = cases.beam("fan", slices=3, angles=angles)
    y = cases.project(cases.phantom(), fan)[:, :, ::sense]
    parallel = cases.beam("parallel", slices=3, angles=angles)
    of_parallel = cases.project(cases.phantom(), parallel)
    for values, opens in ((y, True), (of_parallel, False)):
        source = cases.write_case(tmp_path, values, parallel, quantity="line-integrals")
        told = import_scan(source, centre="auto").provenance.get("warnings", "")
        assert ("as rays of a fan that opens by" in told) is opens, told


@pytest.mark.parametrize("photons", [None, 2e4])
@pytest.mark.parametrize(("kind", "arc"), [("fan", 360), ("parallel", 180), ("parallel", 360)])
def test_a_turn_that_ends_otherwise_than_its_angles_say(tmp_path, kind, arc, photons):
    """With the view that repeats the first taken for another one, or the reverse."""
    with_both_ends = tuple(np.linspace(0, arc, 60).tolist())
    without = tuple((np.arange(60) * arc / 60).tolist())
    warned = {}
    for measured in (with_both_ends, without):
        right = cases.beam(kind, slices=9, angles=measured)
        y = cases.scan_of(right, photons=photons).y.transpose(1, 0, 2)
        for angles in (with_both_ends, without):
            place = tmp_path / f"{measured[1]:.2f} {angles[1]:.2f}"
            source = cases.write_case(
                place, y, changed(right, angles_deg=angles), quantity="line-integrals"
            )
            warned[measured[1], angles[1]] = import_scan(source).provenance.get("warnings", "")
    step, longer = without[1], with_both_ends[1]
    assert not warned[step, step]
    assert not warned[longer, longer]
    assert f"{longer:.6g} degrees apart, not {step:.6g}" in warned[longer, step]
    if arc == 360:
        assert f"{step:.6g} degrees apart, not {longer:.6g}" in warned[step, longer]


def test_a_turn_that_ends_otherwise_may_begin_anywhere(tmp_path):
    """Angles that begin anew at 360 were taken for uneven ones, of which nothing is said."""
    measured = np.mod(200 + np.linspace(0, 360, 60), 360)
    right = cases.beam("fan", slices=9, angles=tuple(measured.tolist()))
    y = cases.scan_of(right).y.transpose(1, 0, 2)
    for step, warned in ((360 / 59, False), (6, True)):
        stated = tuple(np.mod(200 + step * np.arange(60), 360).tolist())
        source = cases.write_case(
            tmp_path / f"{step:.3f}",
            y,
            changed(right, angles_deg=stated),
            quantity="line-integrals",
        )
        said = import_scan(source).provenance.get("warnings", "")
        assert ("6.10169 degrees apart, not 6" in said) is warned


@pytest.mark.parametrize("views", [180, 30])
@pytest.mark.parametrize("bins", [0.0, 4.0, -6.0])
def test_half_a_turn_bears_the_centre_out_or_not(tmp_path, views, bins):
    """By its ends where views are dense, else by centres of mass."""
    right = cases.beam("parallel", views, slices=1)
    warnings = said(tmp_path, right, offset_mm=bins).get("warnings", [])
    if bins:
        assert "give `centre='auto'`" in warnings[0]
        assert "warnings" not in said(tmp_path, right, "--centre", "auto", offset_mm=bins)
    else:
        assert not warnings


def test_parallel_rays_do_not_tell_the_sense_of_rotation(tmp_path):
    beam = cases.beam("parallel", 24, slices=1)
    words = said(tmp_path, beam)["rotation"]
    assert words.endswith("if slices are mirrored, import them with `clockwise=True`")
    assert "without `clockwise`" in said(tmp_path, beam, "--clockwise")["rotation"]


def test_the_sinogram_of_scikit_image_gives_its_picture(tmp_path):
    """Its angles count the other way where rows run down; the axis is on bin n // 2."""
    radon = pytest.importorskip("skimage.transform").radon
    size = 64
    rows, columns = np.mgrid[:size, :size].astype(float)
    picture = 0.02 * (np.hypot(columns - 34, rows - 29) < 20)
    for x, y in ((43, 33), (26, 40), (33, 17)):
        picture += 0.02 * (np.hypot(columns - x, rows - y) < 3.5)
    theta = np.arange(0, 180, 2.0)
    np.save(tmp_path / "s.npy", radon(picture, theta, circle=True))
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": 1.0}
    facts |= {"angles_deg": theta.tolist()}
    facts["data"] = {"file": "s.npy", "quantity": "line-integrals", "order": ["bin", "view"]}
    (tmp_path / "s.json").write_text(json.dumps(facts))
    place = ("--clockwise", "--centre", size // 2, "--size", size + 1)
    assert command("import", tmp_path / "s.json", "-o", tmp_path / "s.h5", *place).code == 0
    ended = command(
        "reconstruct", tmp_path / "s.h5", "-o", tmp_path / "v.nii.gz", "--method", "fbp",
        "--mu-water", 0.02,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = np.asarray(nib.load(tmp_path / "v.nii.gz").dataobj)[:size, :size, 0].T
    truth = 1000 * (picture / 0.02 - 1)
    assert np.abs(found - truth).mean() < 0.5 * np.abs(found[::-1] - truth).mean()
    for x, y in ((43, 33), (26, 40), (33, 17)):
        near = np.where(np.hypot(columns - x, rows - y) < 6, np.clip(found - 300, 0, None), 0)
        assert (near * columns).sum() / near.sum() == pytest.approx(x, abs=0.2)
        assert (near * rows).sum() / near.sum() == pytest.approx(y, abs=0.2)


def by_vectors(sources, directions):
    """Return line integrals of the body and balls without ends along z (views, bins)."""
    y = np.zeros(directions.shape[:-1])
    for thing, mu in cases.phantom():
        apart = sources - np.array(thing.centre[:2])
        across = apart[..., 0] * directions[..., 1] - apart[..., 1] * directions[..., 0]
        y += mu * 2 * np.sqrt(np.maximum(thing.axes[0] ** 2 - across**2, 0))
    return y


@pytest.mark.parametrize("kind", ["parallel", "fanflat"])
def test_the_angles_of_astra_are_ours(tmp_path, kind):
    """By its vectors: rays along (sin, -cos), bins along (cos, sin); slices have y upwards."""
    views, bins, fine = 90, 128, 3
    degrees = np.arange(views) * (2.0 if kind == "parallel" else 4.0)
    size = 1.0 if kind == "parallel" else 1.6
    angle = np.radians(degrees)[:, None]
    u = (((np.arange(bins * fine) + 0.5) / fine - bins / 2) * size)[:, None]
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * u
    ray = np.stack([np.sin(angle), -np.cos(angle)], axis=-1) + 0 * along
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": size}
    source = along
    if kind == "fanflat":
        facts |= {"kind": "fan", "detector": "flat", "sod_mm": 200, "sdd_mm": 300}
        source, ray = 200 * ray, along - 100 * ray - 200 * ray
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    y = by_vectors(source, ray).reshape(views, bins, fine).mean(-1)
    np.save(tmp_path / "s.npy", np.repeat(y[:, None], 3, axis=1))
    facts |= {"row_mm": 1.0, "angles_deg": degrees.tolist()}
    facts["data"] = {"file": "s.npy", "quantity": "line-integrals", "order": ["view", "row", "bin"]}
    (tmp_path / "s.json").write_text(json.dumps(facts))
    ended = command("import", tmp_path / "s.json", "-o", tmp_path / "s.h5")
    assert (ended.code, ended.err) == (0, "")
    ended = command(
        "reconstruct", tmp_path / "s.h5", "-o", tmp_path / "v.nii.gz", "--method", "fbp",
        "--mu-water", 0.02,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = cases.measure(read_volume(tmp_path / "v.nii.gz"), endless=True)
    assert max(found.balls) < 0.1
    assert abs(found.water) < 3
