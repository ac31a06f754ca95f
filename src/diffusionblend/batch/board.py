"""The scans of a batch as a table on a terminal that changes: state, step and time of each."""

import datetime
import itertools
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffusionblend.progress import Stage, heard

if TYPE_CHECKING:
    from rich.console import Console, Group

PER_SECOND = 2
_MOST_LINES = 1000
"""Of scans that have ended; more than any terminal shows."""


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        name: The volume.
        state: What becomes of it.
        seconds: For how long; nothing if it is not begun.
    """

    name: str
    state: str
    seconds: float | None = None


class Board:
    """The table, on stderr, for as long as the batch runs.

    Args:
        names: The volumes that are missing, in the order in which they are begun.
        kept: How many are there.
        console: Where it is shown.
    """

    def __init__(
        self, names: Iterable[str], kept: int = 0, console: "Console | None" = None
    ) -> None:
        self._waiting = dict.fromkeys(names)
        self._running: dict[str, tuple[str, float]] = {}
        self._ended = deque[Line](maxlen=_MOST_LINES)
        self._counts = {"made": 0, "failed": 0, "there": kept}
        self._console, self._lock, self._stack = console, threading.RLock(), ExitStack()

    def __enter__(self) -> "Board":
        from rich.console import Console
        from rich.live import Live

        console = self._console or Console(stderr=True)
        self._height = lambda: console.height - 1
        before = sys.stderr
        live = Live(get_renderable=self._table, console=console, refresh_per_second=PER_SECOND)
        self._stack.enter_context(live)
        # The log goes above the table, through the stand-in for stderr.
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                self._stack.callback(handler.setStream, before)
                handler.setStream(sys.stderr)
        self._stack.enter_context(heard(self._step))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def begin(self, name: str) -> None:
        """Note that a scan is begun, or given to another process."""
        with self._lock:
            self._waiting.pop(name, None)
            self._running[name] = "running", time.monotonic()

    def end(self, name: str, result: str, why: str = "") -> None:
        """Note that a scan is `made`, has `failed`, or is `there` from another process."""
        with self._lock:
            self._waiting.pop(name, None)
            _, began = self._running.pop(name, ("", time.monotonic()))
            self._counts[result] += 1
            state = f"{result}: {why}" if why else result
            self._ended.appendleft(Line(name, state, time.monotonic() - began))

    def again(self, name: str) -> None:
        """Note that a scan is waited for, since another process is at it."""
        with self._lock:
            self._running.pop(name, None)
            self._waiting[name] = None

    def lines(self, most: int) -> Iterator[Line]:
        """Yield at most this many lines: what runs, what ended last, and what comes next."""
        with self._lock:
            now, room = time.monotonic(), most
            running = [Line(n, what, now - began) for n, (what, began) in self._running.items()]
            running = running[:room]
            room -= len(running)
            coming = [Line(name, "waiting") for name in itertools.islice(self._waiting, room)]
            ended = list(self._ended)[: max(room - len(coming), room // 2)]
            yield from (*running, *ended, *coming[: room - len(ended)])

    def total(self) -> str:
        """Return how many scans there are of each kind."""
        counts = {**self._counts, "running": len(self._running), "waiting": len(self._waiting)}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    def _step(self, method: str, stage: Stage) -> None:
        """Note a step of the scan that this process is at."""
        with self._lock:
            for name, (_, began) in self._running.items():
                self._running[name] = f"running {method}, {stage.index} of {stage.steps}", began

    def _table(self) -> "Group":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for share in (2, 3, None):
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=share)
        for line in self.lines(self._height() - 1):
            taken = line.seconds
            clock = "" if taken is None else str(datetime.timedelta(seconds=round(taken)))
            table.add_row(Text(line.name), Text(line.state), clock)
        return Group(table, Text(self.total(), no_wrap=True, overflow="ellipsis"))
