"""What nobody says is asked for at once; distances and angles on the line; a template."""

import json

import numpy as np
import pytest

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.geometry import ConeBeam, FanBeam, ParallelBeam
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.scans import read_scan
from diffusionblend.reconstruction.reconstruct import reconstruct
from support.cases import BALLS, DISTANCES, beam, measure, phantom, project
from support.commands import command

LINE = {"quantity": "line-integrals", "order": "view,row,bin", "air_bins": "none"}


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "p.npy"
    np.save(path, np.random.default_rng(0).random((12, 5, 40)).astype(np.float32))
    return path


def test_all_that_is_missing_is_told_at_once(stack):
    with pytest.raises(UsageError) as told:
        import_scan(stack)
    for word in (
        "4 things",
        "`order`",
        "`quantity`",
        "`bin_mm`",
        "`arc`",
        "`sdd_mm`",
        "`template=",
    ):
        assert word in str(told.value)
    with pytest.raises(UsageError) as told:
        import_scan(stack, Options(order="view,row,bin", quantity="counts", beam="cone"))
    for word in ("5 things", "`white=FILE` or `i0", "`sod_mm`", "`sdd_mm`", "`bin_mm`", "`arc`"):
        assert word in str(told.value)
    with pytest.raises(CorruptInput, match="nothing states the angles"):  # one thing alone
        import_scan(stack, Options(bin_mm=2, **LINE))


def test_the_line_states_a_beam(stack):
    cone = import_scan(
        stack, Options(sod_mm=150, sdd_mm=260, arc=360, bin_mm=2, **LINE, centre="none")
    )
    assert isinstance(cone.geometry.beam, ConeBeam)
    assert cone.geometry.beam.angles_deg == tuple(30.0 * np.arange(12))
    fan = import_scan(
        stack, Options(beam="fan", sod_mm=150, sdd_mm=260, arc=240, bin_mm=2, **LINE, centre="none")
    )
    assert isinstance(fan.geometry.beam, FanBeam)
    assert fan.geometry.beam.angles_deg[-1] == 220.0
    parallel = import_scan(stack, Options(arc=180, bin_mm=2, clockwise=True, **LINE, centre="none"))
    assert isinstance(parallel.geometry.beam, ParallelBeam)
    assert parallel.geometry.beam.angles_deg[1] == -15.0


def test_the_line_and_geometry_json_have_to_agree(stack):
    facts = {"schema": "diffusionblend-geometry/1", "kind": "cone", "sod_mm": 150, "sdd_mm": 260,
             "bin_mm": 2, "row_mm": 2, "offset_mm": 0}  # fmt: skip
    (stack.parent / "geometry.json").write_text(json.dumps(facts))
    scan = import_scan(stack, Options(arc=360, sod_mm=150, **LINE))
    assert scan.geometry.beam.angles_deg[1] == 30.0
    for options, words in (
        ({"sod_mm": 151}, "`sod_mm=151`: geometry.json states 150"),
        ({"beam": "fan"}, "`beam='fan'`: geometry.json states cone"),
        ({"arc": -1}, "`arc=-1`: expected"),
    ):
        with pytest.raises(UsageError, match=words):
            import_scan(stack, Options(**LINE, **({"arc": 360} | options)))
    (stack.parent / "geometry.json").unlink()
    with pytest.raises(UsageError, match="`sod_mm`: parallel beams have no such distances"):
        import_scan(stack, Options(beam="parallel", sod_mm=9, bin_mm=2, arc=180, **LINE))
    with pytest.raises(UsageError, match="needs `sod_mm` and `sdd_mm`"):
        import_scan(stack, Options(sod_mm=9, bin_mm=2, arc=180, **LINE))


@pytest.mark.parametrize(("first", "last"), [(0, 165), (165, 0), (-90, 75), (0, 180)])
def test_an_arc_and_stated_angles_have_to_agree(stack, first, last):
    """The arc was ignored without a word."""
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": 2, "row_mm": 2,
             "offset_mm": 0, "angles_deg": np.linspace(first, last, 12).tolist()}  # fmt: skip
    (stack.parent / "geometry.json").write_text(json.dumps(facts))
    scan = import_scan(stack, Options(arc=180, **LINE))
    assert np.allclose(scan.geometry.beam.angles_deg, facts["angles_deg"])
    for arc in (90, 360):
        with pytest.raises(UsageError, match=f"`arc={arc}`: the angles of its 12 views are stated"):
            import_scan(stack, Options(arc=arc, **LINE))


@pytest.mark.parametrize("kind", ["cone", "fan", "parallel"])
def test_a_template_says_what_is_to_be_filled_in(place, stack, kind):
    path = stack.parent / "geometry.json"
    asked = ("import", stack, "--template", path, "--beam", kind, "--bin-mm", 2)
    ended = command(*asked)
    assert ended.code == 0, ended.err
    assert "places to fill in" in ended.out
    refused = command("import", path, "-o", stack.parent / "s.h5")
    assert refused.code == 3
    assert "still to be filled in:" in refused.err
    assert ("sod_mm" in refused.err) == (kind != "parallel")
    facts = json.loads(path.read_text())
    assert "(12, 5, 40)" in facts["data"]["order"]
    facts |= {"sod_mm": 150, "sdd_mm": 260} if kind != "parallel" else {}
    facts |= {"angles_deg": {"start": 0, "step": 30, "count": 12}, "offset_mm": 0}
    facts["data"] = {"file": "p.npy", "quantity": "line-integrals",
                     "order": ["view", "row", "bin"]}  # fmt: skip
    path.write_text(json.dumps(facts))
    ended = command("import", path, "-o", stack.parent / "s.h5", "--air-bins", "none")
    assert ended.code == 0, ended.err
    assert read_scan(stack.parent / "s.h5").geometry.beam.kind == kind
    without = command("import", path)
    assert without.code == 2
    assert "--output" in without.err


def test_a_template_replaces_neither_the_projections_nor_what_was_filled_in(stack):
    filled = stack.parent / "geometry.json"
    filled.write_text("{}")
    for path in (stack, filled):
        before = path.read_bytes()
        ended = command("import", stack, "--template", path)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "--template" in ended.err
        assert "exists already; give a new name" in ended.err
        assert path.read_bytes() == before


def test_a_cone_on_the_line_has_its_balls_in_place(tmp_path):
    """Without any file beside the stack."""
    geometry = beam("cone", 48, size=64, slices=9)
    made = geometry.beam
    balls = [(x / 2, y / 2, z) for x, y, z in BALLS]
    np.save(tmp_path / "p.npy", project(phantom(24.0, balls), geometry).astype(np.float32))
    options = Options(
        **DISTANCES, arc=360, bin_mm=made.bin_mm, row_mm=made.row_mm, **LINE, size=64, slices=9
    )
    scan = import_scan(tmp_path / "p.npy", options)
    assert "axis on bin" in scan.provenance["centre"]
    found = measure(reconstruct(scan, "fbp", mu_water=0.02).volume, balls)
    assert max(found.balls) < 0.2
