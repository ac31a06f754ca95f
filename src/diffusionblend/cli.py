"""The command line: results on stdout, progress and log on stderr, one line for each failure."""

import logging
import signal
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
    Simulate,
    Train,
    View,
)
from diffusionblend.errors import DiffusionBlendError, OutOfMemory

COMMANDS: dict[str, Callable[..., Any]] = {
    "simulate": Simulate,
    "import": Import,
    "reconstruct": Reconstruct,
    "evaluate": Evaluate,
    "train": Train,
    "pack": Pack,
    "push": Push,
    "info": Info,
    "view": View,
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
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="diffusionblend",
        description="3D CT from few X-ray views with learned diffusion priors.",
        args=arguments,
    )
    try:
        command.run()
    except DiffusionBlendError as error:
        print(f"diffusionblend: {' '.join(str(error).split())}", file=sys.stderr)
        return error.code
    except MemoryError:
        print("diffusionblend: out of memory; take fewer slices or pixels", file=sys.stderr)
        return OutOfMemory.code
    except KeyboardInterrupt:
        print("diffusionblend: interrupted; nothing half written is left", file=sys.stderr)
        return 130
    return 0
