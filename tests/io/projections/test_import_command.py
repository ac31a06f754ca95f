"""`import` and `info` as a user runs them."""

import json
import shlex
import sys

import numpy as np
import pytest
from PIL import Image

import diffusionblend as db
from diffusionblend.data.scan import Scan
from diffusionblend.errors import DiffusionBlendError, UsageError
from diffusionblend.io.scans import read_scan, write_scan
from diffusionblend.io.volumes import read_volume
from support.commands import command, contents, user_command
from support.measured import MU, PARALLEL, lines, write_exchange, write_geometry
from support.phantoms import beams, changed


@pytest.fixture
def source(place):
    wide = changed(PARALLEL, angles_deg=tuple(np.arange(60) * 3.0))
    return write_exchange(place / "tooth.h5", lines(wide), theta=np.array(wide.beam.angles_deg))


def test_a_measured_scan_becomes_a_volume(source, place):
    """Import, look, reconstruct: no one says how much water attenuates."""
    ended = user_command("import", source, "-o", place / "scan.h5", "--bin-mm", 1.0)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    for words in (
        "Data Exchange HDF5",
        "60 views of 3 x 57 pixels",
        "by centres of mass, 60 views",
    ):
        assert words in ended.out
    scan = read_scan(place / "scan.h5")
    assert scan.geometry.beam.offset_mm == pytest.approx(PARALLEL.beam.offset_mm, abs=0.1)
    ended = command(
        "reconstruct", place / "scan.h5", "-o", place / "v.nii.gz", "--method", "fbp",
        "--mu-water", MU,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    hu = read_volume(place / "v.nii.gz").hu
    assert abs(hu[1, 22:25, 30:33].mean()) < 50  # the body's middle, 3 mm and -5 mm from the axis


def test_a_program_imports_what_the_command_does(source, place):
    ended = command("import", source, "-o", place / "a.h5", "--bin-mm", 1.0, "--views", 20,
                    "--white", place / "none.npy", "--no-repair")  # fmt: skip
    with pytest.raises(DiffusionBlendError) as raised:
        db.import_scan(source, bin_mm=1.0, views=20, white=place / "none.npy", repair=False)
    told = f"{place / 'none.npy'}"
    assert (
        ended.err.strip()
        == f"diffusionblend: --white {told}: the source has such fields; leave it out"
    )
    assert str(raised.value) == f"`white='{told}'`: the source has such fields; leave it out"
    ended = command("import", source, "-o", place / "a.h5", "--bin-mm", 1.0, "--views", 20)
    assert ended.code == 0, ended.err
    expected, found = read_scan(place / "a.h5"), db.import_scan(str(source), bin_mm=1, views=20)
    assert found.digest == expected.digest
    assert found.provenance == {k: v for k, v in expected.provenance.items() if k != "again"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"binmm": 1}, "binmm: import has no such option; did you mean bin_mm?"),
        ({"views": "some"}, "views='some': expected `int | null`"),
    ],
)
def test_options_that_import_does_not_have_are_refused(source, options, words):
    with pytest.raises(UsageError) as raised:
        db.import_scan(source, **options)
    assert str(raised.value).startswith(words)


