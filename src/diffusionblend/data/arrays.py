"""Arrays of other libraries as those of NumPy, and arrays that are larger than the memory."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from diffusionblend.errors import UnsupportedInput

PART_BYTES = 2**26
"""Of an array that is worked on part by part, about so much at a time."""


def to_numpy(values: Any) -> np.ndarray:  # noqa: ANN401 - whatever gives numbers
    """Return numbers as float32, without a copy if possible.

    A tensor is moved to the CPU and detached from its graph. Its type is not checked, which would
    need an import of torch.
    """
    if hasattr(values, "detach"):
        values = values.detach().to_dense().cpu().float().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UnsupportedInput(f"{error}; expected an array of numbers") from error
    if array.dtype.kind not in "biuf":
        raise UnsupportedInput(f"the values are {array.dtype}; expected real numbers")
    if np.ma.is_masked(values):
        raise UnsupportedInput("some values are masked; fill them first: `values.filled(-1000)`")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return array.astype(np.float32, copy=False)


def block_means(values: np.ndarray, *factors: int) -> np.ndarray:
    """Return the means over blocks of an array; what is left over at the ends is dropped.

    Args:
        values: The array, of floating-point numbers.
        factors: Side of a block along each axis; an axis of fewer values is one block.
    """
    sides = [min(factor, n) for n, factor in zip(values.shape, factors, strict=True)]
    kept = values[
        tuple(slice(n // side * side) for n, side in zip(values.shape, sides, strict=True))
    ]
    blocks = [part for n, side in zip(kept.shape, sides, strict=True) for part in (n // side, side)]
    return kept.reshape(blocks).mean(axis=tuple(range(1, 2 * values.ndim, 2)))


def in_parts(array: np.ndarray, multiple: int = 1) -> Iterator[np.ndarray]:
    """Yield the slices of an array (slices, ...), some at a time.

    Parts of an array that is mapped from a file are released once read, so that the process never
    holds much of it.

    Args:
        array: The array.
        multiple: The slices of each part, but the last, are a multiple of it.
    """
    mapping, few = _mapping(array), max(1, PART_BYTES // max(1, array[:1].nbytes))
    few = -(-few // multiple) * multiple
    for first in range(0, len(array), few):
        yield array[first : first + few]
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(array: object) -> mmap.mmap | None:
    """Return the mapping of a file that an array is in; None if it is in memory.

    A private mapping (mode `c`) counts as memory: what is released there loses its changes.
    """
    private = False
    while array is not None and not isinstance(array, mmap.mmap):
        private |= getattr(array, "mode", "") == "c"
        array = getattr(array, "base", None)
    return None if private else array
