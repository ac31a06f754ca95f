"""Stacks of slices: in memory, in files with a slab at a time in memory, or divided.

A method says what is done with the slices of a stack, and `Slabs` does it, to all of them at once
or to one slab after another: volumes larger than the memory go through the same steps. The bytes
are the same for any slab. The result for a slice depends only on itself and its neighbours, and a
number that depends on all slices is the exact sum, rounded once, of one number of each (`total`),
so it is the same if several processes hold the slabs (`shares`). Line integrals of rays that cross
slices are sums over the slabs (`summed`), the same to rounding.
"""

import copy
import math
import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from diffusionblend.io.files import writing


class Elsewhere(ABC):
    """A stack that is not in the memory of this process, or not all of it.

    Attributes:
        shape: Slices, and the shape of one.
    """

    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, index: Any) -> Tensor:  # noqa: ANN401 - as of a tensor
        """Return slices, as a tensor in memory."""

    @abstractmethod
    def first(self, count: int) -> Self:
        """Return the first slices, which are not copied."""

    @abstractmethod
    def mapped(self, mode: Literal["r", "r+"] = "r") -> np.ndarray:
        """Return its values as an array whose pages are read when they are used."""


class Stored(Elsewhere):
    """A stack in a file, which has no name and is gone as soon as nothing refers to it.

    It is read and written as a tensor is, by an index: what was read is a copy in memory.

    Args:
        folder: A folder on the disk that the file is to be on.
        shape: Slices, and the shape of one.
        dtype: Type of its numbers.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._whole: Stored | None = None
        self._offset = 0
        with writing(folder):
            self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - held as long
            weakref.finalize(self, self._file.close)
            # All of it now: a full disk, found while a mapped page is written, ends the process.
            os.posix_fallocate(self._file.fileno(), 0, math.prod(shape) * dtype.itemsize)

    @classmethod
    def within(
        cls, file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> "Stored":
        """Return the stack that lies in an open file, to be read."""
        found = cls.__new__(cls)
        found._file, found._offset, found.shape, found.dtype = file, offset, shape, dtype
        weakref.finalize(found, file.close)
        return found

    def __getitem__(self, index: Any) -> Tensor:  # noqa: ANN401 - as of a tensor
        # What is mapped counts as memory of the process: only while it is copied.
        return torch.from_numpy(np.array(self.mapped()[_of_numpy(index)]))

    def __setitem__(self, index: Any, values: Tensor) -> None:  # noqa: ANN401
        self.mapped("r+")[_of_numpy(index)] = values.numpy()

    def first(self, count: int) -> Self:
        """Return the first slices, of the same file."""
        some = copy.copy(self)
        some.shape, some._whole = (count, *self.shape[1:]), self  # which has the file open
        return some

    def mapped(self, mode: Literal["r", "r+"] = "r") -> np.ndarray:
        """Return its values as an array whose pages are read when they are used."""
        return np.memmap(self._file, self.dtype, mode, self._offset, self.shape)


Stack: TypeAlias = Tensor | Elsewhere
"""Slices (slices, ...)."""
S = TypeVar("S", bound=Stack)


def _of_numpy(index: Any) -> Any:  # noqa: ANN401
    return index.numpy() if isinstance(index, Tensor) else index


@dataclass(frozen=True)
class Slabs:
    """How many slices are worked on at a time, and where all of them are meanwhile.

    Attributes:
        slices: Slices in a slab; None: all slices at once, in memory.
        folder: Where the files of stacks are, if they are not in memory.
    """

    slices: int | None = None
    folder: Path = Path()

    def each(self, work: Callable[..., Any], *stacks: Stack, beside: int = 0) -> Any:  # noqa: ANN401
        """Apply a function to all slices of stacks.

        Args:
            work: Maps slices of each stack to as many slices: one tensor or a tuple of them. It may
                change those of a stack that its caller has no further use for.
            stacks: Stacks of the same number of slices.
            beside: How many slices on each side of a slice its result depends on.

        Returns:
            What `work` returns, as stacks. One number for each slice is a tensor in memory.
        """
        if self.slices is None:
            return work(*stacks)
        made: list[Any] = []
        for part, wide in self._parts(len(stacks[0]), beside):
            done = work(*(stack[wide] for stack in stacks))
            values = done if isinstance(done, tuple) else (done,)
            made = made or [self._empty((len(stacks[0]), *v.shape[1:]), v) for v in values]
            first = part.start - wide.start
            for stack, value in zip(made, values, strict=True):
                stack[part] = value[first : first + part.stop - part.start]
        return tuple(made) if isinstance(done, tuple) else made[0]

    def gathered(self, work: Callable[..., Tensor], *stacks: Stack) -> Tensor:
        """Do as `each`, and return a tensor in memory: line integrals, with slices last there."""
        if self.slices is None:
            return work(*stacks)
        parts = [work(*(s[part] for s in stacks)) for part, _ in self._parts(len(stacks[0]))]
        return torch.cat([part.movedim(0, -1) for part in parts], dim=-1).movedim(-1, 0)

    def summed(self, work: Callable[..., Tensor], *stacks: Stack) -> Tensor:
        """Return the sum of what a function makes of some slices at a time: a tensor in memory."""
        if self.slices is None:
            return work(*stacks)
        parts = (work(*(s[part] for s in stacks)) for part, _ in self._parts(len(stacks[0])))
        made = next(parts)
        for part in parts:
            made += part
        return made

    def across(self, work: Callable[[Tensor, int], Tensor], stack: Stack) -> Stack:
        """Apply a function to each row of all slices (slices, ...).

        Args:
            work: Maps the values of a row, and which one it is, to as many values.
            stack: The stack (slices, rows, ...).
        """
        rows = stack.shape[1]
        made: Any = self.empty_like(stack)
        few = rows if self.slices is None else max(1, self.slices * rows // len(stack))
        for first in range(0, rows, few):
            some = stack[:, first : first + few]
            parts = [work(some[:, k].clone(), first + k) for k in range(some.shape[1])]
            made[:, first : first + few] = torch.stack(parts, dim=1)
        return made

    def drawn(self, work: Callable[..., Any], generator: torch.Generator, *stacks: Stack) -> Any:  # noqa: ANN401
        """Do as `each`, with normal noise of the shape of its slices as the first argument."""

        def noisy(*some: Tensor) -> Any:  # noqa: ANN401
            return work(normal(some[0].shape, generator).to(some[0]), *some)

        return self.each(noisy, *stacks)

    def regrouped(
        self,
        work: Callable[[Tensor], Tensor],
        stack: S,
        batches: Sequence[tuple[Tensor, Tensor]],
    ) -> S:
        """Apply a function to batches of groups of slices, and keep each slice once.

        Args:
            work: Maps groups (groups, slices of each, ...) to the same shape.
            stack: The stack.
            batches: Numbers of slices (groups, slices of each), and which are kept.
        """
        made: Any = self.empty_like(stack)
        for groups, keep in batches:
            made[groups[keep]] = work(stack[groups])[keep]
        return made

    def taken(self, stack: Stack, at: Tensor) -> Stack:
        """Return the stack of some slices, by their numbers, which may repeat."""
        return self.each(lambda at: stack[at], at)

    def empty_like(self, stack: S) -> S:
        """Return a stack of the same shape, whose values are not set."""
        made = torch.empty_like(stack) if isinstance(stack, Tensor) else None
        return cast("S", self._empty(stack.shape, stack) if made is None else made)

    def own(self, values: Stack, like: Stack | None = None) -> Stack:
        """Return what was read from the file of a state: in memory, or in a file of these slabs.

        Args:
            values: What was read.
            like: A stack of the device that it is to be on.
        """
        if isinstance(values, Tensor):
            return values
        return values[:] if self.slices is None else self.each(lambda x: x, values)

    def inner(self, a: Stack, b: Stack) -> float:
        """Return the inner product of two stacks."""
        return total(self.each(lambda a, b: of_slices(a * b), a, b))

    def _parts(self, count: int, beside: int = 0) -> Iterator[tuple[slice, slice]]:
        """Yield the slabs, and each with the slices beside it."""
        assert self.slices is not None
        for first in range(0, count, self.slices):
            last = min(count, first + self.slices)
            yield slice(first, last), slice(max(0, first - beside), min(count, last + beside))

    def _empty(self, shape: tuple[int, ...], like: Any) -> Any:  # noqa: ANN401 - such a one
        if len(shape) == 1 and isinstance(like, Tensor):
            return like.new_empty(shape)
        kind = like.dtype if isinstance(like, Stored) else np.empty(0, str(like.dtype)[6:]).dtype
        return Stored(self.folder, tuple(shape), kind)


def first_of(stack: Stack, count: int) -> Stack:
    """Return the first slices of a stack, which are not copied."""
    return stack[:count] if isinstance(stack, Tensor) else stack.first(count)


WHOLE = Slabs()
"""All slices at once, in memory."""


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw normal noise: on the CPU in float32, the same for every device and default of torch."""
    return torch.randn(*shape, generator=generator, dtype=torch.float32)


def heads(generator: torch.Generator) -> bool:
    """Toss a coin, likewise."""
    return bool(torch.rand((), generator=generator, dtype=torch.float32) < 0.5)


def of_slices(values: Tensor) -> Tensor:
    """Return the sum over each slice (slices,), whatever the slices beside it are."""
    # Each by itself: how torch adds up depends on the shape and the order in memory of the whole.
    sums = [one.sum() for one in values.contiguous()]
    return torch.stack(sums) if sums else values.flatten(1).sum(1)


def total(numbers: Tensor) -> float:
    """Return the sum of one number of each slice, as if it were exact and rounded once."""
    return math.fsum(numbers.tolist())
