"""What a caller has set of torch for work of its own does not reach into what it asks for here.

A default device would be where noise cannot be drawn by a generator of the CPU, and autocast would
round what is computed without a word. The default type of numbers needs no context, which other
threads would see: each tensor of the package has a type of its own.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@contextlib.contextmanager
def as_usual() -> Iterator[None]:
    """Work as if no default device were set, and without autocast; both are of this thread."""
    if "torch" not in sys.modules:  # then nobody has set anything, and most names need no torch
        yield
        return
    import torch

    with contextlib.ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            stack.enter_context(without_autocast(kind))
        yield


def without_autocast(kind: str) -> contextlib.AbstractContextManager[object]:
    """Return a context without autocast for a kind of device."""
    import torch

    if not torch.is_autocast_enabled(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)


def unaffected(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that works as usual."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        with as_usual():
            return function(*args, **options)

    return call
