"""The beam of docs/how-to/add-a-beam.md, as a package of its own; and beams that are not known."""

import runpy

import numpy as np
import pytest
import torch

import diffusionblend as db
from diffusionblend.errors import CorruptInput, DiffusionBlendError, InvalidValue, UnsupportedInput
from diffusionblend.geometry import Geometry, geometry_from_json
from diffusionblend.projectors import projector
from diffusionblend.simulation.strip import strip_project
from support.commands import command
from support.documents import blocks
from support.packages import install
from support.phantoms import changed, placed

GRID = db.Grid.from_spacing((2, 12, 16), (2.0, 1.5, 1.5))
PARALLEL = placed(db.parallel_beam, GRID, db.sparse_view(5))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The folder of the page's package, which is installed."""
    for block in blocks("docs/how-to/add-a-beam.md"):
        if block.title:
            path = tmp_path / block.title
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    site = tmp_path / "site"
    site.mkdir()
    install(tmp_path / "ct-drift", site)
    monkeypatch.syspath_prepend(site)
    return tmp_path / "ct-drift"


@pytest.fixture
def used(installed, monkeypatch):
    """What the page's script leaves: its names, and drift.h5 in the folder it ran in."""
    monkeypatch.chdir(installed)
    return runpy.run_path(str(installed / "use.py"))


def test_each_view_is_that_of_a_detector_that_has_moved(used):
    A, u, beam, plain = used["A"], used["u"], used["beam"], used["plain"]
    found = A @ u
    for view in range(0, len(beam.angles_deg), 5):
        moved = Geometry(used["grid"], plain.views([view]))
        moved = changed(moved, offset_mm=beam.shifts_mm[view])
        np.testing.assert_array_equal(found[:, [view]], projector(*moved) @ u)


def test_its_scans_are_read_and_reconstructed_by_the_command(used, installed):
    assert db.read_scan("drift.h5").geometry.beam == used["beam"]
    told = command("info", "drift.h5")
    assert told.code == 0, told.err
    assert "drifting" in told.out
    assert "shifts_mm" in told.out
    ended = command("reconstruct", "drift.h5", "-o", "v.nii.gz", "--method", "cgls")
    assert ended.code == 0, ended.err
    hu = db.read_volume("v.nii.gz").hu
    wrong = db.Scan(used["scan"].y, Geometry(used["grid"], used["plain"]), mu_water=0.02)
    off, much = (
        np.abs(h / 1000 + 1 - used["u"]).mean() for h in (hu, db.reconstruct(wrong, "cgls").hu)
    )
    assert off < 0.1
    assert off < much / 2
    refused = command("reconstruct", "drift.h5", "-o", "f.nii.gz", "--method", "fbp")
    assert (refused.code, len(refused.err.splitlines())) == (4, 1)
    assert (
        "fbp works with parallel, fan, cone and posed beams, not with a drifting beam"
        in refused.err
    )


def test_of_fewer_views_it_keeps_their_shifts_and_of_others_it_refuses_them(used):
    beam = used["beam"]
    assert beam.views([3, 1]).shifts_mm == (beam.shifts_mm[3], beam.shifts_mm[1])
    with pytest.raises(InvalidValue, match="24 shifts for 1 views; expected one each"):
        changed(Geometry(used["grid"], beam), angles_deg=(0.0,))


def test_where_its_package_is_not_installed_a_scan_says_so():
    text = PARALLEL.to_json().replace('"parallel"', '"drifting"')
    with pytest.raises(CorruptInput, match=r"'drifting', expected one of .*parallel.*package"):
        geometry_from_json(text)


class Tilted(db.ParallelBeam, frozen=True, kw_only=True):
    """A beam that forgot its tag: it would be read as a parallel one."""

    tilt_deg: float = 5.0


class Helical(db.ConeBeam, frozen=True, kw_only=True, tag="helical"):
    """A beam that nobody entered."""


@pytest.mark.parametrize("cls", [Tilted, Helical])
def test_a_beam_that_is_not_known_is_refused_and_not_taken_for_its_parent(cls):
    make = {"sod_mm": 60.0, "sdd_mm": 90.0, "rows": 3, "row_mm": 1.0} if cls is Helical else {}
    beam = cls(angles_deg=(0.0,), bins=9, bin_mm=1.5, **make)
    geometry, u = Geometry(GRID, beam), np.ones(GRID.shape, np.float32)
    for use in (
        lambda: projector(GRID, beam),
        geometry.to_json,
        lambda: strip_project(u, GRID, beam),
        lambda: db.write_scan(db.Scan(np.zeros(geometry.sinogram_shape), geometry), "s.h5"),
        lambda: db.simulate(u - 1, (0.0,), spacing_mm=(2, 1.5, 1.5), beam=lambda *_: beam, size=16),
    ):
        with pytest.raises(UnsupportedInput):
            use()


def test_what_cannot_be_is_an_error_of_the_package_and_a_value_error():
    A = projector(*PARALLEL)
    for use in (
        lambda: db.sparse_view(-3),
        lambda: db.sparse_view(0),
        lambda: db.limited_angle(0),
        lambda: db.Grid.from_spacing((2, 3)),
        lambda: db.parallel_beam(GRID, ()),
        lambda: db.parallel_beam(db.Grid.from_spacing((1, 8, 8), (1, 1, 2)), (0.0,)),
        lambda: db.fan_beam(GRID, (0.0,), sod_mm=5.0, sdd_mm=90.0),
        lambda: changed(PARALLEL, bin_mm=-1.0),
        lambda: PARALLEL.beam.binned(0),
        lambda: A @ np.zeros((2, 3, 4)),
        lambda: A @ [[1.0]],
        lambda: A @ np.zeros(GRID.shape, complex),
        lambda: A @ torch.zeros(GRID.shape, dtype=torch.complex64),
        lambda: A.T @ np.zeros(GRID.shape),
    ):
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - each has words of its own
            use()
        assert isinstance(refused.value, DiffusionBlendError)
        assert refused.value.code == 2
