"""Expected failures: each is one line for a person and an exit code for a program.

A message names the file, the value, what was expected and the cure. Anything that is not a
`DiffusionBlendError` is a bug, and exits with 1.
"""

import difflib
import sys
import warnings
from collections.abc import Iterable

MAX_MESSAGE = 2000


def printable(text: str) -> str:
    """Return a line with blanks for what controls a terminal, as names of files may.

    What of them is no UTF-8 becomes `?`, which stands for it in a shell, too.
    """
    known = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in known)


class DiffusionBlendError(Exception):
    """Base of every failure that the user can do something about.

    Messages quote what files say, which may be of any length, and may control a terminal.
    """

    code = 1

    def __init__(self, message: str) -> None:
        plain = printable(message)
        if len(plain) > MAX_MESSAGE:
            plain = f"{plain[: MAX_MESSAGE // 2]} ... {plain[-MAX_MESSAGE // 2 :]}"
        super().__init__(plain)


class UsageError(DiffusionBlendError):
    """An option has a value that cannot be used."""

    code = 2


class InvalidValue(UsageError, ValueError):
    """A grid, a beam or an array that cannot be used, which is a ValueError for Python, too."""


class CorruptInput(DiffusionBlendError):
    """An input is missing, truncated, or holds what no such file can hold."""

    code = 3


class UnsupportedInput(DiffusionBlendError):
    """An input is whole, but is of a kind that this tool does not take."""

    code = 4


class OutputError(DiffusionBlendError):
    """An output place cannot be written, or is full."""

    code = 5


class Busy(OutputError):
    """Another process is making the same output."""


class OutOfMemory(DiffusionBlendError):
    """The work does not fit into memory."""

    code = 6


class PriorError(DiffusionBlendError):
    """A prior is missing, incomplete, or is not the one its card describes."""

    code = 7


class LostProcess(DiffusionBlendError):
    """Another of the processes that make a volume together has ended, or cannot be reached."""

    code = 10


class DiffusionBlendWarning(UserWarning):
    """There is a result, but it rests on a guess that the caller should know of."""


def warn(message: str) -> None:
    """Give a DiffusionBlendWarning for the line that called the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals["__name__"].partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, DiffusionBlendWarning, stacklevel=level)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown word: the nearest one.

    A part of a name counts for the name: `fastt` is almost `diffusionblend-fast`; capitals do not.
    """
    bare = {name.lstrip("-").lower(): name for name in known}
    parts = {part: name for name in bare for part in name.split("-")}
    word = word.lstrip("-").lower()
    near = difflib.get_close_matches(word, bare, n=1)
    near = near or [parts[p] for p in difflib.get_close_matches(word, parts, n=1, cutoff=0.8)]
    return f"; did you mean {bare[near[0]]}?" if near else ""
