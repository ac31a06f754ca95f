"""The cone beam's projectors: adjoints, the fan in the middle, threads, and what may be missing."""

import sys
from unittest import mock

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionblend.errors import UsageError
from diffusionblend.geometry import ConeBeam, FanBeam, Geometry, Grid
from diffusionblend.geometry.acquisitions import cone_beam
from diffusionblend.machine.device import threads
from diffusionblend.projectors import projector
from diffusionblend.projectors.compiled import compiled
from diffusionblend.simulation.strip import strip_project
from support.adjoints import TOLERANCE, mismatch
from support.phantoms import beams, blob, changed, placed, relative
from support.projected import noise

GRID = Grid.from_spacing((7, 20, 26), (2.2, 1.4, 1.4))
PLAIN = placed(cone_beam, GRID, (0.0, 45.0, 100.0, 215.0), sod_mm=60, sdd_mm=100)
CONES = {n: b for n, b in beams(GRID).items() if isinstance(b.beam, ConeBeam)} | {
    "wide cone": PLAIN,
    "one row": changed(PLAIN, rows=1, row_offset_mm=3.0),
    "rows finer than slices": changed(PLAIN, rows=90, row_mm=0.3),
    "rows coarser than slices": changed(PLAIN, rows=3, row_mm=9.0),
    "rows beside the volume": changed(PLAIN, rows=4, row_offset_mm=9.0),
    "source near the corners": placed(cone_beam, GRID, (37.5, 217.5), sod_mm=23, sdd_mm=23),
    "one slice": placed(
        cone_beam, Grid.from_spacing((1, 9, 8)), (20.0, 200.0), sod_mm=20, sdd_mm=30
    ),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CONES)
def test_adjoint(name, dtype):
    A = projector(*CONES[name], dtype=dtype)
    assert mismatch(A, dtype) < TOLERANCE[dtype]
    assert A(noise(A.volume_shape, dtype)).dtype == dtype


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_adjoint_of_any_cone(data):
    def draw(low, high):
        return data.draw(st.floats(low, high))

    shape = data.draw(st.tuples(*3 * [st.integers(1, 9)]))
    grid = Grid.from_spacing(shape, (draw(0.3, 4), 1.0, 1.0))
    sod = np.hypot(*shape[1:]) / 2 + draw(1e-3, 50)
    views = draw(-720, 720), draw(-720, 720)
    geometry = changed(
        placed(cone_beam, grid, views, sod_mm=sod, sdd_mm=sod + draw(0, 50)),
        rows=data.draw(st.integers(1, 20)),
        offset_mm=draw(-5, 5),
        row_offset_mm=draw(-5, 5),
        axis_mm=draw(-5, 5),
    )
    A = projector(*geometry, dtype=torch.float64)
    x, y = noise(A.volume_shape), noise(A.sinogram_shape, seed=1)
    assert float(abs((A(x) * y).sum() - (x * A.T(y)).sum())) < 1e-9


@pytest.mark.parametrize("name", ["offset_mm", "row_offset_mm", "axis_mm"])
@pytest.mark.parametrize("far", [1e6, -1e9, 1e18, -1e30])
def test_what_is_far_beside_the_volume_sees_nothing_of_it(name, far):
    A = projector(*changed(PLAIN, **{name: far}))
    assert not A(torch.ones(A.volume_shape)).any()
    assert not A.T(torch.ones(A.sinogram_shape)).any()


