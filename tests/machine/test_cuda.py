"""Everything on a device, against the CPU: operators, beams, methods, figures, networks, training.

Each test runs twice: on a device that is pretended (`pretended`), where tensors of two places in
one operation are refused and the numbers must be the CPU's; and on a CUDA device, marked `cuda`,
where there is one. TEST_DEVICE=cpu lets the latter run on the CPU, to rehearse them.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from diffusionblend.data.scan import Noise, Scan
from diffusionblend.geometry import ConeBeam, Geometry
from diffusionblend.methods import Problem, Step, find_method, ladder, methods, regrid
from diffusionblend.methods.fbp_unet import Scaled
from diffusionblend.methods.regrid import padded
from diffusionblend.prior import from_pretrained
from diffusionblend.projectors import projector
from diffusionblend.projectors.diffct import DiffctProjector
from diffusionblend.projectors.matrix import MatrixProjector
from diffusionblend.quality import assess
from diffusionblend.reconstruction.draw import Moments, draw_samples
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.reconstruction.task import make_task
from diffusionblend.runs.checkpoint import Checkpoint
from diffusionblend.training.loop import Run, new_network
from diffusionblend.training.recipe import Recipe, read_fbp_unet_recipe, read_recipe
from diffusionblend.training.samples import Sampler, Source
from diffusionblend.training.supervised import FBPUNetRun, SliceSampler, UnseenSlices
from diffusionblend.training.validation import Validation
from support.every_beam import ANY, BEAMS, GRID
from support.fbp_unet import RECIPE as FBP_UNET
from support.gaussian import MEAN, STD
from support.oracle import GaussianPrior
from support.phantoms import blob, changed
from support.pretended import WrongPlace, is_there, pretended
from support.recipes import RECIPE, VALIDATION
from support.small_data import save_tiny_prior

DEVICE = os.environ.get("TEST_DEVICE", "cuda")
TESTS = Path(__file__).parents[1]
absent = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no CUDA device here"
)
old_name = pytest.mark.filterwarnings("ignore:Importing from 'diffct:DeprecationWarning")
FEW_VIEWS = {name: changed(g, angles_deg=g.beam.angles_deg[::5]) for name, g in BEAMS.items()}
OPTIONS = {name: {"steps": 2} for name, cls in methods().items() if cls.needs_prior}
OPTIONS |= {
    "sirt": {"iterations": 3},
    "sbtv": {"iterations": 2, "cg_steps": 2},
    "tv": {"iterations": 3},
    "cgls": {"iterations": 3},
}
BFLOAT16 = 2e-2  # how far networks are apart whose numbers have 8 bits or 24
PRIOR = GaussianPrior(MEAN, STD, correlation=0.5)


@dataclass(frozen=True)
class Place:
    """A device, and how far its numbers may be from the CPU's, as a share of their norm."""

    device: torch.device
    tolerance: float

    def check(self, found, expected, *, times=1.0, least=0.0):
        assert found.device.type == self.device.type
        apart = float((found.cpu() - expected).norm())
        assert apart <= max(times * self.tolerance, least) * float(expected.norm())


@pytest.fixture(params=["pretended", pytest.param("real", marks=[pytest.mark.cuda, absent])])
def place(request):
    if request.param == "real":
        yield Place(torch.device(DEVICE), 1e-4)
        return
    with pretended() as device:
        yield Place(device, 0.0)


def operator(geometry, *, device="cpu", dtype=torch.float32):
    """Return the operator of a device; on the CPU one by the same weights."""
    if isinstance(geometry.beam, ConeBeam):
        return DiffctProjector(geometry, device=device, dtype=dtype)
    return projector(*geometry, device=device, dtype=dtype)


def body():
    """A smooth body in air, u (slices, rows, columns)."""
    z, y, x = (torch.linspace(-1, 1, n) for n in GRID.shape)
    r = z[:, None, None] ** 2 / 8 + (y[:, None] / 0.7) ** 2 + (x / 0.6) ** 2
    return torch.sigmoid(6 * (1 - r))


def problems(geometry, place):
    """Return the same problem on the CPU and on the device."""
    here, there = operator(geometry), operator(geometry, device=place.device)
    y, variance = here(body()), torch.full(geometry.sinogram_shape, 0.01)
    return (
        Problem(y, here, PRIOR, 1e5, variance),
        Problem(y.to(place.device), there, PRIOR, 1e5, variance.to(place.device)),
    )


# Operators


