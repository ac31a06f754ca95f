"""The process of the command line: what it does before its modules are there, and how it ends.

`diffusionblend` and `python -m diffusionblend` begin here.
"""

import contextlib
import os
import signal
import sys

from diffusionblend.errors import OutputError


def start() -> int:
    """Run the command line; return the exit code, or die of the signal that ended it.

    A shell that runs the command in a loop continues after an exit code, even 130; it
    ends the loop after a command that has died of SIGINT.
    """
    _make_streams_usable()
    try:
        from diffusionblend.cli.main import main

        code = main()
    except KeyboardInterrupt:  # while modules were imported
        code = 128 + signal.SIGINT
        with contextlib.suppress(OSError):
            print("diffusionblend: interrupted", file=sys.stderr)
    except BrokenPipeError:  # a reader that has seen enough, as `head`
        code = 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is not None:  # a file's, which should have been reported as such
            raise
        code = OutputError.code
        with contextlib.suppress(OSError):
            print(f"diffusionblend: standard output cannot be written ({error.strerror})",
                  file=sys.stderr)  # fmt: skip
    _leave_nothing_to_flush()
    if code == 128 + signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code


def _make_streams_usable() -> None:
    """Let streams that are closed swallow what is said, and names that cannot be shown be shown."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        else:
            stream.reconfigure(errors="backslashreplace")


def _leave_nothing_to_flush() -> None:
    """Flush what was said; what cannot be said now could not be said at Python's end either."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(start())
