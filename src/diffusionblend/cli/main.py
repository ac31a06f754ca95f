"""The command line: results on stdout, progress and log on stderr, one line for each failure."""

import contextlib
import errno
import logging
import sys
import warnings
from collections.abc import Container, Iterator, Sequence
from functools import partial

from diffusionblend._version import __version__
from diffusionblend.cli.commands import COMMANDS, GROUPS
from diffusionblend.cli.commands.wording import in_options
from diffusionblend.cli.interrupt import ENDED, INTERRUPTED, prompt_signals
from diffusionblend.cli.terminal import show
from diffusionblend.errors import (
    CorruptInput,
    DiffusionBlendError,
    DiffusionBlendWarning,
    OutOfMemory,
    UsageError,
    did_you_mean,
    printable,
)
from diffusionblend.machine.memory import ran_out
from diffusionblend.machine.processes import here
from diffusionblend.progress import shown

HELP = ("help", "--help", "-h")
VERSION = ("version", "--version")
READERS = "diffusionblend.io."
"""The names of the logs of readers begin with this."""
UNREACHABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EIO, errno.ESTALE)
"""Errors of the system that say something of a file, and nothing of this program."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure becomes one line and its exit code."""
    words: Sequence[str] = sys.argv[1:] if arguments is None else arguments
    # Its remarks name no file; what matters of them is in the line of the failure.
    logging.getLogger("nibabel.global").disabled = True
    try:
        with prompt_signals():
            words = _with_options_of_a_file(words)
            with _logged(words):
                return run(words)
    except DiffusionBlendError as error:
        message = _worded(" ".join(str(error).split()), words)
        return _fail(words, error.code, type(error).__name__, message)
    except KeyboardInterrupt:
        return _fail(words, 130, "Interrupted", INTERRUPTED)
    except SystemExit as error:
        if error.code not in ENDED:
            raise
        return _fail(words, int(error.code), "Ended", ENDED[int(error.code)])
    except BaseException as error:  # what libraries in Rust raise without memory is no Exception
        known = _of_machine(error)
        if known is None:
            raise
        return _fail(words, known.code, type(known).__name__, str(known))


def _of_machine(error: BaseException) -> DiffusionBlendError | None:
    """Return what is not a bug but a limit of the machine or of the user's rights; or None."""
    if ran_out(error):
        return OutOfMemory("out of memory; take fewer slices or pixels")
    if isinstance(error, OSError) and error.filename is not None and error.errno in UNREACHABLE:
        return CorruptInput(
            f"{error.filename}: cannot be reached ({error.strerror}); expected a file that this "
            "user may read; check its name and the permissions of its folder"
        )
    return None


def run(words: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    verb, *rest = words or [""]
    if verb in VERSION:
        show({"version": __version__}, _as_json(rest), f"diffusionblend {__version__}")
    elif verb in HELP or any(word in HELP[1:] for word in rest):
        _help([word for word in words if not word.startswith("-") and word not in HELP], words)
    else:
        from diffusionblend.cli.console.parsing import parse

        command = parse(verb, find(verb), rest)
        # Commands say such things in their own words.
        quiet = warnings.catch_warnings(action="ignore", category=DiffusionBlendWarning)
        with shown(), quiet:
            return command.run() or 0
    return 0


def find(verb: str) -> type:
    """Return a command."""
    if verb in COMMANDS:
        return COMMANDS[verb]
    if not verb:
        raise UsageError(f"expected a command: {', '.join(COMMANDS)}; see `diffusionblend --help`")
    nearest = did_you_mean(verb, [*COMMANDS, *HELP[:2], *VERSION])
    raise UsageError(f"{verb}: no such command{nearest or '; see `diffusionblend --help`'}")


def _help(verbs: Sequence[str], words: Sequence[str]) -> None:
    """Print the help of a command, or of the whole."""
    from diffusionblend.cli.console.help import overview, page, summary

    if verbs:
        text = page(verbs[0], find(verbs[0]))
        show({"command": verbs[0], "help": text}, _as_json(words), text)
    else:
        summaries = {name: summary(command) for name, command in COMMANDS.items()}
        show({"commands": summaries}, _as_json(words), overview(GROUPS))


def _with_options_of_a_file(words: Sequence[str]) -> Sequence[str]:
    if not words or words[0] not in COMMANDS or not any(w.startswith("--config") for w in words):
        return words
    from diffusionblend.cli.console.config import with_config

    return [words[0], *with_config(words[0], COMMANDS[words[0]], words[1:])]


@contextlib.contextmanager
def _logged(words: Sequence[str]) -> Iterator[None]:
    """Show the log on stderr, unless the program around has a log of its own."""
    log = logging.getLogger()
    if log.handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Worded(words))
    handler.addFilter(_Once())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Once(logging.Filter):
    """A remark about a file appears once, however often a command reads that file."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is new, or does not come from a reader."""
        message = record.getMessage()
        again = record.name.startswith(READERS) and message in self._told
        self._told.add(message)
        return not again


class _Worded(logging.Formatter):
    """The message alone, in words of the command line."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__("%(message)s")
        self._words = words

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, without the traceback of a bug that may follow."""
        return _worded(printable(super().formatMessage(record)), self._words)


def _worded(message: str, words: Sequence[str]) -> str:
    """Return a message with options in place of the parameters that it names."""
    verb, *rest = words or [""]
    if verb not in COMMANDS:
        return message
    return in_options(message, COMMANDS[verb], partial(_of_method, verb, rest))


def _of_method(verb: str, words: Sequence[str]) -> Container[str]:
    """Return the names of the options of a command's method; empty if it has no method."""
    from diffusionblend.cli.console.parsing import parse

    try:
        method = getattr(parse(verb, COMMANDS[verb], words), "method", None)
        if method is None:
            return ()
        from diffusionblend.methods import find_method
        from diffusionblend.methods.options import option_defaults

        return option_defaults(find_method(method))
    except DiffusionBlendError:
        return ()


def _fail(words: Sequence[str], code: int, kind: str, message: str) -> int:
    """Say what went wrong on stderr, and with `--json` on stdout, too; return the exit code.

    Of several processes that fail, by each other or for the same reason, one says so.
    """
    if not here().first_to_tell():
        return code
    with contextlib.suppress(OSError):  # of a terminal that was closed
        print(f"diffusionblend: {message}", file=sys.stderr)
    if _as_json(words):
        show({"error": {"code": code, "kind": kind, "message": message}}, True, "")
    return code


def _as_json(words: Sequence[str]) -> bool:
    """Return whether JSON is asked for, even where the words are not understood."""
    said = [word for word in words if word in ("--json", "--no-json")]
    return said[-1:] == ["--json"]
