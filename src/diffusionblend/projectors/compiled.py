"""Compile loops by numba, an optional package, and share them among threads.

Raises:
    UsageError: On import: numba is not installed.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch

from diffusionblend.errors import UsageError
from diffusionblend.machine.packages import install

try:
    import numba
    import numba.extending
except ImportError as missing:
    raise UsageError(
        "on the CPU a cone beam, or slices too large for a matrix, need numba; run "
        f"`{install('cone')}`"
    ) from missing

_PARTS = 4  # of a loop for each thread, so that none waits long for the last
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a loop that runs beside other threads; keep the result where a folder lets us."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(nogil=True)(function)


def compiled_inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what a function returns, its types and the instructions, wherever it is called."""
    return numba.extending.intrinsic(function)


def by_threads(work: Callable[[int, int], object], count: int) -> None:
    """Do `work(start, stop)` for parts of a whole of `count`, in as many threads as torch has."""
    threads = torch.get_num_threads()
    bounds = np.linspace(0, count, threads * _PARTS + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *part) for part in pairwise(bounds.tolist())]:
            done.result()
