"""Compile loops by numba, an optional package.

Raises:
    UsageError: On import: numba is not installed.
"""

from collections.abc import Callable
from typing import Any, TypeVar

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
