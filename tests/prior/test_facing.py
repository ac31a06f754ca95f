"""Bodies whose rows begin at the back are shown to a prior with their front first."""

import itertools

import nibabel
import numpy as np
import pytest
import torch

from diffusionblend.data.volume import Volume
from diffusionblend.errors import PriorError
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.io.find import Candidate
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.methods.problem import Problem
from diffusionblend.prior.facing import FrontFirst, begins_at_back, front_first
from diffusionblend.projectors import projector
from diffusionblend.training.cache import Cache
from diffusionblend.training.pack import read_pack, write_packs
from diffusionblend.training.samples import Source

BACK = Grid.from_spacing((3, 8, 6), (2.0, 1.0, 1.0))
FRONT = BACK.reversed((1,))


class TopRowsBrighter:
    """Adds its number to each row: what is upside down gets other values."""

    def denoise(self, x, sigma, gap, plane="axial", scale=1):
        rows = torch.arange(x.shape[-2], dtype=x.dtype)[:, None]
        return x + rows * scale


def problem(grid, prior):
    beam = parallel_beam(grid, sparse_view(4))
    A = projector(grid, beam)
    return Problem(torch.zeros(Geometry(grid, beam).sinogram_shape), A, prior)


def test_where_rows_begin_follows_from_the_affine():
    assert begins_at_back(BACK)
    assert not begins_at_back(FRONT)
    across = np.diag([1.0, 1.0, 1.0, 1.0])[[1, 0, 2, 3]]
    assert not begins_at_back(Grid.from_affine((3, 8, 6), across))  # rows run from side to side


ORDERS = itertools.permutations(range(3))
WAYS = [(order, signs) for order in ORDERS for signs in itertools.product((1, -1), repeat=3)]


@pytest.mark.parametrize(("order", "signs"), WAYS)
def test_a_body_is_shown_front_first_however_its_file_runs(tmp_path, order, signs):
    """In all 48 orders and directions of the axes, the first row is that of the front."""
    front_to_back = -np.arange(8.0)[None, ::-1, None]  # x, y and z to the right, front and head
    hu = np.broadcast_to(100 * front_to_back - 300, (6, 8, 3)).astype(np.int16)
    ways = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)], float)
    image = nibabel.Nifti1Image(hu, np.diag([1.0, 1.0, 2.0, 1.0])).as_reoriented(ways)
    nibabel.save(image, tmp_path / "v.nii")
    shown = front_first(read_volume(tmp_path / "v.nii"))
    assert shown.hu.shape == (3, 8, 6)
    assert np.array_equal(shown.hu[0, :, 0], hu[0, ::-1, 0])
    assert not begins_at_back(shown.grid)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_body_and_its_mirror_image_are_denoised_alike(scale):
    prior = TopRowsBrighter()
    x = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    front = problem(FRONT, prior).required_prior.denoise(x, 1.0, 1, scale=scale)
    back = problem(BACK, prior).required_prior.denoise(x.flip(-2), 1.0, 1, scale=scale)
    assert torch.equal(back.flip(-2), front)
    assert problem(FRONT, prior).required_prior.prior is prior


def test_coronal_slices_have_no_front():
    x = torch.zeros(1, 3, 4, 4)
    prior = TopRowsBrighter()
    assert torch.equal(FrontFirst(prior).denoise(x, 1.0, 0, "coronal"), prior.denoise(x, 1.0, 0))


class Answers:
    """Gives what a function makes of slices, as a student's first prior may."""

    def __init__(self, answer):
        self.answer = answer

    def denoise(self, x, sigma, gap):
        return self.answer(x)


WRONG = {
    "the middle slice alone": (lambda x: x[:, 1:2], "a Tensor of the shape (2, 1, 8, 6)"),
    "one group": (lambda x: x[:1], "a Tensor of the shape (1, 3, 8, 6)"),
    "rows and columns": (lambda x: x.mT, "a Tensor of the shape (2, 3, 6, 8)"),
    "an array": (lambda x: x.numpy(), "a ndarray of the shape (2, 3, 8, 6)"),
    "nothing": (lambda x: None, "a NoneType"),
    "with its gradient": (lambda x: (x, x), "a tuple"),
}


@pytest.mark.parametrize("grid", [FRONT, BACK], ids=["front", "back"])
@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_of_another_shape_is_refused(grid, wrong):
    """Spread over all groups, one of them would be a wrong picture without a word."""
    answer, words = WRONG[wrong]
    prior = problem(grid, Answers(answer)).required_prior
    with pytest.raises(PriorError, match=r"Answers.denoise returned a .* \(2, 3, 8, 6\)") as told:
        prior.denoise(torch.zeros(2, 3, 8, 6), 1.0, 1)
    assert words in str(told.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_answer_of_another_type_becomes_that_of_the_slices(dtype):
    prior = problem(BACK, Answers(lambda x: x.to(dtype))).required_prior
    x = torch.arange(96.0).reshape(1, 2, 8, 6)
    clean = prior.denoise(x, 1.0, 1)
    assert clean.dtype == x.dtype
    assert torch.equal(clean, x)


def test_training_sees_bodies_as_a_reconstruction_shows_them(tmp_path):
    hu = 8 * np.arange(3 * 8 * 6, dtype=np.float32).reshape(3, 8, 6) - 1000
    front = Volume(hu, FRONT)
    back = Volume(np.ascontiguousarray(hu[:, ::-1]), BACK)
    assert front_first(front) is front
    np.testing.assert_array_equal(front_first(back).hu, hu)
    assert front_first(back).grid.close_to(FRONT)
    cache = Cache(tmp_path / "cache", (-1000, 3071))
    for name, volume in (("front", front), ("back", back)):
        path = tmp_path / f"{name}.nii.gz"
        write_volume(volume, path)
        entry = cache.entry(Candidate(path.name, (path,)))
        np.testing.assert_array_equal(cache.voxels(entry), hu)


def test_a_pack_is_read_as_it_was_written(tmp_path):
    hu = np.arange(3 * 8 * 6, dtype=np.int16).reshape(3, 8, 6)
    write_packs([Source("a", hu, 1.0)], tmp_path / "p.h5")
    (packed,) = read_pack(tmp_path / "p.h5")
    np.testing.assert_array_equal(front_first(packed.read()).hu, hu)
