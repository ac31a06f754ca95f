"""The warnings of all reconstructions: the gravest first, similar ones once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diffusionblend.quality.record import Warn
from diffusionblend.quality.words import is_grave, rank
from diffusionblend.show.report.model import Entry

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_PLACES = frozenset({"bad-views", "bad-bins"})
"""Warnings whose numbers are names of places."""


@dataclass(frozen=True)
class Warned:
    """A warning, what it is of, and whether something may be wrong."""

    text: str
    names: tuple[str, ...]
    grave: bool


def warned_of(entries: Sequence[Entry]) -> list[Warned]:
    """Return the warnings of reconstructions; those that differ by numbers alone are one."""
    alike: dict[tuple[str, ...], list[tuple[Warn, str]]] = {}
    for entry in entries:
        for warning in entry.quality.warnings if entry.quality else ():
            alike.setdefault(_kind(warning), []).append((warning, entry.name))
    ranked = sorted(alike.values(), key=lambda told: rank(told[0][0].code))
    return [
        Warned(
            _joined([warning.text for warning, _ in told]),
            tuple(dict.fromkeys(name for _, name in told)),
            is_grave(told[0][0].code),
        )
        for told in ranked
    ]


def _kind(warning: Warn) -> tuple[str, ...]:
    """Return what warnings that are given as one have in common."""
    if warning.code in _PLACES:
        return warning.code, warning.text
    return warning.code, *_NUMBER.split(warning.text)


def _joined(texts: Sequence[str]) -> str:
    """Return one text for some that differ in their numbers: from the least to the largest."""
    numbers = zip(*map(_NUMBER.findall, texts), strict=True)
    ends = [(min(each, key=float), max(each, key=float)) for each in numbers]
    between = iter([low if low == high else f"{low} to {high}" for low, high in ends])
    return _NUMBER.sub(lambda _: next(between), texts[0])
