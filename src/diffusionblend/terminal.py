"""What goes to a terminal, and what comes from it."""

import json
import math
from typing import TypeVar

from diffusionblend.errors import UsageError

Number = TypeVar("Number", int, float)


def show(facts: object, as_json: bool, text: str) -> None:
    """Print a result on stdout: JSON for machines, text for people."""
    print(json.dumps(without_nan(facts)) if as_json else text, flush=True)


def without_nan(facts: object) -> object:
    """Return facts with null for NaN: a plane narrower than the window has no SSIM.

    The PSNR of equal volumes stays `Infinity`, which Python's and most other readers take.
    """
    if isinstance(facts, dict):
        return {key: without_nan(value) for key, value in facts.items()}
    return None if isinstance(facts, float) and math.isnan(facts) else facts


def in_range(option: str, value: Number, low: Number, high: Number) -> Number:
    """Return a value that lies in [low, high].

    Raises:
        UsageError: It does not.
    """
    if not low <= value <= high:
        raise UsageError(f"{option} {value}: expected {low} to {high}")
    return value


def parse_slices(text: str) -> tuple[int, int]:
    """Parse `A:B`.

    Raises:
        UsageError: It is something else.
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise UsageError(f"--slices {text}: expected A:B, for instance 40:88")
    if int(last) == int(first) + 1:
        raise UsageError(f"--slices {text}: is one slice; a volume needs two or more")
    return int(first), int(last)
