"""Ctrl-C, SIGTERM and a terminal that closes end a command soon, and leave nothing half written."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType

from diffusionblend.io.files import remove_unfinished

INTERRUPTED = "interrupted; no half-written file is left behind"
ENDED = {
    128 + signal.SIGTERM: "ended by SIGTERM; no half-written file is left behind",
    128 + signal.SIGHUP: "ended, as its terminal was closed; no half-written file is left behind",
}
"""What is said of an exit code that a signal has brought: a job that reached its limit of time."""
PATIENCE_SECONDS = 3.0
"""Python hears of a signal between two calls, and one projection of a large cone takes longer."""

_A_MOMENT = 0.01
_LOST = 128
"""Is added to the number of a signal that was lost."""


@contextlib.contextmanager
def prompt_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, SystemExit(143) at SIGTERM, and 129 at SIGHUP.

    They are raised in the main thread. SIGHUP stays ignored where it is, as under `nohup`.

    If Ctrl-C is not heard for some seconds, since a call does not return, the process ends from
    another thread: after it has removed what was being written. What Python ignores, since it was
    raised while an object was being deleted, is raised again.
    """
    ends, numbers = socket.socketpair()
    numbers.setblocking(False)
    signals, ignored = _Signals(numbers), sys.unraisablehook
    numbers_heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers_heard.append(signal.SIGHUP)
    before = {n: signal.signal(n, signals.raised) for n in numbers_heard}
    sys.unraisablehook = signals.ignored
    descriptor = signal.set_wakeup_fd(numbers.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=signals.watch, args=(ends,), daemon=True)
    watch.start()
    try:
        yield
    finally:
        sys.unraisablehook = ignored
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        numbers.close()
        watch.join()
        ends.close()


class _Signals:
    """Signals that become exceptions in the main thread, and what a thread beside it does of them.

    Args:
        numbers: Where the other thread is told about signals, by their numbers.
    """

    def __init__(self, numbers: socket.socket) -> None:
        self._numbers, self._otherwise = numbers, sys.unraisablehook
        self._heard, self._lost = False, set[int]()

    def raised(self, number: int, frame: FrameType | None) -> None:
        """Raise a signal as an exception: what Python calls at a signal."""
        self._heard = True  # no event: its lock may be taken by what this interrupts
        if _is_within(frame, type(self).ignored.__code__):
            self._again(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number)

    def ignored(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Have a signal raised again: what Python calls with an exception that goes nowhere."""
        number = _number_of(unraisable.exc_value)
        if number is None:
            self._otherwise(unraisable)
        else:  # not raised from here, where it would go nowhere, too
            self._again(number)

    def _again(self, number: int) -> None:
        """Let the other thread send a signal: this one may be where no lock can be taken."""
        if number not in self._lost:
            self._lost.add(number)
            self._numbers.send(bytes([_LOST + number]))

    def watch(self, ends: socket.socket) -> None:
        """Wait for the number of a signal, which is sent at once; then for its being heard.

        One that was lost is sent again.
        """
        while got := ends.recv(1):
            number = got[0]
            if number > _LOST:
                time.sleep(_A_MOMENT)
                self._heard = False
                self._lost.discard(number - _LOST)
                os.kill(os.getpid(), number - _LOST)
            elif number == signal.SIGINT and not self._is_heard():
                _end()

    def _is_heard(self) -> bool:
        """Return whether a signal is heard within some seconds."""
        last = time.monotonic() + PATIENCE_SECONDS
        while not self._heard and time.monotonic() < last:
            time.sleep(_A_MOMENT)
        return self._heard


def _end() -> None:
    """End this process from a thread that is not the main one, which does not return."""
    remove_unfinished()
    with contextlib.suppress(OSError):
        print(f"diffusionblend: {INTERRUPTED}", file=sys.stderr, flush=True)
    # Python lets the main thread alone say what a signal does.
    ctypes.CDLL(None).signal(signal.SIGINT, None)
    os.kill(os.getpid(), signal.SIGINT)


def _is_within(frame: FrameType | None, code: CodeType) -> bool:
    """Return whether a frame is that of a function, or of what it has called."""
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


def _number_of(error: BaseException | None) -> int | None:
    """Return the signal that was raised as an exception, if it was one."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit) and error.code in ENDED:
        return signal.Signals(int(error.code) - 128)
    return None
