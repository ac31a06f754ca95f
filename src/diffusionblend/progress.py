"""Progress: a bar on a terminal, a line that changes in a notebook, else a plain line now and then.

Commands show it, on stderr, and notebooks; a program that calls the package as a library sees
nothing.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

log = logging.getLogger(__name__)

LINE_SECONDS, CELL_SECONDS = 10.0, 0.5
_SHOWN = ContextVar("shown", default=False)
_Item = TypeVar("_Item")


class Listener(Protocol):
    """Takes the steps of methods, by the method's name, in place of a bar."""

    def __call__(self, method: str, step: "Stage", /) -> None:
        """Take a step."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Give the steps of all that is done within to a listener, and show no bar of them."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


@contextlib.contextmanager
def shown(show: bool = True) -> Iterator[None]:
    """Show the progress of all that is done within, or do not."""
    before = _SHOWN.set(show)
    try:
        yield
    finally:
        _SHOWN.reset(before)


class Stage(Protocol):
    """What a step of a method says of itself."""

    @property
    def index(self) -> int:
        """Which step it is, from 1."""

    @property
    def steps(self) -> int:
        """How many there are."""

    @property
    def convergence(self) -> object:
        """How far its solver has converged, if it says so."""


class Cell:
    """An output of a notebook's cell for a bar, which writes its states one over the other."""

    def __init__(self) -> None:
        self._shown: Any = None

    def write(self, text: str) -> None:
        """Show a state in the place of the one before."""
        from IPython.display import display

        bundle = {"text/plain": text.strip()}
        if not text.strip():
            return
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)

    def flush(self) -> None:
        """Do nothing: each state is shown at once."""


def in_notebook() -> bool:
    """Return whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class Progress:
    """Shows how far something is, and how long it still takes."""

    def __init__(self, name: str) -> None:
        from tqdm import tqdm

        self._name = name
        if in_notebook():
            self._lines = False
            self._bar = tqdm(desc=name, file=Cell(), mininterval=CELL_SECONDS, ncols=80)
        else:
            self._lines = _SHOWN.get() and not sys.stderr.isatty()
            bar = _SHOWN.get() and sys.stderr.isatty()
            self._bar = tqdm(desc=name, disable=not bar, leave=False, dynamic_ncols=True)
        self._told = time.monotonic()
        self._began: tuple[float, int] | None = None
        self._done = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, index: int, total: int, note: str = "") -> None:
        """Say that `index` of `total` are done."""
        if index < self._done:  # another phase, counted anew
            self._bar.reset()
            self._began = None
        self._done, self._bar.total = index, total
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(index - self._bar.n)
        now = time.monotonic()
        # What was done before the first call may have been another run's.
        clock, first = self._began = self._began or (now, index)
        if self._lines and now - self._told >= LINE_SECONDS:
            self._told = now
            seconds = (now - clock) * (total - index) / max(1, index - first)
            left = f", {seconds:.0f} s left" * (index > first or index >= total)
            log.info("%s: %d of %d%s %s", self._name, index, total, left, note)


@contextlib.contextmanager
def show_steps(method: str) -> Iterator[Callable[[Stage], None]]:
    """Show the steps of a method as they come, or give them to whoever listens."""
    listener = _LISTENER.get()
    if listener is not None:
        yield lambda step: listener(method, step)
        return
    with Progress(method) as bar:
        yield lambda step: bar.show(step.index, step.steps, str(step.convergence or ""))


def counted(name: str, items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield items, and show how many of them are done."""
    with Progress(name) as bar:
        for done, item in enumerate(items, start=1):
            yield item
            bar.show(done, len(items))
