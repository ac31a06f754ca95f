"""What goes to a terminal, and what comes from it."""

import difflib
import json
import math
from collections.abc import Iterable
from typing import TypeVar

from diffusionblend.errors import UsageError

Number = TypeVar("Number", int, float)


def show(facts: object, as_json: bool, text: str) -> None:
    """Print a result on stdout: JSON for machines, text for people."""
    print(json.dumps(finite(facts), allow_nan=False) if as_json else text)


def finite(facts: object) -> object:
    """Return facts with null for what no JSON can say: NaN and infinity.

    A plane narrower than the window has no SSIM, and the PSNR of equal volumes no end.
    """
    if isinstance(facts, dict):
        return {key: finite(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [finite(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about a word that is none of those known: the nearest one."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


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
