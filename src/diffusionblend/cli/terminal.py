"""What goes to a terminal, and what comes from it."""

import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import as_utf8, check_kind, escaped

RECONSTRUCTION = "reconstruction.nii.gz"
"""What a proposed command calls a volume: a name that no input is likely to have."""
Number = TypeVar("Number", int, float)


def show(facts: object, as_json: bool, text: str) -> None:
    """Print a result on stdout: JSON for machines, text for people.

    A reader that has seen enough (`| head -2`) is no failure.
    """
    try:
        print(json.dumps(finite(facts), allow_nan=False) if as_json else text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def following(*commands: Sequence[object]) -> str:
    """Return what to do next, for people: commands of this program, a line each."""
    lines = (" ".join(["diffusionblend", *map(_quoted, words)]) for words in commands)
    return "next: " + "\n      ".join(lines)


def _quoted(word: object) -> str:
    r"""Return a word as a shell has it; one that is no UTF-8 as `$'a\xff.h5'`, to copy it."""
    text = str(word)
    if as_utf8(text) == text:
        return shlex.quote(text)
    return "$'" + escaped(text.replace("\\", r"\\").replace("'", r"\'")) + "'"


def finite(facts: object) -> object:
    """Return facts with null for what no JSON can say: NaN and infinity.

    A plane narrower than the window has no SSIM, and the PSNR of equal volumes no end.
    """
    if isinstance(facts, dict):
        return {key: finite(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [finite(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts


def in_minutes(seconds: float | None) -> str:
    """Return a time for people, in the two largest units."""
    if seconds is None:
        return "not estimated"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def in_range(option: str, value: Number, low: Number, high: Number) -> Number:
    """Return a value that lies in [low, high]."""
    if not low <= value <= high:
        raise UsageError(f"{option} {value}: expected {low} to {high}")
    return value


def present(path: Path, cure: str) -> None:
    """Raise CorruptInput if an input is missing: reported before anything slow is imported."""
    if not path.exists():
        raise CorruptInput(f"{path}: no such file; {cure}")
    check_kind(path)


def parse_slices(text: str) -> tuple[int, int]:
    """Parse `A:B`."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise UsageError(f"--slices {text}: expected A:B, for instance 40:88")
    return int(first), int(last)
