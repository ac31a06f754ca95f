"""The command line: results on stdout, progress and log on stderr, one line for each failure."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import tyro

from diffusionblend import __version__
from diffusionblend.commands import (
    Benchmark,
    Demo,
    Evaluate,
    Import,
    Info,
    Pack,
    Push,
    Reconstruct,
    Report,
    Simulate,
    Train,
)
from diffusionblend.errors import DiffusionBlendError, OutOfMemory
from diffusionblend.interrupt import INTERRUPTED, prompt_signals

COMMANDS: dict[str, Callable[..., Any]] = {
    "simulate": Simulate,
    "import": Import,
    "reconstruct": Reconstruct,
    "evaluate": Evaluate,
    "report": Report,
    "train": Train,
    "pack": Pack,
    "push": Push,
    "info": Info,
    "demo": Demo,
    "benchmark": Benchmark,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure becomes one line and its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"diffusionblend {__version__}")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    # Its remarks name no file; what matters of them is in the line of the failure.
    logging.getLogger("nibabel.global").disabled = True
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="diffusionblend",
        description="3D CT from few X-ray views with learned diffusion priors.",
        args=arguments,
    )
    try:
        with prompt_signals():
            command.run()
    except DiffusionBlendError as error:
        print(f"diffusionblend: {' '.join(str(error).split())}", file=sys.stderr)
        return error.code
    except MemoryError:
        print("diffusionblend: out of memory; take fewer slices or pixels", file=sys.stderr)
        return OutOfMemory.code
    except KeyboardInterrupt:
        print(f"diffusionblend: {INTERRUPTED}", file=sys.stderr)
        return 130
    return 0