@old_name
@pytest.mark.parametrize("name", FEW_VIEWS)
def test_operators(place, name):
    A, B = operator(FEW_VIEWS[name]), operator(FEW_VIEWS[name], device=place.device)
    x, y = body(), torch.rand(A.sinogram_shape, generator=torch.Generator().manual_seed(0))
    there = x.to(place.device).clone().requires_grad_()
    place.check(B(there).detach(), A(x))
    place.check(B.T(y.to(place.device)), A.T(y))
    (gradient,) = torch.autograd.grad((B(there) * y.to(place.device)).sum(), there)
    place.check(gradient, A.T(y))
    assert B.norm_squared == pytest.approx(A.norm_squared, rel=1e-4)
    mismatch = (B(there.detach()).cpu() * y).sum() - (x * B.T(y.to(place.device)).cpu()).sum()
    assert abs(float(mismatch)) < 1e-4 * float((A(x) * y).sum())


@old_name
@pytest.mark.parametrize("name", FEW_VIEWS)
def test_double_precision(place, name):
    A = projector(*FEW_VIEWS[name], device=place.device, dtype=torch.float64)
    x = body().double().to(place.device)
    y = A(x)
    assert y.dtype == torch.float64
    assert float(abs((y * y).sum() - (x * A.T(y)).sum())) < 1e-10 * float((y * y).sum())


@old_name
@pytest.mark.parametrize("name", ["fan, flat", "cone"])
def test_rays_that_were_not_measured_and_slices_that_were_added(place, name):
    """The operators of `regrid`, by the task of a scan whose object goes on outside."""
    geometry = changed(FEW_VIEWS[name], bins=14, offset_mm=0.0)
    scan = Scan(0.02 * projector(*geometry)(body()).numpy(), geometry, Noise(1e5, 0.0), 0.02)
    task = make_task(scan, scan.geometry.grid, PRIOR, place.device)
    assert task.problem.A.weights is not None
    for problem in (task.problem, task.measured, padded(task.problem, 18)):
        x = torch.ones(problem.volume_shape, device=place.device)
        left = (problem.A(x) * problem.y).sum()
        right = (x * problem.A.T(problem.y)).sum()
        assert float(left) == pytest.approx(float(right), rel=1e-4)


SLICEWISE = [name for name in FEW_VIEWS if name != "cone"]


@old_name
@pytest.mark.parametrize("name", SLICEWISE)
def test_slices_without_a_matrix(place, name):
    A, B = (DiffctProjector(FEW_VIEWS[name], device=d) for d in ("cpu", place.device))
    assert (B.how, B.slicewise) == ("diffct", True)
    x, y = body(), torch.rand(A.sinogram_shape, generator=torch.Generator().manual_seed(0))
    place.check(B(x.to(place.device)), A(x))
    place.check(B.T(y.to(place.device)), A.T(y))
    place.check(B(x[:1].to(place.device)), A(x)[:1], least=1e-6)
    left, right = (B(x.to(place.device)).cpu() * y).sum(), (x * B.T(y.to(place.device)).cpu()).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-5)
    smooth = torch.from_numpy(blob(GRID, (1.0, -2.0, 0.5), sigma=3))
    expected = projector(*FEW_VIEWS[name])(smooth)
    assert float((B(smooth.to(place.device)).cpu() - expected).norm()) < 0.06 * expected.norm()


def test_what_is_too_large_for_the_device_has_no_matrix(place, monkeypatch):
    geometry = FEW_VIEWS["parallel"]
    if place.device.type == "cuda":
        assert isinstance(projector(*geometry, device=place.device), MatrixProjector)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (10**5, 2**36))
        assert isinstance(projector(*geometry, device=place.device), DiffctProjector)


@old_name
def test_the_cone_of_the_device_is_that_of_the_cpu(place):
    """On what is smooth: Siddon's voxels have edges, Joseph's have none."""
    if place.device.type != "cpu":
        assert isinstance(projector(*BEAMS["cone"], device=place.device), DiffctProjector)
    geometry = changed(BEAMS["cone"], angles_deg=(0.0, 33.0, 200.0))
    x = torch.from_numpy(blob(GRID, (1.0, -2.0, 0.5), sigma=3))
    y = projector(*geometry)(x)
    found = projector(*geometry, device=place.device)(x.to(place.device)).cpu()
    assert float((found - y).norm()) < 0.06 * float(y.norm())


# Methods

