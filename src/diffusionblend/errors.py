"""Expected failures: each is one line for a person and an exit code for a program.

A message names the file, the value, what was expected and the cure. Anything that is not a
`DiffusionBlendError` is a bug, and exits with 1.
"""


class DiffusionBlendError(Exception):
    """Base of every failure that the user can do something about."""

    code = 1


class UsageError(DiffusionBlendError):
    """An option has a value that cannot be used."""

    code = 2


class CorruptInput(DiffusionBlendError):
    """An input is missing, truncated, or holds what no such file can hold."""

    code = 3


class UnsupportedInput(DiffusionBlendError):
    """An input is whole, but is of a kind that this tool does not take."""

    code = 4


class OutputError(DiffusionBlendError):
    """An output place cannot be written, or is full."""

    code = 5


class OutOfMemory(DiffusionBlendError):
    """The work does not fit into memory."""

    code = 6


class PriorError(DiffusionBlendError):
    """A prior is missing, incomplete, or is not the one its card describes."""

    code = 7
