"""Stacks of slices in files: values, slices beside a slab, rows of all slices, a full disk."""

import errno
import os

import numpy as np
import pytest
import torch

from diffusionblend.errors import OutputError
from diffusionblend.io.stacks import WHOLE, Slabs, Stored, first_of, of_slices, total

X = torch.randn(11, 6, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[1, 3, 4, 11, 50])
def slabs(request, tmp_path):
    return Slabs(request.param, tmp_path)


def stored(x, folder):
    return Slabs(2, folder).each(lambda x: x, x)


def test_a_stored_stack_is_read_and_written_as_a_tensor_is(tmp_path):
    stack = stored(X, tmp_path)
    assert isinstance(stack, Stored)
    assert (len(stack), stack.shape) == (11, X.shape)
    groups = torch.tensor([[0, 3, 6], [10, 1, 2]])
    for index in (slice(None), slice(2, 7), 4, (slice(None), slice(1, 3)), groups):
        assert torch.equal(stack[index], X[index])
    stack[groups[1]] = 2 * X[groups[1]]
    assert torch.equal(stack[10], 2 * X[10])
    assert torch.equal(first_of(stack, 1)[:], X[:1])


def test_its_file_has_no_name_and_what_is_read_is_a_copy(tmp_path):
    stack = stored(X, tmp_path)
    assert not list(tmp_path.iterdir())
    part = stack[:2]
    part.zero_()
    assert torch.equal(stack[:2], X[:2])


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"the disk is full; free some space"):
        stored(X, tmp_path)


def test_each_slice_is_the_same_for_any_slab(slabs):
    def work(x, y):
        return x.exp() * y, of_slices(x)

    y = stored(X.square(), slabs.folder)
    for made, expected in zip(slabs.each(work, X, y), work(X, X.square()), strict=True):
        assert torch.equal(made[:], expected)


def test_slices_beside_a_slab_decide_as_in_one_piece(slabs):
    def differences(x):
        padded = torch.cat([x[:1], x, x[-1:]])
        return padded[2:] - padded[:-2]

    assert torch.equal(slabs.each(differences, X, beside=1)[:], differences(X))


def test_all_slices_of_some_rows_are_the_same_for_any_slab(slabs):
    def work(x, row):
        return x.cumsum(0) * row

    expected = X.cumsum(0) * torch.arange(6)[:, None]
    assert torch.equal(slabs.across(work, stored(X, slabs.folder))[:], expected)
    assert torch.equal(WHOLE.across(work, X), expected)


def test_what_is_gathered_lies_in_memory_as_that_of_one_piece(slabs):
    """Slices last, as a projector's line integrals: sums over all of them depend on it."""

    def work(x):
        return x.permute(1, 2, 0).contiguous().permute(2, 0, 1)

    found = slabs.gathered(work, stored(X, slabs.folder))
    assert torch.equal(found, X)
    assert found.stride() == work(X).stride()


def test_sums_depend_on_neither_the_slab_nor_the_order_in_memory(slabs):
    y = X.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    whole = WHOLE.inner(X, y)
    assert slabs.inner(stored(X, slabs.folder), y) == whole
    assert whole == pytest.approx(float(X.double().square().sum()))
    assert total(of_slices(X)) == pytest.approx(float(X.double().sum()))


def test_a_mapped_volume_lives_longer_than_its_stack(tmp_path):
    values = stored(X, tmp_path).mapped()
    assert np.array_equal(values, X.numpy())