CASES = [(name, beam) for name in ANY for beam in ("fan, curved, short", "cone")]
CASES += [("fbp", "parallel"), ("fbp", "fan, flat")]


@old_name
@pytest.mark.parametrize(("name", "beam"), CASES)
def test_methods(place, name, beam, monkeypatch):
    fewer = [dataclasses.replace(rung, pixels=rung.pixels / 24) for rung in ladder.LADDER]
    monkeypatch.setattr(ladder, "LADDER", tuple(fewer))  # larger pixels too
    monkeypatch.setattr(regrid, "projector", lambda *g, **place: operator(Geometry(*g), **place))
    method = find_method(name)(**OPTIONS.get(name, {}))
    here, there = problems(FEW_VIEWS[beam], place)
    expected, told = method(here, seed=1), []
    found = method(there, seed=1, callback=told.append)
    place.check(found, expected, times=100)
    assert found.is_inference() or not found.requires_grad
    for step in told:
        place.check(step.x0, step.x0.cpu())
        assert np.isfinite(Step(1, 1, step.x0, problem=there).volume.hu).all()


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"cgls"}))
def test_a_state_is_kept_in_a_file_and_gone_on_with(place, name, tmp_path):
    options = {key: 3 for key in OPTIONS[name] if key != "cg_steps"}
    method = find_method(name)(**options)
    _, problem = problems(FEW_VIEWS["parallel"], place)
    checkpoint = Checkpoint(tmp_path / "state", {}, seconds=0)
    whole = method(problem, seed=1, callback=lambda s: s.index == 2 and checkpoint(s))
    found = method(problem, seed=1, start=checkpoint.load())
    place.check(found, whole.cpu(), times=100)


def test_samples_and_what_is_said_of_them(place):
    here, there = problems(FEW_VIEWS["fan, curved, short"], place)
    method = find_method("diffusionblend-fast")(steps=2)
    said = []
    for problem in (here, there):
        drawn = Moments()
        list(draw_samples(method, problem, (0, 1, 2), drawn))
        plain = find_method("sbtv")(iterations=2)(problem)
        quality = assess(
            problem, drawn.mean, classical=("sbtv", plain), std=drawn.std, seeds=(0, 1, 2)
        )
        said.append(msgspec.structs.replace(quality, seconds=0.0))
    assert said[0].samples.std_hu == pytest.approx(said[1].samples.std_hu, rel=1e-2)
    assert {w.code for w in said[0].warnings} == {w.code for w in said[1].warnings}
    if place.tolerance == 0:
        assert said[0] == said[1]


@old_name
@pytest.mark.parametrize("beam", ["parallel", "cone"])
def test_a_scan(place, beam, tmp_path):
    """All from a scan to its volume, with a network, whose numbers are bfloat16 on a device."""
    geometry = FEW_VIEWS[beam]
    y = projector(*geometry)(body())
    scan = Scan(0.02 * y.numpy(), geometry, Noise(1e5, 0.0), 0.02)
    prior = save_tiny_prior(tmp_path / "prior")
    method = {"method": "diffusionblend-fast", "steps": 2, "prior": prior}
    here, there = (
        reconstruct(scan, device=d, classical=False, **method).hu for d in ("cpu", place.device)
    )
    assert np.isfinite(there).all()
    if beam == "parallel":
        assert np.linalg.norm(here - there) < 0.05 * np.linalg.norm(here)


# Networks


def on(place):
    """Stand for the accelerator: one process on a device."""
    return types.SimpleNamespace(
        device=place.device,
        num_processes=1,
        is_main_process=True,
        prepare_model=lambda network: network,
        backward=lambda loss: loss.backward(),
    )


CPU = Place(torch.device("cpu"), 0.0)
TINY = {
    "output": "run",
    "budget": {"steps": 4},
    "data": [{"path": "volumes"}],
    "crops": [{"size": 16, "batch": 2}],
    "precision": "fp32",
    "network": {"widths": [8, 16], "blocks": [1, 1]},
}


def noise_hu(*shape):
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


def trained(run, sampler, steps):
    """Train up to a step; return the losses and the run."""
    losses = []
    for step in range(run.steps, steps):
        run.step(sampler[step])
        losses.append(run.report()["loss"])
    return losses, run


