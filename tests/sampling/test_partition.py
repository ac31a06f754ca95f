"""Partitions and blending: every slice once, and the identity is the identity."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusionblend.errors import InvalidValue
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import (
    adjacent,
    cross,
    draw_partition,
    pad_slices,
    whole_blocks,
)


def covers_once(partition, slices):
    return sorted(partition.groups[partition.keep].tolist()) == list(range(slices))


@pytest.mark.parametrize("slices", range(3, 601))
def test_adjacent_partitions_cover_every_slice_once(slices):
    for offset in range(3):
        partition = adjacent(slices, offset)
        assert covers_once(partition, slices)
        assert (partition.groups.diff(dim=1) == partition.gap).all()
        assert partition.groups.min() >= 0
        assert partition.groups.max() < slices


@pytest.mark.parametrize("slices", range(1, 601))
def test_volumes_are_padded_to_blocks_of_nine(slices):
    padded = whole_blocks(slices)
    assert padded % 9 == 0
    assert 0 <= padded - slices < 9


@pytest.mark.parametrize("slices", [*range(9, 64), 599, 600])
def test_cross_partitions_cover_every_slice_once_wherever_their_blocks_begin(slices):
    for offset in range(9):
        partition = cross(slices, offset)
        assert covers_once(partition, slices)
        assert partition.keep.any(dim=1).all()  # nothing is evaluated in vain
        assert (partition.groups.diff(dim=1) == 3).all()
        assert partition.groups.min() >= 0
        assert partition.groups.max() < slices


def test_cross_partition_is_that_of_the_paper():
    assert cross(18).groups.tolist() == [
        [0, 3, 6], [1, 4, 7], [2, 5, 8], [9, 12, 15], [10, 13, 16], [11, 14, 17],
    ]  # fmt: skip
    with pytest.raises(InvalidValue, match="at least 9"):
        cross(8)


def test_blocks_from_an_offset_join_what_the_blocks_of_the_paper_part():
    partition = cross(18, offset=4)
    kept = {
        tuple(g.tolist()): g[k].tolist()
        for g, k in zip(partition.groups, partition.keep, strict=True)
    }
    assert kept[4, 7, 10] == [4, 7, 10]  # slices 0 to 8 with 9 to 17
    assert kept[0, 3, 6] == [0, 3]  # the ends as those of adjacent groups
    assert kept[11, 14, 17] == [14, 17]
    assert len(kept) == 9


def test_ends_come_from_the_end_groups_without_a_wrap():
    """Offset 1 keeps slice 0 of the first three, and the last two of the last three."""
    partition = adjacent(9, 1)
    kept = {
        tuple(g.tolist()): g[k].tolist()
        for g, k in zip(partition.groups, partition.keep, strict=True)
    }
    assert kept[0, 1, 2] == [0]
    assert kept[6, 7, 8] == [7, 8]
    assert kept[1, 2, 3] == [1, 2, 3]
    assert len(adjacent(9, 0).groups) == 3  # nothing is evaluated in vain


def test_padding_repeats_the_last_slice():
    x = torch.arange(4.0)[:, None]
    assert pad_slices(x, 9).flatten().tolist() == [0, 1, 2, 3, 3, 3, 3, 3, 3]


def test_cross_and_adjacent_alternate_and_offsets_are_all_drawn():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_partition(18, step, 2, generator) for step in range(40)]
    assert [p.gap for p in drawn] == [3, 1] * 20
    assert {int(p.groups[-1, 0]) % 3 for p in drawn if p.gap == 1} == {0, 1, 2}
    assert [draw_partition(18, s, 8, generator).gap for s in range(9)] == [3, *[1] * 7, 3]


def test_blocks_begin_at_any_slice_where_that_is_asked_for():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_partition(27, 0, 2, generator, random_blocks=True) for _ in range(99)]
    offsets = {
        next(o for o in range(9) if torch.equal(p.groups, cross(27, o).groups)) for p in drawn
    }
    assert offsets == set(range(9))
    assert torch.equal(draw_partition(27, 0, 2, generator).groups, cross(27).groups)
    before = generator.get_state()
    assert draw_partition(9, 0, 2, generator, random_blocks=True).gap == 3
    assert torch.equal(generator.get_state(), before)  # one block has one place


@given(st.integers(9, 40), st.integers(0, 8), st.integers(1, 20), st.booleans())
def test_blending_the_identity_is_the_identity(slices, offset, batch_size, crossing):
    partition = cross(slices, offset) if crossing else adjacent(slices, offset % 3)
    x = torch.randn(slices, 2, 3)
    assert torch.equal(blend(lambda groups: groups, x, partition, batch_size), x)


@given(st.integers(1, 20))
def test_batch_size_does_not_change_a_blend(batch_size):
    x = torch.randn(18, 2, 3, generator=torch.Generator().manual_seed(0))
    partition = adjacent(18, 2)

    def mean_of_group(groups):
        return groups.mean(dim=1, keepdim=True).expand_as(groups)

    whole = blend(mean_of_group, x, partition, 100)
    assert torch.equal(blend(mean_of_group, x, partition, batch_size), whole)


def spread_after(sweeps, seed, **options):
    """Of slices that differ, when each becomes the mean of those that it is seen with."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1, 27)
    for step in range(sweeps):
        S = draw_partition(len(x), step, 2, generator, **options)
        x = blend(lambda g: g.mean(dim=1, keepdim=True).expand_as(g), x[:, None], S, 99)[:, 0]
    return float(x.std())


def test_blocks_agree_sooner_when_they_move():
    fixed, moving = (
        statistics.mean(spread_after(40, seed, random_blocks=moves) for seed in range(20))
        for moves in (False, True)
    )
    assert moving < fixed / 3
