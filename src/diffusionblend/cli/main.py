"""The command line: results on stdout, progress and log on stderr, one line for each failure."""

import logging
import shutil
import sys
import textwrap
from collections.abc import Sequence

from diffusionblend._version import __version__
from diffusionblend.cli.commands import (
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
from diffusionblend.errors import DiffusionBlendError, OutOfMemory, UsageError, did_you_mean
from diffusionblend.progress import shown

COMMANDS: dict[str, type] = {
    "demo": Demo,
    "info": Info,
    "doctor": Doctor,
    "simulate": Simulate,
    "import": Import,
    "reconstruct": Reconstruct,
    "evaluate": Evaluate,
    "report": Report,
    "view": View,
    "benchmark": Benchmark,
    "pack": Pack,
    "train": Train,
    "push": Push,
    "completion": Completion,
}


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
    except MemoryError:
        message = "out of memory; take fewer slices or pixels"
        return _fail(words, OutOfMemory.code, OutOfMemory.__name__, message)
    except KeyboardInterrupt:
        return _fail(words, 130, "Interrupted", INTERRUPTED)


def run(words: Sequence[str]) -> int:
    """Run one command; return its exit code.

    Raises:
        DiffusionBlendError: An expected failure.
    """
    verb, *rest = words or [""]
    if verb == "--version":
        show({"version": __version__}, _as_json(rest), f"diffusionblend {__version__}")
    elif verb in ("--help", "-h"):
        summaries = {name: _summary(command) for name, command in COMMANDS.items()}
        show({"commands": summaries}, _as_json(rest), overview())
    else:
        from diffusionblend.cli.console.parsing import parse

        command = parse(verb, _find(verb), rest)
        with shown():
            return command.run() or 0
    return 0


def overview() -> str:
    """Return the help of the whole: a line for each command, in the order of use."""
    width = min(shutil.get_terminal_size().columns, 100)
    lines = [
        textwrap.fill(f"{name:13}{_summary(command)}", width, initial_indent="  ",
                      subsequent_indent=15 * " ")
        for name, command in COMMANDS.items()
    ]  # fmt: skip
    return "\n".join(
        [
            "usage: diffusionblend COMMAND ...",
            "",
            "3D CT from few X-ray views with learned diffusion priors.",
            "",
            *lines,
            "",
            "diffusionblend COMMAND --help says what a command takes.",
            "diffusionblend --version says which version this is.",
        ]
    )


def _with_options_of_a_file(words: Sequence[str]) -> Sequence[str]:
    from diffusionblend.cli.console.config import with_config

    if not words or words[0] not in COMMANDS:
        return words
    return [words[0], *with_config(words[0], COMMANDS[words[0]], words[1:])]


def _find(verb: str) -> type:
    if verb in COMMANDS:
        return COMMANDS[verb]
    if not verb:
        raise UsageError(f"expected a command: {', '.join(COMMANDS)}; see `diffusionblend --help`")
    nearest = did_you_mean(verb, [*COMMANDS, "--help", "--version"])
    raise UsageError(f"{verb}: no such command{nearest or '; see `diffusionblend --help`'}")


def _summary(command: type) -> str:
    """Return the first sentence of a command's help."""
    return (command.__doc__ or "").partition("\n\n")[0].replace("\n", " ").strip()


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