def test_a_denoiser(place, tmp_path):
    prior = from_pretrained(save_tiny_prior(tmp_path / "prior"))
    x = torch.randn(2, 3, 17, 19, generator=torch.Generator().manual_seed(0))
    expected = prior.denoise(x, 0.5, 3)
    there = from_pretrained(tmp_path / "prior", place.device)
    found = there.denoise(x.to(place.device), 0.5, 3)
    place.check(found, expected, least=BFLOAT16)
    assert places(there) == {place.device.type}


def places(network):
    return {p.device.type for p in network.parameters()}


def test_training_of_a_prior_goes_on_from_the_device_on_the_cpu(place, tmp_path):
    recipe = msgspec.convert(TINY, Recipe)
    sources = [Source("noise", noise_hu(9, 20, 24), 1.0)]
    sampler = Sampler(recipe, sources)
    folders = [tmp_path / name for name in ("here", "there")]
    for folder in folders:
        folder.mkdir()

    def run(folder, where):
        return Run(recipe, folder, new_network(recipe, sources), on(where))

    expected, _ = trained(run(folders[0], CPU), sampler, 3)
    found, there = trained(run(folders[1], place), sampler, 3)
    assert found == pytest.approx(expected, rel=max(place.tolerance, 1e-6))
    assert places(there.network) == places(there.average) == {place.device.type}
    there.save({})
    went_on = [trained(run(folders[1], where), sampler, 4) for where in (CPU, place)]
    assert went_on[0][1].steps == 4
    assert went_on[0][0] == pytest.approx(went_on[1][0], rel=1e-3)


def test_validation_of_a_prior(place, tmp_path):
    (tmp_path / "volumes").mkdir()
    shutil.copy(TESTS.parent / "recipes/smoke/train/one.nii.gz", tmp_path / "volumes")
    (tmp_path / "recipe.toml").write_text(RECIPE + VALIDATION, encoding="utf-8")
    validation = Validation.read(read_recipe(tmp_path / "recipe.toml"), tmp_path)
    prior = from_pretrained(save_tiny_prior(tmp_path / "prior"))
    expected, _ = validation.measure(prior)
    found, pictures = validation.measure(prior.to(place.device))
    assert found == pytest.approx(expected, rel=2e-2)
    assert all(picture.device.type == "cpu" for picture in pictures.values())


def test_training_and_validation_of_fbp_unet(place, tmp_path):
    (tmp_path / "recipe.toml").write_text(FBP_UNET, encoding="utf-8")
    recipe = read_fbp_unet_recipe(tmp_path / "recipe.toml", ["precision=fp32"])
    sampler = SliceSampler(recipe, [Source("noise", noise_hu(9, 32, 32), 1.0)])
    known = (Scaled(8, 180.0, -0.6, 0.7), Scaled(16, 90.0, -0.6, 0.6))
    (expected, here), (found, there) = (
        trained(FBPUNetRun(recipe, tmp_path, known, on(where)), sampler, 2)
        for where in (CPU, place)
    )
    assert found == pytest.approx(expected, rel=max(10 * place.tolerance, 1e-6))
    slices = torch.rand(2, 32, 32)
    unseen = UnseenSlices(1000 * slices.numpy(), [slices, slices], recipe.acquisitions)
    a, b = (unseen.measure(run.average)[0]["score"] for run in (here, there))
    assert a == pytest.approx(b, rel=1e-2)
    there.save({})


# The device that is pretended


def refused():
    a, b = torch.ones(2, 3).to("cuda"), torch.ones(2, 3)
    at = torch.tensor([1])
    generator = torch.Generator()
    yield "a sum", lambda: a + b
    yield "a sum in place", lambda: b.add_(a)
    yield "a sum in a number here", lambda: b.sum().add_(a.sum())
    yield "a product", lambda: a @ b.T
    yield "a list", lambda: torch.cat([a, b])
    yield "an index there of what is here", lambda: b[at.to("cuda")]
    yield "an index by index_select", lambda: a.index_select(0, at)
    yield "values here put there", lambda: a.index_put_((at,), b[:1])
    yield "a function", lambda: torch.nn.functional.conv1d(a[None], b[None])
    yield (
        "noise there by a generator here",
        lambda: torch.randn(2, generator=generator, device="cuda"),
    )
    yield "an array", a.numpy
    yield "an array by NumPy", lambda: np.asarray(a)
    yield "a module", lambda: torch.nn.Linear(3, 3).to("cuda")(b)
    yield "a view", lambda: a[0].view(3) + b[0]


