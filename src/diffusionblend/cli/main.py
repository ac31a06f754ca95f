"""The command line: results on stdout, progress and log on stderr, one line for each failure."""

import logging
import sys
import warnings
from collections.abc import Sequence

from diffusionblend._version import __version__
from diffusionblend.cli.commands import (
    Batch,
    Benchmark,
    Completion,
    Demo,
    Doctor,
    Evaluate,
    Import,
    Info,
    Pack,
    Push,
    Reconstruct,
    Report,
    Simulate,
    Train,
    View,
)
from diffusionblend.cli.interrupt import INTERRUPTED, prompt_signals
from diffusionblend.cli.terminal import show
from diffusionblend.errors import (
    DiffusionBlendError,
    DiffusionBlendWarning,
    OutOfMemory,
    UsageError,
    did_you_mean,
)
from diffusionblend.machine.memory import ran_out
from diffusionblend.progress import shown

GROUPS: dict[str, dict[str, type]] = {
    "first": {"demo": Demo, "info": Info, "doctor": Doctor},
    "reconstruct": {
        "simulate": Simulate,
        "import": Import,
        "reconstruct": Reconstruct,
        "batch": Batch,
    },
    "judge and look": {"evaluate": Evaluate, "report": Report, "view": View},
    "research": {"benchmark": Benchmark, "pack": Pack, "train": Train, "push": Push},
    "shell": {"completion": Completion},
}
COMMANDS = {name: command for some in GROUPS.values() for name, command in some.items()}
HELP = ("help", "--help", "-h")
VERSION = ("version", "--version")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure becomes one line and its exit code."""
    words: Sequence[str] = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    # Its remarks name no file; what matters of them is in the line of the failure.
    logging.getLogger("nibabel.global").disabled = True
    try:
        with prompt_signals():
            words = _with_options_of_a_file(words)
            return run(words)
    except DiffusionBlendError as error:
        return _fail(words, error.code, type(error).__name__, " ".join(str(error).split()))
    except KeyboardInterrupt:
        return _fail(words, 130, "Interrupted", INTERRUPTED)
    except Exception as error:
        if not ran_out(error):
            raise
        message = "out of memory; take fewer slices or pixels"
        return _fail(words, OutOfMemory.code, OutOfMemory.__name__, message)


def run(words: Sequence[str]) -> int:
    """Run one command; return its exit code.

    Raises:
        DiffusionBlendError: An expected failure.
    """
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
    """Return a command.

    Raises:
        UsageError: There is none of that name.
    """
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


def _fail(words: Sequence[str], code: int, kind: str, message: str) -> int:
    """Say what went wrong on stderr, and with `--json` on stdout, too; return the exit code."""
    print(f"diffusionblend: {message}", file=sys.stderr)
    if _as_json(words):
        show({"error": {"code": code, "kind": kind, "message": message}}, True, "")
    return code


def _as_json(words: Sequence[str]) -> bool:
    """Return whether JSON is asked for, even where the words are not understood."""
    said = [word for word in words if word in ("--json", "--no-json")]
    return said[-1:] == ["--json"]
