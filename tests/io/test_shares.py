"""Stacks that several processes hold: to the bytes of one, whatever their number."""

import dataclasses

import numpy as np
import pytest
import torch

from diffusionblend.errors import OutputError
from diffusionblend.io.shares import Divided, Shares
from diffusionblend.io.stacks import WHOLE, of_slices
from support.processes import by_threads

SLICES, COUNTS = 40, (2, 3, 4)


def stack(seed=0, slices=SLICES, dtype=torch.float32):
    return torch.randn(slices, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(params=COUNTS)
def shared(request, tmp_path):
    """A function of shares, done by several processes; all of them return the same."""

    def do(work):
        def whole(processes):
            made = work(Shares(folder=tmp_path, processes=processes, together=9))
            return made[:] if isinstance(made, Divided) else made

        first, *others = by_threads(request.param, whole)
        assert all(torch.equal(first, other) for other in others)
        return first

    return do


def test_ranges_begin_with_a_block_and_do_not_move_where_slices_are_repeated():
    for count in COUNTS:
        shares = Shares(processes=dataclasses.replace(Shares().processes, count=count), together=9)
        for slices in (37, 40, 45):
            ranges = shares.ranges(slices)
            assert [s for r in ranges for s in r] == [*range(slices)]
            assert all(r.start % 9 == 0 for r in ranges)
            assert [r.start for r in ranges] == [r.start for r in shares.ranges(45)]
            assert all(ranges)


def test_each_slice_sees_those_beside_it(shared):
    def mean_of_three(x):
        return torch.nn.functional.pad(x, (0, 0, 0, 0, 1, 1)).unfold(0, 3, 1).mean(-1)

    x, y = stack(1), stack(2)

    def work(slabs):
        divided = slabs.each(lambda x, y: x - y, x, y)
        return slabs.each(mean_of_three, divided, beside=1)

    assert torch.equal(shared(work), work(WHOLE))


def test_numbers_of_slices_are_those_of_all(shared):
    def work(slabs):
        divided = slabs.each(torch.clone, stack())
        return slabs.each(lambda x: (x + 1, of_slices(x)), divided)[1]

    assert torch.equal(shared(work), of_slices(stack()))


def test_what_is_gathered_lies_in_memory_as_that_of_one(shared):
    found = shared(lambda slabs: slabs.gathered(lambda x: 2 * x, slabs.each(torch.clone, stack())))
    assert torch.equal(found, 2 * stack())
    assert found.stride(0) == 1


def test_rows_go_across_the_slices(shared):
    def work(slabs):
        forward = slabs.each(torch.fft.rfft2, stack())
        return slabs.across(lambda row, k: (k + 1) * torch.fft.fft(row, dim=0), forward)

    assert torch.equal(shared(work), work(WHOLE))


def test_groups_are_seen_together_in_the_same_batches(shared):
    groups = torch.arange(SLICES - 1)[torch.randperm(SLICES - 1)].view(-1, 3)
    groups = torch.cat([groups, torch.tensor([[37, 38, 39]])])
    keep = torch.ones_like(groups, dtype=torch.bool)
    keep[-1, :2] = False
    batches = [*zip(groups.split(4), keep.split(4), strict=True)]

    def work(slabs):
        divided = slabs.each(torch.clone, stack())
        return slabs.regrouped(lambda g: g.cumsum(1) / len(g), divided, batches)

    assert torch.equal(shared(work), work(WHOLE))


def test_a_slice_has_its_noise_whoever_holds_it(shared):
    def work(slabs):
        generator = torch.Generator().manual_seed(3)
        made = slabs.drawn(lambda noise, x: x + noise, generator, stack())
        after = torch.randn(4, generator=generator)
        return slabs.each(lambda x: x + after, made)

    assert torch.equal(shared(work), work(WHOLE))


@pytest.mark.parametrize("index", [3, slice(5, 30, 4), torch.tensor([39, 0, 0, 17]), ...])
def test_slices_are_read_as_those_of_a_tensor(index, shared):
    assert torch.equal(
        shared(lambda slabs: slabs.each(torch.clone, stack())[index]), stack()[index]
    )


def test_the_first_slices_and_some_of_them(shared):
    at = torch.tensor([0, 3, 3, *range(3, 39), 39, 39, 39, 39, 39, 39])

    def work(slabs):
        divided = slabs.taken(slabs.each(torch.clone, stack()), at)
        return divided.first(39) if slabs is not WHOLE else divided[:39]

    assert torch.equal(shared(work), work(WHOLE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool])
def test_the_first_process_has_all_values_in_a_file(dtype, tmp_path):
    values = stack().to(dtype)

    def work(processes):
        shares = Shares(folder=tmp_path, processes=processes, together=9)
        return shares.own(values).mapped()

    first, *others = by_threads(3, work)
    assert np.array_equal(first, values.numpy())
    assert not any(other.any() for other in others)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_of_the_first_process_is_told_by_all(tmp_path):
    def work(processes):
        shares = Shares(folder=tmp_path / "none", processes=processes, together=9)
        with pytest.raises(OutputError, match="cannot be written"):
            shares.own(stack()).mapped()

    by_threads(2, work)
