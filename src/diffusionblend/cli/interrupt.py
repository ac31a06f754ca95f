"""Ctrl-C, SIGTERM and a terminal that closes end a command soon, and leave nothing half written."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from diffusionblend.io.files import remove_unfinished

INTERRUPTED = "interrupted; nothing half written is left"
PATIENCE_SECONDS = 3.0
"""Python hears of a signal between two calls, and one projection of a large cone takes longer."""

_A_MOMENT = 0.01
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def prompt_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, SystemExit(143) at SIGTERM, and 129 at SIGHUP.

    They are raised in the main thread. SIGHUP stays ignored where it is, as under `nohup`.

    If Ctrl-C is not heard for some seconds, since a call does not return, the process ends from
    another thread: after it has removed what was being written. What Python ignores, since it was
    raised while an object was being deleted, is raised again.
    """
    heard = threading.Event()
    ignored = sys.unraisablehook

    def raise_again(lost: "sys.UnraisableHookArgs") -> None:
        number = _number_of(lost.exc_value)
        if number is None:
            ignored(lost)
        else:  # not from here, where it would be ignored as well
            threading.Timer(_A_MOMENT, os.kill, (os.getpid(), number)).start()

    def raise_it(number: int, frame: FrameType | None) -> None:
        heard.set()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    ends, numbers = socket.socketpair()
    numbers.setblocking(False)
    numbers_heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers_heard.append(signal.SIGHUP)
    before = {n: signal.signal(n, raise_it) for n in numbers_heard}
    sys.unraisablehook = raise_again
    descriptor = signal.set_wakeup_fd(numbers.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(ends, heard), daemon=True)
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


def _number_of(error: BaseException | None) -> int | None:
    """Return the signal that was raised as an exception, if it was one."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit) and error.code in {128 + n for n in _ENDING}:
        return signal.Signals(int(error.code) - 128)
    return None


def _watch(ends: socket.socket, heard: threading.Event) -> None:
    """Wait for the number of a signal, which is sent at once; then for its being heard."""
    while number := ends.recv(1):
        if number[0] == signal.SIGINT and not heard.wait(PATIENCE_SECONDS):
            remove_unfinished()
            with contextlib.suppress(OSError):
                print(f"diffusionblend: {INTERRUPTED}", file=sys.stderr, flush=True)
            # Python lets the main thread alone say what a signal does, which does not return.
            ctypes.CDLL(None).signal(signal.SIGINT, None)
            os.kill(os.getpid(), signal.SIGINT)
