"""Locks: one process at a time writes into a folder, or makes an output."""

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from diffusionblend.errors import Busy, OutputError
from diffusionblend.io.files import end_of, unfinished, writing

log = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder that this one writes into, until it ends.

    It is the folder itself that is locked (flock), so that nothing is left by a process that is
    killed. Where a file system has no locks, other processes are not kept out.

    Raises:
        Busy: Another process is at work there.
    """
    with _locked(os.open(folder, os.O_RDONLY), folder):
        yield


@contextlib.contextmanager
def sole(path: Path) -> Iterator[None]:
    """Keep other processes off an output while this one makes it.

    A hidden file beside it is locked, and removed at the end. One that a killed process leaves is
    empty and not locked, and the next run of the same output removes it.

    Raises:
        Busy: Another process makes the same output.
        OutputError: The place cannot be written.
    """
    lock = _lock_of(path)
    with writing(path):
        opened = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    with _locked(opened, path), unfinished(lock):
        yield


def clear_lock(path: Path) -> None:
    """Remove the lock that a killed process left, if no process makes the output now."""
    if _lock_of(path).exists():
        with contextlib.suppress(Busy, OutputError), sole(path):
            pass  # it is removed at the end


def _lock_of(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.absolute().with_name(f".lock-{digest}-{end_of(path)}")


@contextlib.contextmanager
def _locked(opened: int, name: Path) -> Iterator[None]:
    """Hold the lock of an open file, and close it."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(opened).st_nlink:  # whoever held it has just removed it
            raise BlockingIOError
    except BlockingIOError as error:
        os.close(opened)
        raise Busy(
            f"{name}: another process is working there; wait until it ends, or choose another "
            "output"
        ) from error
    except OSError:
        log.warning("%s: its file system has no locks; do not start a second process there", name)
    try:
        yield
    finally:
        os.close(opened)
