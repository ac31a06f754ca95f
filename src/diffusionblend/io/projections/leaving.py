"""Views that are left out, because a shutter was closed or the object moved."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from diffusionblend.errors import UsageError
from diffusionblend.io.projections.formats.stack import Stack
from diffusionblend.io.projections.notes import noted
from diffusionblend.io.projections.understand import Meaning


def leave_out(meaning: Meaning, text: str | None) -> Meaning:
    """Return projections without the views that `7,31,40-43` names, counted from 0."""
    if text is None:
        return meaning
    views = meaning.data.shape[0]
    gone = _numbers(text, views)
    kept = [view for view in range(views) if view not in gone]
    if not kept:
        raise UsageError(f"`without={text[:40]!r}`: leaves no views; name fewer")
    return dataclasses.replace(
        meaning,
        data=_part(meaning.data, kept),
        beam=meaning.beam.take_views(kept),
        numbers=kept,
        notes=meaning.notes + noted(f"{len(gone)} views left out"),
    )


def _numbers(text: str, views: int) -> set[int]:
    named: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        first, last = (int(n or match[1]) for n in match.groups()) if match else (1, 0)
        if not first <= last < views:
            raise UsageError(
                f"`without={part.strip()[:40]!r}`: expected views 0 to {views - 1}, for instance "
                "7,31,40-43"
            )
        named.update(range(first, last + 1))
    return named


def _part(stack: Stack, kept: Sequence[int]) -> Stack:
    """Return some views of a stack."""

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        return stack.reader([kept[view] for view in views], rows)

    return dataclasses.replace(stack, shape=(len(kept), *stack.shape[1:]), reader=read)
