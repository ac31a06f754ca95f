"""Stacks of slices that several processes hold, each a range of them.

`Shares` does what `Slabs` does, so that methods go through the same steps, to the same bytes: each
process works on the slices of its range, and asks others for those beside it. What is in the memory
of every process, such as line integrals, stays so: all of them do the same with it.

A range begins with a block of slices that are not divided, nine for DiffusionBlend: no group of the
paper's cross partitions lies in two ranges, and few of those from a random offset do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from diffusionblend.data.arrays import PART_BYTES
from diffusionblend.errors import OutputError
from diffusionblend.io.stacks import Elsewhere, Slabs, Stack, Stored, normal
from diffusionblend.machine.processes import ALONE, Processes

_DRAWN = 16
"""torch draws normal numbers by sixteens: so many slices are drawn at a time."""


class Divided(Elsewhere):
    """A stack; each process holds its range of it.

    What it does, all processes do together.

    Args:
        shares: Who holds what.
        slices: How many there are.
        local: Those of this process.
    """

    def __init__(self, shares: "Shares", slices: int, local: Tensor) -> None:
        self._shares, self.local = shares, local
        self.shape = (slices, *local.shape[1:])

    def __getitem__(self, index: Any) -> Tensor:  # noqa: ANN401 - as of a tensor
        """Return slices, the same in all processes, by an index of slices alone."""
        index = index.cpu().numpy() if isinstance(index, Tensor) else index
        wanted = np.arange(len(self))[index]
        flat = np.atleast_1d(wanted)
        found = self._shares.moved(self, [flat] * self._shares.processes.count)
        return found if wanted.ndim else found[0]

    def first(self, count: int) -> Self:
        """Return the first slices: no fewer than to the last block."""
        own = self._shares.ranges(count)[self._shares.processes.rank]
        return type(self)(self._shares, count, self.local[: len(own)])

    def mapped(self, mode: Literal["r", "r+"] = "r") -> np.ndarray:
        """Return its values, in a file, in the process that leads; zeros in the others."""
        place = self._place()
        few = max(1, PART_BYTES // max(1, self.local[:1].nbytes))
        nothing = [np.arange(0)] * (self._shares.processes.count - 1)
        for first in range(0, len(self), few):
            part = np.arange(first, min(len(self), first + few))
            some = self._shares.moved(self, [part, *nothing])
            if place is not None:
                place[first : first + few] = some.cpu()
        return np.broadcast_to(np.float32(0), self.shape) if place is None else place.mapped(mode)

    def _place(self) -> Stored | None:
        """Return a file for all slices, in the process that leads."""
        processes, failure, place = self._shares.processes, "", None
        if processes.leads:
            kind = torch.empty(0, dtype=self.local.dtype).numpy().dtype
            try:
                place = Stored(self._shares.folder, self.shape, kind)
            except OutputError as error:
                failure = str(error)
        if failure := processes.agreed(failure):
            raise OutputError(failure)
        return place


@dataclass(frozen=True)
class Shares(Slabs):
    """Which process holds which slices, and how these are worked on; see `Slabs`.

    Attributes:
        processes: They, as this one sees them.
        together: Slices of a block, which is not divided.
    """

    processes: Processes = ALONE
    together: int = 1

    def ranges(self, slices: int) -> list[range]:
        """Return the slices of each process."""
        blocks, count = -(-slices // self.together), self.processes.count
        ends = [min(slices, self.together * (blocks * k // count)) for k in range(count + 1)]
        return [range(*pair) for pair in pairwise(ends)]

    def moved(self, stack: Divided, wanted: Sequence[np.ndarray]) -> Tensor:
        """Return the slices that this process wants, of any.

        Args:
            stack: The stack.
            wanted: The numbers of the slices that each process wants.
        """
        return self._brought(stack.local, [np.array(r) for r in self.ranges(len(stack))], wanted)

    def each(self, work: Callable[..., Any], *stacks: Stack, beside: int = 0) -> Any:  # noqa: ANN401
        """Apply a function to all slices of stacks: in each process to its own.

        Returns:
            What `work` returns, divided. One number for each slice is in every process.
        """
        count = len(stacks[0])
        ranges = self.ranges(count)
        wide = [range(max(0, r.start - beside), min(count, r.stop + beside)) for r in ranges]
        done = work(*(self._here(stack, wide, beside) for stack in stacks))
        own, first = ranges[self.processes.rank], wide[self.processes.rank].start
        part = slice(own.start - first, own.stop - first)
        if isinstance(done, tuple):
            return tuple(self._joined(value[part], count) for value in done)
        return self._joined(done[part], count)

    def gathered(self, work: Callable[..., Tensor], *stacks: Stack) -> Tensor:
        """Do as `each`, and return a tensor in the memory of all: line integrals."""
        ranges, count = self.ranges(len(stacks[0])), len(stacks[0])
        whole = self._for_all(work(*(self._here(stack, ranges) for stack in stacks)), count)
        return whole.movedim(0, -1).contiguous().movedim(-1, 0)  # slices last, as operators have it

    def summed(self, work: Callable[..., Tensor], *stacks: Stack) -> Tensor:
        """Return the sum of what each process makes of its own slices, the same in all of them."""
        ranges = self.ranges(len(stacks[0]))
        own = work(*(self._here(stack, ranges) for stack in stacks))
        # As operators have it, with slices last.
        return self.processes.summed(own.movedim(0, -1).contiguous()).movedim(-1, 0)

    def across(self, work: Callable[[Tensor, int], Tensor], stack: Stack) -> Stack:
        """Apply a function to each row of all slices: each process has some of the rows."""
        assert isinstance(stack, Divided)
        rank, count = self.processes.rank, self.processes.count
        slices = self.ranges(len(stack))
        ends = [stack.shape[1] * k // count for k in range(count + 1)]
        rows = [slice(*pair) for pair in pairwise(ends)]
        parts = [stack.local[:, some].contiguous() for some in rows]
        own = rows[rank]
        columns = [parts[rank].new_empty(len(s), *parts[rank].shape[1:]) for s in slices]
        self.processes.exchange(parts, columns)
        lines = torch.cat(columns)
        for k in range(lines.shape[1]):
            lines[:, k] = work(lines[:, k].clone(), own.start + k)
        made = [torch.empty_like(part) for part in parts]
        self.processes.exchange([lines[s.start : s.stop].contiguous() for s in slices], made)
        return Divided(self, len(stack), torch.cat(made, dim=1))

    def drawn(self, work: Callable[..., Any], generator: torch.Generator, *stacks: Stack) -> Any:  # noqa: ANN401
        """Do as `each`, with normal noise: each process draws all of it, and keeps its own."""
        slices, *shape = stacks[0].shape
        own = self.ranges(slices)[self.processes.rank]
        noise = torch.empty(len(own), *shape, dtype=torch.float32)
        for first in range(0, slices, _DRAWN):
            some = normal((min(_DRAWN, slices - first), *shape), generator)
            a, b = max(first, own.start), min(first + len(some), own.stop)
            if a < b:
                noise[a - own.start : b - own.start] = some[a - first : b - first]
        return self.each(lambda *some: work(noise.to(some[0]), *some), *stacks)

    def regrouped(
        self,
        work: Callable[[Tensor], Tensor],
        stack: Any,  # noqa: ANN401 - a divided one
        batches: Sequence[tuple[Tensor, Tensor]],
    ) -> Any:  # noqa: ANN401
        """Apply a function to batches of groups of slices: each process to whole batches.

        What the network makes of a group may depend on the batch, in its last digits.
        """
        count, rank = self.processes.count, self.processes.rank
        ends = [len(batches) * k // count for k in range(count + 1)]
        shares = [batches[first:last] for first, last in pairwise(ends)]
        wanted = [_numbers([groups for groups, _ in share]) for share in shares]
        here = self.moved(stack, [np.unique(numbers) for numbers in wanted])
        at = _places(len(stack), np.unique(wanted[rank]))
        done = [work(here[at[groups]])[keep] for groups, keep in shares[rank]]
        kept = [_numbers([groups[keep] for groups, keep in share]) for share in shares]
        made = torch.cat(done).to(here) if done else here
        ranges = [np.array(r) for r in self.ranges(len(stack))]
        return Divided(self, len(stack), self._brought(made, kept, ranges))

    def taken(self, stack: Stack, at: Tensor) -> Stack:
        """Return the stack of some slices, by their numbers, which may repeat."""
        assert isinstance(stack, Divided)
        wanted = [at.numpy()[r.start : r.stop] for r in self.ranges(len(at))]
        return Divided(self, len(at), self.moved(stack, wanted))

    def empty_like(self, stack: Any) -> Any:  # noqa: ANN401 - such a one
        """Return a stack of the same shape, whose values are not set."""
        return Divided(self, len(stack), torch.empty_like(stack.local))

    def own(self, values: Stack, like: Stack | None = None) -> Stack:
        """Return what was read from the file of a state, divided."""
        if len(values.shape) == 0:
            return values
        r = self.ranges(len(values))[self.processes.rank]
        local = values[r.start : r.stop]
        place = like.local.device if isinstance(like, Divided) else local.device
        return Divided(self, len(values), local.to(place))

    def _here(self, stack: Stack, ranges: Sequence[range], beside: int = 0) -> Tensor:
        """Return the slices of a range for each process."""
        if isinstance(stack, Divided):
            return self.moved(stack, [np.array(r) for r in ranges]) if beside else stack.local
        r = ranges[self.processes.rank]
        return stack[r.start : r.stop]

    def _joined(self, values: Tensor, count: int) -> Stack:
        if values.ndim == 1:
            return self._for_all(values, count)
        return Divided(self, count, values)

    def _for_all(self, values: Tensor, count: int) -> Tensor:
        """Return the values of all slices, in every process."""
        have = [np.array(r) for r in self.ranges(count)]
        return self._brought(values, have, [np.arange(count)] * self.processes.count)

    def _brought(
        self, values: Tensor, have: Sequence[np.ndarray], want: Sequence[np.ndarray]
    ) -> Tensor:
        """Bring slices from the processes that have them to those that want them.

        Args:
            values: Those that this process has.
            have: Numbers of slices that each process has, each slice in one.
            want: Numbers that each wants.
        """
        rank = self.processes.rank
        size = 1 + max(int(numbers.max(initial=-1)) for numbers in (*have, *want))
        places = [_places(size, numbers).numpy() for numbers in have]
        sent = [places[rank][numbers] for numbers in want]
        outgoing = [values[torch.from_numpy(at[at >= 0])].contiguous() for at in sent]
        mine = [np.flatnonzero(there[want[rank]] >= 0) for there in places]
        incoming = [values.new_empty(len(at), *values.shape[1:]) for at in mine]
        self.processes.exchange(outgoing, incoming)
        made = values.new_empty(len(want[rank]), *values.shape[1:])
        for at, some in zip(mine, incoming, strict=True):
            made[torch.from_numpy(at)] = some
        return made


def _numbers(parts: Sequence[Tensor]) -> np.ndarray:
    """Return the numbers of slices in some tensors (numbers,)."""
    return np.concatenate([np.arange(0), *(part.flatten().numpy() for part in parts)])


def _places(slices: int, numbers: np.ndarray) -> Tensor:
    """Return where each of so many slices is in a list of numbers; -1 of one that is not."""
    at = torch.full((slices,), -1)
    at[torch.from_numpy(numbers)] = torch.arange(len(numbers))
    return at
