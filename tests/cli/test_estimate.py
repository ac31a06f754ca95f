"""What is said before a run: the plan, what is there already, time and memory."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch

from diffusionblend.data.scan import Scan
from diffusionblend.data.volume import Volume
from diffusionblend.geometry import Geometry, Grid, ParallelBeam
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.methods import Method, Stepped, fbp, methods
from diffusionblend.methods.options import make_method
from diffusionblend.prior import from_pretrained
from diffusionblend.projectors import projector
from diffusionblend.projectors.lanes import lanes_of
from diffusionblend.projectors.matrix import MatrixProjector
from diffusionblend.projectors.rays import RayProjector
from diffusionblend.reconstruction import estimate as module
from diffusionblend.reconstruction import smaller as smaller_module
from diffusionblend.reconstruction.estimate import Estimate, estimate, some_slices
from diffusionblend.reconstruction.footprint import ASSESSED, peak_memory
from diffusionblend.reconstruction.request import Request
from diffusionblend.reconstruction.smaller import Law, crossings, law_of, smaller, takes_long
from support.commands import command, contents
from support.phantoms import placed

BEAMS = {
    "parallel": parallel_beam,
    "fan": functools.partial(fan_beam, sod_mm=600, sdd_mm=1000),
    "cone": functools.partial(cone_beam, sod_mm=600, sdd_mm=1000),
}
CPU = torch.device("cpu")


def scan_of(beam, slices=30, size=32, views=6):
    grid = Grid.from_spacing((slices, size, size), (2.0, 4.0, 4.0))
    angles = sparse_view(views, 180.0 if beam == "parallel" else 360.0)
    geometry = placed(BEAMS[beam], grid, angles)
    u = torch.zeros(grid.shape)
    u[:, size // 4 : -size // 4, size // 4 : -size // 4] = 1
    empty = Scan(torch.zeros(geometry.sinogram_shape).numpy(), geometry)
    return dataclasses.replace(empty, y=(projector(*geometry)(u) * empty.scale).numpy())


@pytest.fixture
def few(monkeypatch):
    """Trials of nine slices, however small they are."""
    monkeypatch.setattr(module, "TRIAL_VOXELS", 1)


@pytest.mark.parametrize("beam", BEAMS)
def test_some_slices_are_the_middle_ones_with_the_rows_that_see_them(beam, few):
    scan = scan_of(beam)
    part = some_slices(scan)
    assert part.geometry.grid.shape == (9, 32, 32)
    rows = part.y.shape[0]
    assert part.y.shape == part.geometry.sinogram_shape
    assert rows / scan.y.shape[0] == pytest.approx(9 / 30, abs=0.05)
    before = (scan.y.shape[0] - rows) // 2
    assert (part.y == scan.y[before : before + rows]).all()


def test_a_small_scan_is_tried_as_a_whole():
    scan = scan_of("parallel", slices=12)
    assert some_slices(scan) is scan


class Across(ParallelBeam, frozen=True, kw_only=True, tag="across"):
    """A beam of another package: one picture of all slices in each view."""

    slicewise = False

    def sinogram_shape(self, grid):
        return 1, len(self.angles_deg), self.bins


def test_a_scan_whose_rays_cross_slices_in_an_unknown_way_is_tried_as_a_whole(few):
    grid, plain = scan_of("parallel").geometry
    beam = Across(angles_deg=plain.angles_deg, bins=plain.bins, bin_mm=plain.bin_mm)
    scan = Scan(np.zeros(beam.sinogram_shape(grid), np.float32), Geometry(grid, beam))
    assert some_slices(scan) is scan


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("name", ["diffusionblend-fast", "diffusionblend++", "sbtv", "tv", "fbp"])
def test_every_beam_and_kind_of_method_is_estimated(name, beam, few, data):
    prior = from_pretrained(str(data.prior))
    scan = scan_of(beam)
    request = Request(scan.geometry, make_method(name))
    found = estimate(scan, request, prior=prior, device=CPU)
    classical = name in ("sbtv", "tv", "fbp")
    assert list(found.seconds) == [name, *([] if classical else ["tv"]), "quality"]
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.total == pytest.approx(sum(found.seconds.values()))


def test_more_slices_samples_and_steps_take_more_time(few, data, monkeypatch):
    """With a clock that says each step took one second."""
    monkeypatch.setattr(smaller_module, "timed", lambda work: (1.0, work()))
    prior = from_pretrained(str(data.prior))

    def seconds(slices=9, samples=1, name="diffusionblend-fast", **options):
        scan = scan_of("parallel", slices)
        request = Request(scan.geometry, make_method(name, **options), samples)
        return estimate(scan, request, prior=prior, device=CPU).seconds[name]

    assert [seconds(steps=n) for n in (1, 3, 5, 30)] == [1, 3, 5, 30]
    assert seconds(18, steps=30) == 60
    assert seconds(19, steps=30) == pytest.approx(30 * 19 / 9)
    assert seconds(2, steps=30) == 30  # slices are added: a block of nine at least
    plus = {"name": "diffusionblend++", "steps": 30}
    assert seconds(19, **plus) == 3 * seconds(9, **plus)  # three blocks of nine
    assert seconds(samples=3, steps=5) == 15
    assert seconds(27, name="sbtv", iterations=10) == 30
    assert seconds(27, name="fbp") == 3
    usual = make_method("tv").usual_iterations(scan_of("parallel").geometry)
    assert seconds(name="tv") == usual
    assert seconds(name="tv", iterations=10) == 10


def test_the_first_step_of_a_trial_does_not_count(few, monkeypatch):
    """It compiles what is compiled, and its solvers have nothing to start from."""

    @dataclasses.dataclass(frozen=True)
    class Slower(Method):
        steps: int = 50
        counted_by = "steps"

        def step(self, problem, state, k, generator):
            now[0] += 100 if k == 0 else 2
            return Stepped(torch.zeros(problem.volume_shape), state)

    now, scan = [0.0], scan_of("parallel", 9)
    monkeypatch.setattr(smaller_module, "_clock", lambda: now[0])
    found = estimate(scan, Request(scan.geometry, Slower()), prior="", device=CPU)
    assert found.seconds["Slower"] == 50 * 2


def test_a_method_of_another_package_is_tried_if_its_steps_can_be_told(few):
    @dataclasses.dataclass(frozen=True)
    class Other(Method):
        steps: int = 50
        counted_by = "steps"

        def prepare(self, problem):
            seen.append(self.steps)
            return problem

        def step(self, problem, state, k, generator):
            return Stepped(torch.zeros(problem.volume_shape), state)

    class Unknown(Other):
        counted_by = None

    seen, scan = [], scan_of("parallel")
    found = estimate(scan, Request(scan.geometry, Other()), prior="", device=CPU)
    assert seen == [module.TRIAL_ITERATIONS]
    assert found.seconds["Other"] > 0
    found = estimate(scan, Request(scan.geometry, Unknown()), prior="", device=CPU)
    assert found.seconds["Unknown"] is None
    assert found.total is None


def test_of_many_views_of_a_cone_fewer_slices_are_tried(monkeypatch):
    monkeypatch.setattr(module, "TRIAL_CROSSINGS", 18 * 32**2 * 6)
    assert some_slices(scan_of("cone")).geometry.grid.shape[0] == 18
    scan = scan_of("fan")
    assert some_slices(scan) is scan


def large(size=2048, views=180, slices=9):
    """Return a scan of nothing, in no time."""
    grid = Grid.from_spacing((slices, size, size), (1.0, 0.2, 0.2))
    geometry = placed(parallel_beam, grid, sparse_view(views, 180.0))
    return Scan(np.zeros(geometry.sinogram_shape, np.float32), geometry)


def test_what_is_tried_of_a_large_scan_is_bounded(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Other(Method):
        steps: int = 50
        counted_by = "steps"

        def step(self, problem, state, k, generator):
            seen.append(problem.A.geometry)
            return Stepped(torch.zeros(problem.volume_shape), state)

    seen, scan = [], large()
    found = estimate(scan, Request(scan.geometry, Other(), classical=False), prior="", device=CPU)
    assert len(seen) == module.TRIAL_ITERATIONS
    assert {g.grid.shape for g in seen} == {(9, 256, 256)}
    assert {len(g.beam.angles_deg) for g in seen} == {20}
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.operator == "rays"


def test_a_product_is_measured_with_few_rays_of_few_pixels():
    for size, views in ((2048, 180), (512, 900), (2048, 12), (700, 333)):
        geometry = large(size, views, 1).geometry
        for stored, most in ((True, smaller_module.OF_MATRIX), (False, smaller_module.OF_RAYS)):
            with_these = smaller_module._measured_with(geometry, stored)
            few, *_ = smaller_module._smaller(geometry, *with_these)
            assert crossings(few) <= most[1]
            assert max(few.grid.shape[1:]) <= most[0]


@pytest.mark.parametrize("size", [1000, 1024, 2047])
def test_a_smaller_scan_has_the_same_rays_on_larger_pixels(size):
    scan = large(size, 33, 2)
    scan = dataclasses.replace(scan, y=scan.y + 1)
    made = smaller(scan, 256, 20)
    assert max(made.geometry.grid.shape[1:]) in range(125, 257)
    assert made.geometry.beam.angles_deg == scan.geometry.beam.angles_deg[::2]
    assert made.y.shape == made.geometry.sinogram_shape
    assert (made.y == 1).all()


def test_only_what_would_take_long_is_tried_on_larger_pixels():
    def long(size, views, name="tv", device=CPU):
        return takes_long(large(size, views, 1).geometry, make_method(name), device)

    assert not long(256, 60)
    assert long(512, 60)
    assert not long(256, 20, "diffusionblend-fast")
    assert long(256, 60, "diffusionblend-fast")
    assert not long(512, 60, "fbp-unet")  # which refuses views that it was not trained for
    assert not long(2048, 180, device=torch.device("cuda"))
    assert not takes_long(scan_of("cone", size=128, views=400).geometry, make_method("tv"), CPU)


@pytest.fixture
def counting(monkeypatch):
    """A clock that goes on by pixels times views, of products and of back-projections."""
    now, product, between = [0.0], MatrixProjector.product, fbp.between_bins

    def counted(self, x, transpose):
        now[0] += crossings(self.geometry) * len(x)
        return product(self, x, transpose)

    def back_projected(y, at):
        now[0] += at.numel() * len(y)
        return between(y, at)

    monkeypatch.setattr(MatrixProjector, "product", counted)
    monkeypatch.setattr(fbp, "between_bins", back_projected)
    monkeypatch.setattr(smaller_module, "_clock", lambda: now[0])


@pytest.mark.parametrize("name", ["fbp", "sirt", "cgls"])
def test_a_smaller_trial_says_what_a_whole_one_says(name, counting, monkeypatch):
    scan = scan_of("parallel", 20, 64, 40)
    request = Request(scan.geometry, make_method(name))
    whole = estimate(scan, request, prior="", device=CPU)
    monkeypatch.setattr(smaller_module, "MOST_CROSSINGS", 64**2)
    for side in ("PIXELS", "FBP_PIXELS"):
        monkeypatch.setattr(module, side, 32)
    found = estimate(scan, request, prior="", device=CPU)
    assert found.operator == whole.operator == "matrix"
    for part, seconds in whole.seconds.items():
        assert seconds / 1.3 < found.seconds[part] < 1.3 * seconds


@pytest.mark.parametrize(("slices", "lanes"), [(3, 1), (9, 1), (20, 2)])
def test_along_rays_a_part_of_a_product_is_done_once_for_all_views(slices, lanes, monkeypatch):
    """By a clock that takes a second for each pixel and lane, and a third for each view of it."""
    now, product = [0.0], RayProjector.product

    def counted(self, x, transpose):
        views, pixels = len(self.geometry.beam.angles_deg), crossings(self.geometry)
        now[0] += (pixels / views + pixels / 3) * len(lanes_of(len(x)))
        return product(self, x, transpose)

    monkeypatch.setattr(RayProjector, "product", counted)
    monkeypatch.setattr(smaller_module, "_clock", lambda: now[0])
    monkeypatch.setattr(smaller_module, "OF_RAYS", (16, 16 * 16 * 12))
    monkeypatch.setattr(smaller_module, "is_stored", lambda *_: False)
    scan = scan_of("parallel", slices, 64, 40)
    law = law_of(scan.geometry, smaller(scan, 32, 20).geometry)
    assert law.how == "rays"
    expected = 64**2 * (1 + 40 / 3) * lanes
    assert law.product(False, slices) == pytest.approx(expected)
    assert law.product(True, slices) == pytest.approx(expected)


def test_slices_take_as_long_as_their_lanes_do_along_rays():
    def of_rays(transpose, count):
        return (1.0 if transpose else 2.0) * len(lanes_of(count))

    def of_matrix(transpose, count):
        return (1.0 if transpose else 2.0) * count / 9

    law = Law(tried=9, slices=40, product=of_rays, whole=True)
    assert 40 / 9 * law.of_product(False, 9) == pytest.approx(3 * 2)
    assert 40 / 9 * law.of_product(True, 1) == pytest.approx(1)  # of some slices, in four lanes
    law = Law(tried=9, slices=40, product=of_matrix)
    assert 40 / 9 * law.of_product(False, 9) == pytest.approx(40 / 9 * 2)


def test_sweeps_on_larger_pixels_take_less():
    method = make_method("diffusionblend-fast")
    assert method.work(large(64, 180).geometry) == [1] * 35
    of_large = [16**-2] * 14 + [8**-2] * 12 + [1] * 9
    assert method.work(large(2048, 180).geometry) == of_large
    assert make_method("fbp").work(large(64, 180).geometry) == [1]


@pytest.mark.parametrize("name", [n for n in methods() if n != "fbp-unet"])
def test_more_of_anything_takes_more_memory(name):
    method = make_method(name)
    peak = functools.partial(peak_memory, method=method, classical=False)
    small = peak((48, 256, 256), (48, 8, 363))
    assert 200 * 2**20 < small < 2000 * 2**20
    assert peak((96, 256, 256), (96, 8, 363)) > small
    assert peak((48, 512, 512), (48, 8, 725)) > small
    assert peak((48, 256, 256), (48, 60, 363)) > small
    assert peak((48, 256, 256), (48, 8, 363), samples=2) > small
    assert peak((500, 512, 512), (500, 8, 725)) > 4 * 500 * 512**2


def test_a_larger_batch_of_the_network_takes_more_memory():
    shapes = (48, 256, 256), (48, 8, 363)
    assert peak_memory(*shapes, make_method("dds", batch_size=16)) > peak_memory(
        *shapes, make_method("dds", batch_size=4)
    )


def test_what_the_record_looks_at_takes_memory_where_the_data_are_not_fitted():
    shapes = (9, 2048, 2048), (9, 180, 2897)
    more = [
        peak_memory(*shapes, make_method(name), assessed=3)
        - peak_memory(*shapes, make_method(name))
        for name in ("fbp", "tv")
    ]
    assert more == [ASSESSED * 4 * 3 * 2048**2, 0]


def test_too_little_memory_is_said():
    assert Estimate({}, memory=2, free=1).short
    assert not Estimate({}, memory=1, free=2).short
    assert not Estimate({}, memory=None, free=2).short
    assert not Estimate({}, memory=1, free=None).short


def plan(*words):
    ended = command(*words, "--dry-run", "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_a_dry_reconstruction_tells_all_and_writes_nothing(data, place):
    (place / "o.nii.gz.json").write_text("old")
    before = contents(place)
    words = ("reconstruct", data.scan, "--prior", data.prior, "-o", place / "o.nii.gz", "--steps=3")
    facts = plan(*words, "--samples", 2, "--set", "eta=0.5", "--method", "diffusionblend++")
    assert contents(place) == before
    assert facts["method"]["name"] == "diffusionblend++"
    assert (facts["method"]["steps"], facts["method"]["eta"]) == (3, 0.5)
    assert facts["grid"] == list(read_scan(data.scan).geometry.grid.shape)
    assert facts["scan"]["beam"] == "parallel"
    assert (facts["device"], facts["seed"], facts["samples"]) == ("cpu", 0, 2)
    assert facts["prior"]["name"] == "prior"
    assert {(o["path"].removeprefix(f"{place}/"), o["exists"]) for o in facts["outputs"]} == {
        ("o.nii.gz", False),
        ("o.nii.gz.json", True),
        ("o.std.nii.gz", False),
        ("o.classical.nii.gz", False),
    }
    assert facts["seconds"] == pytest.approx(sum(facts["seconds_of"].values()))
    assert facts["memory_bytes"] > 0
    assert facts["free_bytes"] > 0
    assert facts["disk"]["free"] > facts["disk"]["needed"] > facts["disk"]["volumes"] > 0


def test_what_a_dry_run_lists_is_what_a_run_writes(data, place):
    words = ("reconstruct", data.scan, "--method", "cgls", "-o", place / "o.nii.gz")
    outputs = {o["path"] for o in plan(*words)["outputs"]}
    assert command(*words).code == 0
    assert {str(path) for path in place.iterdir()} == outputs


def test_a_dry_run_for_people_has_a_line_for_each_thing(data, place):
    ended = command("reconstruct", data.scan, "--method=fbp", "-o", place / "o.nii", "--dry-run")
    names = [line[:14].strip() for line in ended.out.splitlines()]
    assert names == [
        "beam", "projections", "angles", "grid", "method", "prior", "samples", "device",
        "operator", "time", "memory", "disk", "would write", "would write",
    ]  # fmt: skip


BAD = [
    ("reconstruct", "none.h5", "-o", "o.nii"),
    ("reconstruct", "{scan}", "-o", "none/o.nii"),
    ("reconstruct", "{scan}", "-o", "o.txt"),
    ("reconstruct", "{scan}", "-o", "o.nii", "--method", "none"),
    ("reconstruct", "{scan}", "-o", "o.nii", "--prior", "none"),
    ("reconstruct", "{scan}", "-o", "o.nii", "--device", "none"),
    ("reconstruct", "{scan}", "-o", "o.nii", "--method", "fbp", "--samples", "2"),
    ("reconstruct", "{scan}", "-o", "o.nii", "--mu-water", "-1"),
    ("simulate", "none.nii", "-o", "s.h5"),
    ("simulate", "{volume}", "-o", "s.txt"),
    ("simulate", "{volume}", "-o", "s.h5", "--size", "63"),
    ("simulate", "{volume}", "-o", "s.h5", "--views", "0"),
    ("simulate", "{volume}", "-o", "s.h5", "--photons", "0"),
    ("simulate", "{volume}", "-o", "s.h5", "--beam", "fan", "--sod-mm", "1"),
    ("benchmark", "none"),
    ("benchmark", "table1", "--prior", "none"),
    ("train", "none.toml"),
]


@pytest.mark.parametrize("words", BAD)
def test_a_dry_run_fails_as_the_run_does(words, data, place, monkeypatch):
    monkeypatch.chdir(place)
    words = [w.format(scan=data.scan, volume=data.volume) for w in words]
    dry, real = command(*words, "--dry-run"), command(*words)
    assert dry.code == real.code != 0
    assert dry.err == real.err
    assert contents(place) == {}


def test_a_dry_simulation_refuses_what_cannot_be_scanned_as_the_run_does(data, place):
    volume = read_volume(data.volume)
    hu = volume.hu + np.random.default_rng(0).normal(0, 1, volume.hu.shape).astype(np.float32)
    hu[:, [0, 0, -1, -1], [0, -1, -1, 0]] = 0  # as programs that resample fill what is outside
    write_volume(Volume(hu, volume.grid), place / "filled.nii")
    before = contents(place)
    words = ("simulate", place / "filled.nii", "-o", place / "s.h5", "--size", 64)
    dry, real = command(*words, "--dry-run"), command(*words)
    assert "the corners of 12 slices are 0 HU" in real.err
    assert (dry.code, dry.err) == (real.code, real.err)
    assert contents(place) == before


def test_a_dry_simulation_tells_the_shape_that_the_scan_will_have(data, place):
    words = ("simulate", data.fine, "-o", place / "s.h5", "--size", 64, "--views", 5,
             "--slices", "2:6", "--truth", place / "t.nii.gz")  # fmt: skip
    facts = plan(*words)
    assert contents(place) == {}
    assert [o["path"] for o in facts["outputs"]] == [str(place / n) for n in ("s.h5", "t.nii.gz")]
    assert command(*words).code == 0
    assert facts["shape"] == list(read_scan(place / "s.h5").y.shape)


def test_a_seed_of_no_noise_is_named(data, place, caplog):
    words = ("simulate", data.volume, "-o", place / "s.h5", "--size", 64, "--seed", 3, "--dry-run")
    assert command(*words, "--photons", 1e4).code == 0
    assert not caplog.records
    assert command(*words).code == 0
    assert "--seed 3: has no effect without --photons" in caplog.text


def test_a_dry_benchmark_lists_the_runs(place):
    facts = plan("benchmark", "table1", "-o", place / "results")
    assert facts["kept"] == 0
    assert all(run["experiment"] == "table1" for run in facts["runs"])
    assert len({run["run"] for run in facts["runs"]}) == len(facts["runs"]) > 3
    assert contents(place) == {}


def test_dry_training_says_what_and_whether_it_goes_on(data, place):
    recipe = place / "recipe.toml"
    (place / "volumes").mkdir()
    (place / "volumes" / "a.nii.gz").write_bytes(data.volume.read_bytes())
    recipe.write_text('output = "run"\ndata = [{ path = "volumes" }]\n[budget]\nhours = 2\n')
    before = contents(place)
    facts = plan("train", recipe, "--set", "optimiser.rate=3e-3", "seed=4", "cache=away")
    assert contents(place) == before
    assert facts["volumes"] == ["a.nii.gz"]
    assert facts["seconds"] == 7200
    assert facts["resumes"] is False
    made = facts["recipe"]
    assert (made["optimiser"]["rate"], made["seed"], made["cache"]) == (3e-3, 4, "away")
    (place / "run").mkdir()
    (place / "run" / "state.safetensors").touch()
    assert plan("train", recipe)["resumes"] is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("budget.step=3", "step"),
        ("seed=many", "seed"),
        ("seed.a=1", "seed.a=1"),
        ("seed", "expected OPTION=VALUE, for instance budget.steps=100"),
        ("kinds=[{gap=99}]", "gap"),
    ],
)
def test_a_change_that_no_recipe_can_have_is_named(change, words, place):
    recipe = place / "recipe.toml"
    recipe.write_text('output = "run"\ndata = [{ path = "v" }]\nseed = 3\n[budget]\nhours = 2\n')
    ended = command("train", recipe, "--set", change, "--dry-run")
    assert ended.code == 2
    assert words in ended.err
    assert ended.err.count("\n") == 1