def allowed():
    a, b = torch.ones(2, 3).to("cuda"), torch.ones(2, 3)
    at = torch.tensor([1])
    yield "a number", lambda: a * b.sum()
    yield "what a number is asked of", lambda: torch.tensor(float(a.sum()), device="cuda")
    yield "an index here", lambda: a[at]
    yield "a mask here", lambda: a[torch.tensor([True, False])]
    yield "a copy", lambda: a.copy_(b)
    yield "what is made alike", lambda: a + torch.zeros_like(a) + a.new_ones(3) + a.new_tensor(2.0)
    yield "what is made there", lambda: a + torch.ones(3, device=a.device)
    yield (
        "what is brought there",
        lambda: a + b.to(a) + b.to(device="cuda") + b.to("cuda", torch.float64),
    )
    yield "a list of numbers", lambda: a * len(a.tolist())
    yield "what is sparse", lambda: b.to_sparse_csr().to("cuda") @ a.T
    yield "a function of Python", lambda: torch.nn.functional.interpolate(a[None], 6)
    yield "a module", lambda: torch.nn.Linear(3, 3).to(a.device)(a)


def test_what_cuda_refuses_is_refused():
    with pretended():
        for name, work in refused():
            with pytest.raises(WrongPlace):
                raise AssertionError(f"{name} is allowed: {work()}")


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_what_cuda_allows_is_there():
    with pretended():
        for name, work in allowed():
            found = work()
            assert is_there(found), name
            assert found.device == torch.device("cuda", 0), name
            assert np.isfinite(found.detach().cpu().numpy()).all(), name
    assert found.device == torch.device("cpu")


def of_eight_slices(problem):
    grid, beam = problem.A.geometry
    few = Geometry(grid.part((0, 0, 0), (8, *grid.shape[1:])), beam)
    A, y, variance = operator(few, device=problem.A.device), problem.y[:8], problem.variance[:8]
    return dataclasses.replace(problem, A=A, y=y, variance=variance)


def stays(function):
    """Let what a function returns stay on the CPU."""
    return lambda *a, **k: function(*a, **k).cpu()


@pytest.mark.parametrize(
    ("where", "method"),
    [
        ("methods.predictor_corrector.normal_like", "tpdm"),  # noise
        ("solvers.preconditioners.constant", "diffusionblend-fast"),  # of a filter
        ("solvers.preconditioners.frequency_response", "diffusionblend-fast"),
        ("methods.iterative._inverse", "sirt"),  # weights
        ("methods.fbp.cover", "fbp"),
        ("methods.fbp.ramp_filter", "fbp"),
        ("methods.regrid.pad_slices", "diffusionblend++"),  # data
        ("solvers.consistency.differences", "sbtv"),  # a variable
        ("solvers.penalised.differences", "tv"),
    ],
)
def test_a_fault_that_is_planted_is_found(where, method, monkeypatch):
    module, name = f"diffusionblend.{where}".rsplit(".", 1)
    function = getattr(sys.modules[module], name)
    with pretended() as device:
        _, problem = problems(FEW_VIEWS["fan, curved, short"], Place(device, 0.0))
        problem = of_eight_slices(problem)  # a ninth is added
        run = find_method(method)(**OPTIONS.get(method, {}))
        run(problem)
        monkeypatch.setattr(sys.modules[module], name, stays(function))
        with pytest.raises(WrongPlace):
            run(problem)


def test_a_volume_that_was_not_brought_back_is_found(monkeypatch):
    scan = Scan(
        0.02 * projector(*FEW_VIEWS["parallel"])(body()).numpy(), FEW_VIEWS["parallel"],
        Noise(None, 0.0), 0.02,
    )  # fmt: skip
    with pretended() as device:
        reconstruct(scan, "fbp", device=device)
        monkeypatch.setattr(torch.Tensor, "cpu", lambda self: self)
        with pytest.raises(WrongPlace, match=r"expected `\.cpu\(\)` before it"):
            reconstruct(scan, "fbp", device=device)


# The kernels of diffct


@old_name
def test_the_kernels_in_the_simulator():
    pytest.importorskip("diffct")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "support.simulated"],
        env=os.environ
        | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    beams = json.loads(ended.stdout)
    assert list(beams) == ["parallel", "fan, flat", "fan, curved", "cone"]
    for found in beams.values():
        assert found["backend"] == "numba"
        assert found["places"] == ["cuda:0"]
        assert found["mismatch"] < 1e-6
        assert found["torch"] < 1e-6
        assert found["forward"] < 0.15  # Siddon's voxels have edges, and these are few
