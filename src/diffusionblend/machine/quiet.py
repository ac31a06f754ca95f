"""Silence warnings and log messages of other packages: they name no file, and may quote any bytes.

Warning filters and loggers belong to the whole process. If each thread saved and restored them, one
could restore what another had silenced, for ever. So the first thread to enter changes them, and
the last one to leave restores them.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator

LOGGERS = ("nibabel.global", "pydicom", "tifffile")
FAMILIES = ("huggingface_hub", "httpx2")
"""Loggers with children, which inherit their level, but not that they are disabled."""


class _Counted:
    """A context that threads share: the first to enter begins it, the last to leave ends it.

    Args:
        begin: Makes the change, and registers with a stack how to undo it.
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
    """Return a context in which warnings and LOGGERS are silent."""
    return _QUIET


@contextlib.contextmanager
def quiet_families() -> Iterator[None]:
    """Silence FAMILIES as well.

    Separate from `quiet`, since it is slow where a header is read value by value: each change of a
    level clears the caches of all loggers.
    """
    with _QUIET, _QUIET_FAMILIES:
        yield