def test_what_was_understood_as_json_and_the_command_again(source, place, monkeypatch):
    monkeypatch.chdir(place)
    wish = ("--bin-mm", 1.0, "--views", 20, "--stripes", "median", "--size", 30, "--no-repair")
    ended = command("import", source, "-o", place / "a.h5", *wish, "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert facts["scan"] == str(place / "a.h5")
    assert facts["quantity"] == "counts"
    assert facts["taken"] == "20 views of 3 x 57 pixels"
    assert facts["corrections"] == "mean of 2 white fields, 2 dark fields; stripes: median"
    first = read_scan(place / "a.h5")
    assert first.provenance == {k: v for k, v in facts.items() if k != "scan"}
    words = shlex.split(facts["again"])
    assert words[:2] == ["diffusionblend", "import"]
    assert command(*words[1:]).code == 0
    again = read_scan(place / "a.h5")
    assert (again.y == first.y).all()
    assert again.geometry == first.geometry


def test_the_name_of_the_scan_is_checked_first(source, place):
    before = contents(place)
    ended = command("import", source, "-o", place / "o.nii.gz", "--bin-mm", 1.0)
    assert ended.code == 2
    assert "expected a name ending in .h5 or .hdf5" in ended.err
    ended = command("import", source, "-o", place / "no" / "o.h5", "--bin-mm", 1.0)
    assert ended.code == 5
    assert contents(place) == before


def test_the_source_is_not_replaced(source):
    before = source.read_bytes()
    ended = command("import", source, "-o", source, "--bin-mm", 1.0)
    assert ended.code == 2
    assert "is the input; give another name" in ended.err
    assert source.read_bytes() == before


def test_a_missing_package_is_named(place, monkeypatch):
    np.save(place / "a.npy", lines())
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (place / "a.tif").write_bytes(b"II*\0" + bytes(100))
    write_geometry(place, quantity="line-integrals")
    ended = command("import", place / "a.tif", "-o", place / "o.h5")
    assert ended.code == 2
    assert "needs tifffile; run `pip install 'algotom>=" in ended.err


# info


@pytest.mark.parametrize("name", ["parallel, offset", "curved fan, both shifted", "cone"])
def test_a_scan_is_drawn(place, name):
    geometry = beams(PARALLEL.grid)[name]
    y = np.zeros(geometry.sinogram_shape, np.float32)
    y[:, :, geometry.beam.bins // 2 :] = 1.5
    write_scan(Scan(y, geometry, mu_water=None), place / "a.h5")
    ended = command("info", place / "a.h5", "-o", place / "a.png")
    assert ended.code == 0, ended.err
    for words in (name.split(",")[0].split()[-1], "6 views of", "mu_water_per_mm   not known"):
        assert words in ended.out
    with Image.open(place / "a.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (648, 1776 if name == "cone" else 1192, 3)
    sinogram = pixels[64:624, -584:-24]
    assert sinogram[:, 20].max() == 0
    assert sinogram[:, -20].min() == 255
    assert len(np.unique(pixels[64:624, 24:584].reshape(-1, 3), axis=0)) > 20


def test_the_axis_is_drawn_where_it_casts_its_shadow(place):
    """The picture's line lies on the bin that the geometry says."""
    for _, beam in beams(PARALLEL.grid).values():
        s = getattr(beam, "sdd_mm", 1.0) * getattr(beam, "axis_mm", 0.0)
        s /= getattr(beam, "sod_mm", 1.0)
        if getattr(beam, "detector", "flat") == "curved":
            s = beam.sdd_mm * np.arctan(s / beam.sdd_mm)
        found = np.interp(s, beam.positions_mm(), np.arange(beam.bins))
        assert beam.axis_bin == pytest.approx(found)


def test_the_facts_of_a_scan_as_json(data):
    ended = command("info", data.scan, "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    scan = read_scan(data.scan)
    assert facts["geometry"] == json.loads(scan.geometry.to_json())
    assert facts["line_integrals"] == [float(scan.y.min()), float(scan.y.max())]
    assert facts["provenance"] == scan.provenance
    assert facts["picture"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("SCAN", "-o", "a.jpg"), 2, "ending in .png"),
        (("fbp", "-o", "a.png"), 2, "draws a picture of a scan"),
        (("no.h5",), 3, "no such file"),
        (("SCAN", "-o", "no/a.png"), 5, "no such folder"),
    ],
)
def test_what_cannot_be_shown(data, place, monkeypatch, arguments, code, words):
    monkeypatch.chdir(place)
    ended = command("info", *(data.scan if word == "SCAN" else word for word in arguments))
    assert ended.code == code
    assert words in ended.err
    assert contents(place) == {}
