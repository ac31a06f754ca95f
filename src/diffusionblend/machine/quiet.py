"""Keep back what other packages remark on what they do: it names no file, and may quote any bytes.

Filters of warnings and loggers are those of the whole process. A thread that put back what it found
there, while another was still quiet, would leave the process quiet for ever; so the first one
changes them, and the last one puts them back.
"""

import contextlib
import logging
import threading
import warnings

LOGGERS = ("nibabel.global", "pydicom", "tifffile")
FAMILIES = ("huggingface_hub", "httpx2")
"""Loggers with others below them, which have their level and not that they are disabled."""


class _Quiet:
    """The quiet of all threads that are in it."""

    def __init__(self) -> None:
        self._changing, self._inside = threading.Lock(), 0
        self._before = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._changing:
            if not self._inside:
                _hush(self._before)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._inside -= 1
            if not self._inside:
                self._before.close()


_THE_ONE = _Quiet()


def quiet() -> contextlib.AbstractContextManager[None]:
    """Return a context in which warnings, and what LOGGERS and FAMILIES say, go unheard."""
    return _THE_ONE


def _hush(before: contextlib.ExitStack) -> None:
    """Let nothing be heard until a stack, which takes what there was before, is closed."""
    before.enter_context(warnings.catch_warnings(action="ignore"))
    for logger in map(logging.getLogger, LOGGERS):
        before.callback(setattr, logger, "disabled", logger.disabled)
        logger.disabled = True
    for family in map(logging.getLogger, FAMILIES):
        before.callback(family.setLevel, family.level)
        family.setLevel(logging.CRITICAL)
