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

    Raises:
        UnsupportedInput: They are not real numbers.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UnsupportedInput(f"{error}; expected an array of numbers") from error
    if array.dtype.kind not in "biuf":
        raise UnsupportedInput(f"the values are {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return array.astype(np.float32, copy=False)


def in_parts(array: np.ndarray, multiple: int = 1) -> Iterator[np.ndarray]:
    """Yield the slices of an array (slices, ...), some at a time.

    What was read of an array that is mapped from a file is let go behind each part, so that the
    process never holds much of it.

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

    A private mapping (mode `c`) counts as memory: what is let go there loses what was changed.
    """
    private = False
    while array is not None and not isinstance(array, mmap.mmap):
        private |= getattr(array, "mode", "") == "c"
        array = getattr(array, "base", None)
    return None if private else array
