"""Keep back what other packages remark on what they do: it names no file, and may quote any bytes.

Filters of warnings and loggers are those of the whole process. A thread that put back what it found
there, while another was still quiet, would leave the process quiet for ever; so the first one
changes them, and the last one puts them back.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator

LOGGERS = ("nibabel.global", "pydicom", "tifffile")
FAMILIES = ("huggingface_hub", "httpx2")
"""Loggers with others below them, which have their level and not that they are disabled."""


class _Counted:
    """What all threads that are in it share: the first one begins it, and the last one ends it.

    Args:
        begin: Makes the change, and tells a stack how it is taken back.
    """

    def __init__(self, begin: Callable[[contextlib.ExitStack], None]) -> None:
        self._changing, self._inside = threading.Lock(), 0
        self._begin, self._before = begin, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._changing:
            if not self._inside:
                self._begin(self._before)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._inside -= 1
            if not self._inside:
                self._before.close()


def _hush(before: contextlib.ExitStack) -> None:
    before.enter_context(warnings.catch_warnings(action="ignore"))
    for logger in map(logging.getLogger, LOGGERS):
        before.callback(setattr, logger, "disabled", logger.disabled)
        logger.disabled = True


def _hush_families(before: contextlib.ExitStack) -> None:
    for family in map(logging.getLogger, FAMILIES):
        before.callback(family.setLevel, family.level)
        family.setLevel(logging.CRITICAL)


_QUIET, _QUIET_FAMILIES = _Counted(_hush), _Counted(_hush_families)


def quiet() -> contextlib.AbstractContextManager[None]:
    """Return a context in which warnings, and what LOGGERS say, go unheard."""
    return _QUIET


@contextlib.contextmanager
def quiet_families() -> Iterator[None]:
    """Quiet, and what FAMILIES say goes unheard.

    Apart, since it takes long where a header is read value by value: each change of a level makes
    all loggers think anew.
    """
    with _QUIET, _QUIET_FAMILIES:
        yield