def test_rows_from_far_below_lose_no_digits():
    """The same rows, in a detector that begins a hundred thousand of them below."""
    few, many = PLAIN.beam.rows, 100_000
    tall = changed(PLAIN, bins=2, rows=few + 2 * many, angles_deg=(33.0,))
    x = noise(GRID.shape, torch.float32)
    ours = projector(*tall)(x)[many : many + few]
    expected = projector(*changed(PLAIN, bins=2, angles_deg=(33.0,)))(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_the_projector_is_linear_and_zero_gives_zero():
    A = projector(*PLAIN, dtype=torch.float64)
    x, z = noise(A.volume_shape), noise(A.volume_shape, seed=1)
    torch.testing.assert_close(A(2 * x - 3 * z), 2 * A(x) - 3 * A(z))
    assert not A(torch.zeros_like(x)).any()
    assert not A.T(torch.zeros(A.sinogram_shape, dtype=torch.float64)).any()


def test_gradients_are_those_of_the_transpose():
    grid = Grid.from_spacing((3, 4, 5), (1.5, 1.0, 1.0))
    A = projector(*placed(cone_beam, grid, (20.0, 200.0), sod_mm=9, sdd_mm=14), dtype=torch.float64)
    x = noise(A.volume_shape).requires_grad_()
    y = noise(A.sinogram_shape).requires_grad_()
    assert torch.autograd.gradcheck(A, x)
    assert torch.autograd.gradcheck(A.T, y)
    assert torch.autograd.gradgradcheck(A, x)
    (gradient,) = torch.autograd.grad(A(x).square().sum(), x)
    torch.testing.assert_close(gradient, 2 * A.T(A(x)))


def test_norm_is_the_largest_eigenvalue():
    grid = Grid.from_spacing((3, 5, 4))
    A = projector(*placed(cone_beam, grid, (0.0, 50.0), sod_mm=9, sdd_mm=14), dtype=torch.float64)
    units = torch.eye(60, dtype=torch.float64).view(60, 3, 5, 4)
    dense = torch.stack([A(u).flatten() for u in units])
    assert A.norm_squared == pytest.approx(float(torch.linalg.eigvalsh(dense @ dense.T)[-1]), 1e-3)


def test_any_layout_in_memory_and_any_number_of_threads_give_the_same_bytes():
    A = projector(*PLAIN)
    x, y = noise(A.volume_shape, torch.float32), noise(A.sinogram_shape, torch.float32)
    ax, aty = A(x), A.T(y)
    assert torch.equal(A(x.permute(1, 2, 0).contiguous().permute(2, 0, 1)), ax)
    for number in (1, 3, 40):
        with threads(number):
            assert torch.equal(A(x), ax)
            assert torch.equal(A.T(y), aty)


def test_wrong_shapes_are_named():
    A = projector(*PLAIN)
    with pytest.raises(ValueError, match=r"expected \(7, 20, 26\) \(slices, rows, columns\)"):
        A(torch.zeros(6, 20, 26))
    with pytest.raises(ValueError, match=r"got the shape \(1, 4, 3\); expected"):
        A.T(torch.zeros(1, 4, 3))


def fan_in_the_middle(cone):
    kept = ("angles_deg", "bins", "bin_mm", "offset_mm", "sod_mm", "sdd_mm", "axis_mm")
    return Geometry(cone.grid, FanBeam(**{name: getattr(cone.beam, name) for name in kept}))


@pytest.mark.parametrize("shifts", [{}, {"offset_mm": 4.4, "axis_mm": -3.1}])
def test_the_middle_of_a_cone_is_a_fan(shifts):
    """By the same weights, and by strips in rows so low that they are level."""
    cone = changed(PLAIN, rows=1, row_mm=1e-3, **shifts)
    x = noise(GRID.shape)
    middle = GRID.shape[0] // 2
    ours = projector(*cone, dtype=torch.float64)(x)
    fan = projector(*fan_in_the_middle(cone), dtype=torch.float64)(x)[middle]
    torch.testing.assert_close(ours[0], fan, rtol=0, atol=1e-12)
    ours, fan = (
        strip_project(x.numpy(), *g)[i] for g, i in ((cone, 0), (fan_in_the_middle(cone), 3))
    )
    np.testing.assert_allclose(ours, fan, rtol=1e-5, atol=1e-5)


def test_a_flat_cone_from_far_away_sees_each_slice():
    far = changed(PLAIN, rows=7, row_mm=2.2, bin_mm=1.4, sod_mm=1e8, sdd_mm=1e8)
    x = noise(GRID.shape)
    ours = projector(*far, dtype=torch.float64)(x)
    fan = projector(*fan_in_the_middle(far), dtype=torch.float64)(x)
    torch.testing.assert_close(ours, fan, rtol=0, atol=1e-4)


# Packages that may be missing


@pytest.fixture
def _forgotten():
    """Let the modules that need numba be imported anew."""
    ours = [f"diffusionblend.projectors.{name}" for name in ("compiled", "cone", "cone_kernels")]
    ours.append("diffusionblend.simulation.strip_cone")
    kept = {name: module for name, module in sys.modules.items() if name not in ours}
    with mock.patch.dict(sys.modules, kept | {"numba": None}, clear=True):
        yield


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize(
    "project",
    [projector, lambda grid, cone: strip_project(np.zeros(grid.shape, np.float32), grid, cone)],
)
def test_without_numba_the_extra_is_named(project):
    with pytest.raises(UsageError, match=r"numba; run `pip install 'numba>=[\d.]+'`"):
        project(*PLAIN)


def test_without_diffct_the_extra_is_named():
    missing = mock.patch.dict(sys.modules, {"diffct": None})
    with missing, pytest.raises(UsageError, match=r"pip install 'diffct>=.*`device='cpu'`"):
        projector(*PLAIN, device=torch.device("meta"))


def test_loops_are_compiled_where_no_folder_can_keep_them(monkeypatch):
    real = numba.njit

    def read_only(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", read_only)
    assert compiled(lambda x: x + 1)(1) == 2


# On a GPU, by diffct; here by its slow version for the CPU


@pytest.fixture
def on_gpu():
    pytest.importorskip("diffct")
    from diffusionblend.projectors.diffct import DiffctProjector

    return lambda geometry, dtype=torch.float32: DiffctProjector(
        geometry, device="cpu", dtype=dtype
    )


old_name = pytest.mark.filterwarnings("ignore:Importing from 'diffct:DeprecationWarning")


@old_name
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["cone", "cone, both offsets", "cone, axis shifted"])
def test_diffct_agrees_with_our_own(on_gpu, name, dtype):
    """On what is smooth: Siddon's voxels have edges, Joseph's have none."""
    grid = Grid.from_spacing((20, 32, 36), (2.2, 1.4, 1.4))
    geometry = changed(beams(grid)[name], angles_deg=(0.0, 33.0, 200.0))
    A, B = projector(*geometry, dtype=dtype), on_gpu(geometry, dtype)
    x = torch.from_numpy(blob(grid, (4.0, -5.0, 1.0), sigma=3)).to(dtype)
    assert relative(B(x), A(x)) < 0.06
    assert B(x).dtype == dtype
    assert mismatch(B, dtype) < TOLERANCE[dtype]


@old_name
def test_diffct_follows_rays_behind_the_detector_as_ours(on_gpu):
    near, far = (on_gpu(changed(PLAIN, **farther(PLAIN, f))) for f in (0.6, 2.0))
    x = noise(GRID.shape, torch.float32)
    torch.testing.assert_close(near(x), far(x), rtol=0, atol=1e-3)


def farther(geometry, factor):
    """The same rays to a detector elsewhere."""
    names = ("sdd_mm", "bin_mm", "row_mm", "offset_mm", "row_offset_mm")
    return {name: factor * getattr(geometry.beam, name) for name in names}


@pytest.mark.parametrize("factor", [0.6, 3.0])
def test_a_detector_elsewhere_in_the_same_cone_sees_the_same(factor):
    geometry = changed(PLAIN, offset_mm=3.0, row_offset_mm=-4.0, axis_mm=2.0)
    x = noise(GRID.shape)
    ours, theirs = (
        projector(*g, dtype=torch.float64)(x)
        for g in (geometry, changed(geometry, **farther(geometry, factor)))
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
